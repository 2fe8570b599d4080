# SPDX-License-Identifier: Apache-2.0
"""facepipe train as processes: stopped, killed, several of them, one that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra [train]")
pytest.importorskip("lmdb", reason="training needs the extra [train]")

from PIL import Image

from facepipe.cli import main

PATIENCE = 300
QUICK = ("epochs=3", "batch=4", "rate=0.02", "log_every=1", "save_every=2", "warm_up=0", "margin_warm_up=0")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made people, five faces each."""
    root = tmp_path_factory.mktemp("set") / "faces"
    draw = np.random.default_rng(3)
    for person in ("Ann", "Bob", "Cid"):
        pattern = draw.integers(0, 256, (14, 14, 3))
        (root / person).mkdir(parents=True)
        for number in range(5):
            noise = draw.integers(-30, 31, (112, 112, 3))
            picture = np.clip(np.kron(pattern, np.ones((8, 8, 1), int)) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / person / f"{number}.png")
    return root


def words(faces: Path, out: Path, *given: str) -> list[str]:
    values = [word for value in (*QUICK, *given) for word in ("--set", value)]
    named = ("mobilefacenet_small", "--data", str(faces), "--out", str(out))
    return ["train", *named, *values, "--loaders", "0", "--threads", "1", "--device", "cpu"]


def start(arguments: list[str], *before: str) -> subprocess.Popen[str]:
    command = [*(before or (sys.executable, "-m", "facepipe")), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(arguments: list[str]) -> str:
    """Run to the end; what was told on standard error."""
    process = start(arguments)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return errors


def steps_told(out: Path) -> list[float]:
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    told = [json.loads(line) for line in lines if line.endswith("}")]
    return [line["loss"] for line in told if line["kind"] == "step"]


def wait_for_steps(process: subprocess.Popen[str], out: Path, count: int) -> None:
    until = time.monotonic() + PATIENCE
    while len(steps_told(out)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "no step in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(words(faces, out))
    return out


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_and_a_killed_run_go_on_bit_for_bit(
    number: signal.Signals, faces: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(words(faces, out))
    wait_for_steps(process, out, 3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert errors.splitlines()[-1] == "facepipe train: stopped; run the same command again to resume."
        assert len(steps_told(out)) == int(sorted(out.glob("step-*"))[-1].name.removeprefix("step-"))
    finish(words(faces, out))
    assert steps_told(out) == steps_told(undisturbed)
    assert (out / "weights.pt").read_bytes() == (undisturbed / "weights.pt").read_bytes()
    assert "Training of mobilefacenet.paddle" in (out / "page.html").read_text(encoding="utf-8")


@pytest.mark.process
@pytest.mark.slow
def test_where_one_process_dies_all_end_and_the_run_goes_on(faces: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
    process = start(words(faces, out, "epochs=50"), *torchrun, "-m", "facepipe")
    wait_for_steps(process, out, 3)
    listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    first, second = map(int, listed.stdout.split())
    os.kill(second, signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert not Path(f"/proc/{first}").exists()
    ours = [line for line in errors.splitlines() if line.startswith("facepipe train: ")]
    assert len(ours) == 1
    assert "again" in ours[0]
    before = len(steps_told(out))
    again = start(words(faces, out, "epochs=50"))
    wait_for_steps(again, out, before + 1)
    again.terminate()
    assert "goes on after step" in again.communicate(timeout=PATIENCE)[1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--set", "epoch=3"], "'epoch' is no value of a recipe. Try: did you mean 'epochs'"),
        (["--set", "batch=64"], "has 15 samples, expected at least one batch of 64. Try: --set batch=N"),
        (["--init", "no-such.pt"], "no-such.pt"),
        (["--set", "model=facenet.vggface2"], "is none that is trained"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    given: list[str], told: str, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(faces, tmp_path / "run"), *given]) == 1
    errors = capsys.readouterr().err
    assert told in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_set_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path / "none", tmp_path / "run")) == 1
    assert "no such set" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
