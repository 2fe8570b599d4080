# SPDX-License-Identifier: Apache-2.0
"""A run over photographs through the stand-ins of a board: the same faces as onnxruntime, nothing left, resumable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from stand_ins import environment

EMBEDDER = "facenet.seeded"
PHOTOGRAPHS = 6


@dataclass(frozen=True)
class Board:
    """A folder with photographs, models for the stand-ins, and the reference run."""

    root: Path

    def command(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "facepipe", *arguments],
            cwd=self.root,
            env=environment(OMP_NUM_THREADS="1", **changes),
            capture_output=True,
            text=True,
            check=False,
        )

    def embed(self, backend: str, run: str, *more: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return self.command(
            *("embed", "photographs", "--out", run, "--backend", backend, "--embedder", EMBEDDER, "--batch", "4"),
            *("--workers", "1", *more),
            **changes,
        )

    def same_as_onnxruntime(self, run: str) -> None:
        found, wanted = (self._faces(name) for name in (run, "reference"))
        assert [face["key"] for face in found] == [face["key"] for face in wanted] and len(found) == PHOTOGRAPHS
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one["box"], other["box"], atol=1e-3)
            np.testing.assert_allclose(one["landmarks"], other["landmarks"], atol=1e-3)
        embeddings = [np.load(self.root / name / "embeddings.npy") for name in (run, "reference")]
        np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-5)

    def _faces(self, run: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.root / run / "faces.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def board(weights_dir: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Board:
    root = tmp_path_factory.mktemp("board")
    made = Board(root)
    (root / "weights").mkdir()
    for name in ("pnet", "rnet", "onet", EMBEDDER):
        file = f"{name}.simplified.onnx"
        if not (weights_dir / file).is_file():
            pytest.skip(f"{weights_dir / file} is not there: this test needs the converted models")
        for one in (file, f"{file}.json"):
            (root / "weights" / one).symlink_to(weights_dir / one)
    photographs = sorted((sample / "images").rglob("*_0002.jpg"))[:PHOTOGRAPHS]
    (root / "photographs").mkdir()
    for path in photographs:
        shutil.copy(path, root / "photographs" / path.name)
    compiled = made.command(
        *("om", "--embedder", EMBEDDER, "--batch", "4", "--cann", "8.0", "--photographs", "photographs"),
    )
    assert compiled.returncode == 0, compiled.stderr
    reference = made.embed("onnxruntime", "reference")
    assert reference.returncode == 0, reference.stderr
    return made


@pytest.mark.parametrize("backend", ["pyacl", "msame", "ais_bench"])
def test_a_board_finds_the_same_faces_and_leaves_nothing(backend: str, board: Board) -> None:
    report = board.root / f"{backend}.report"
    done = board.embed(backend, backend, FAKE_ACL_REPORT=str(report))
    assert done.returncode == 0, done.stderr
    board.same_as_onnxruntime(backend)
    if backend == "pyacl":
        (line,) = report.read_text().splitlines()
        found = json.loads(line)
        assert found["live"] == [] and found["calls"]["finalize"] == 1 and found["executions"] > 10


@pytest.mark.parametrize(
    ("backend", "changes", "message"),
    [
        ("pyacl", {"FAKE_ACL_FAIL": "mdl.execute:14:507015"}, "acl.mdl.execute failed 507015, an AI core failed"),
        ("pyacl", {"FAKE_ACL_FAIL": "rt.malloc:3:207001"}, "device memory is exhausted"),
        ("msame", {"FAKE_MSAME": "killed"}, "msame: it was ended by SIGKILL"),
        ("ais_bench", {"FAKE_AIS_BENCH": "silent"}, "ais_bench: exit status 0, and"),
    ],
)
def test_an_error_is_one_line_and_the_run_is_resumed(
    backend: str, changes: dict[str, str], message: str, board: Board
) -> None:
    run, report = f"{backend}-{len(message)}", board.root / f"{backend}-{len(message)}.report"
    failed = board.embed(backend, run, "--shard", "3", FAKE_ACL_REPORT=str(report), **changes)
    assert failed.returncode == 1 and message in failed.stderr
    assert "Traceback" not in failed.stderr and failed.stderr.count("facepipe embed:") == 1
    if backend == "pyacl":
        assert json.loads(report.read_text().splitlines()[0])["live"] == []
        resumed = board.embed(backend, run, "--shard", "3")
        assert resumed.returncode == 0, resumed.stderr
        board.same_as_onnxruntime(run)


@pytest.mark.parametrize("backend", ["pyacl", "msame"])
def test_the_staged_run_packs_bytes_for_a_recogniser_with_aipp(backend: str, board: Board, sample: Path) -> None:
    people = sorted(path.name for path in (sample / "images").iterdir())[:4]
    folds = [f"{a}\t1\t2\n{a}\t1\t{b}\t1\n" for a, b in zip(people[:2], people[2:], strict=True)]
    (board.root / "pairs.txt").write_text("2\t1\n" + "".join(folds))
    models = board.root / "with-aipp"
    if not models.is_dir():
        shutil.copytree(board.root / "weights", models, symlinks=True)
        for om in models.glob("facenet*.om*"):
            om.unlink()
        made = board.command(
            *("om", EMBEDDER, "--aipp", "--batch", "4", "--cann", "8.0", "--weights", models.name),
            *("--logs", "runs/atc-aipp"),
        )
        assert made.returncode == 0, made.stderr
        sizes = board.command(
            *("om", "pnet", "--force", "--batch", "4", "--cann", "8.0", "--weights", models.name),
            *("--photographs", str(sample / "images"), "--logs", "runs/atc-aipp"),
        )
        assert sizes.returncode == 0, sizes.stderr
    common = ("--data", str(sample), "--pairs", "pairs.txt", "--embedder", EMBEDDER, "--batch", "4", "--workers", "1")
    plain = board.command("lfw", *common, "--run", "fused")
    staged = board.command(
        "lfw", *common, "--run", f"staged-{backend}", "--staged", "--backend", backend, "--weights", models.name
    )
    assert plain.returncode == 0 and staged.returncode == 0, plain.stderr + staged.stderr
    index = json.loads((board.root / f"staged-{backend}" / "pack" / "index.json").read_text())
    assert index["tensor"]["dtype"] == "uint8" and index["tensor"]["shape"] == [4, 160, 160, 3]
    embeddings = [np.load(board.root / run / "embeddings.npy") for run in ("fused", f"staged-{backend}")]
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-5)
    report = json.loads((board.root / f"staged-{backend}" / "accuracy.json").read_text())
    assert report["model_precisions"]["pnet"].startswith("force_fp16")
    assert report["weights"]["rnet"] is not None and report["backend"] == backend


@pytest.mark.process
def test_two_devices_share_the_work(board: Board) -> None:
    report = board.root / "devices.report"
    done = board.embed(
        "pyacl", "devices", "--shard", "3", "--devices", "0", "1", "--workers", "2",
        FAKE_DEVICES="2", FAKE_ACL_REPORT=str(report),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    board.same_as_onnxruntime("devices")
    workers = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(workers) == 2 and all(worker["live"] == [] for worker in workers)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("--device", "3"), {}, "device 3 is not here, expected 0 to 0"),
        ((), {"FAKE_SOC": "Ascend310P3"}, "was compiled for Ascend310, this chip is Ascend310P3"),
        (("--batch", "8"), {}, "no pnet.bs8.*.om, expected it for 'pyacl'"),
        (("--min-face", "33"), {}, "pnet: no gear for 3x"),
        (("--precision", "f16"), {}, "precision f16 cannot be chosen here, it is compiled in"),
    ],
)
def test_a_board_that_does_not_fit_is_one_clear_error(
    arguments: tuple[str, ...], changes: dict[str, str], message: str, board: Board
) -> None:
    failed = board.embed("pyacl", f"wrong-{len(message)}", *arguments, **changes)
    assert failed.returncode == 1 and message in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr
