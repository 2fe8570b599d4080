# SPDX-License-Identifier: Apache-2.0
"""The fused and the staged run over the made sample: equal, resumable, and whole among bad pictures."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.cli import main
from facepipe.engine.local import Local
from facepipe.errors import StageError
from facepipe.runs.faces_run import run_faces
from facepipe.runs.job import RunJob
from facepipe.runs.staged_run import StageJob
from facepipe.runs.wider_run import WiderJob
from facepipe.store.stage import Stage

OPTIONS = ["--detector", "mtcnn", "--embedder", "facenet.seeded"]


@pytest.fixture(scope="module")
def few(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the sample's photographs, with two that cannot be read."""
    folder = tmp_path_factory.mktemp("few")
    photographs = sorted(path for path in (sample / "images").rglob("*") if path.is_file())
    for path in photographs[:: max(1, len(photographs) // 20)]:
        target = folder / path.relative_to(sample / "images")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder / "truncated.jpg").write_bytes(photographs[0].read_bytes()[:900])
    (folder / "no picture.png").write_text("hello")
    return folder


def run(*words: str) -> int:
    return main(list(words))


def embed(folder: Path, out: Path, weights: Path, *more: str) -> bytes:
    status = run("embed", str(folder), "--out", str(out), "--weights", str(weights), *OPTIONS, "--shard", "8", *more)
    assert status == 0
    return (out / "faces.jsonl").read_bytes()


def test_workers_do_not_change_a_byte_and_batches_hardly(few: Path, weights_dir: Path, tmp_path: Path) -> None:
    one = embed(few, tmp_path / "one", weights_dir, "--workers", "1")
    two = embed(few, tmp_path / "two", weights_dir, "--workers", "2")
    assert one == two
    assert (tmp_path / "one/embeddings.npy").read_bytes() == (tmp_path / "two/embeddings.npy").read_bytes()
    embed(few, tmp_path / "single", weights_dir, "--workers", "1", "--batch", "1")
    lines = [json.loads(line) for line in one.splitlines()]
    others = [json.loads(line) for line in (tmp_path / "single/faces.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [line["key"] for line in others]
    assert [line.get("reason") for line in lines] == [line.get("reason") for line in others]
    for line, other in zip(lines, others, strict=True):
        if "box" in line:
            np.testing.assert_allclose(line["box"], other["box"], atol=0.05)
    np.testing.assert_allclose(
        np.load(tmp_path / "one/embeddings.npy"), np.load(tmp_path / "single/embeddings.npy"), atol=1e-3
    )


def test_what_cannot_be_read_is_listed_with_its_reason(few: Path, weights_dir: Path, tmp_path: Path) -> None:
    content = embed(few, tmp_path / "run", weights_dir)
    lines = {line["key"]: line for line in map(json.loads, content.splitlines())}
    assert lines["truncated.jpg"]["unread"] and lines["no picture.png"]["unread"]
    assert list(lines) == sorted(lines)
    faces = [line for line in lines.values() if "box" in line]
    assert [line["row"] for line in faces] == list(range(len(faces)))
    assert len(faces) >= 10
    assert np.load(tmp_path / "run/embeddings.npy").shape == (len(faces), 512)


@pytest.mark.process
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(few: Path, weights_dir: Path, tmp_path: Path) -> None:
    undisturbed = embed(few, tmp_path / "whole", weights_dir, "--workers", "1")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "facepipe", "embed", str(few), "--out", str(out), "--weights", str(weights_dir)]
    process = subprocess.Popen(
        [*command, *OPTIONS, "--shard", "8", "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while not list(out.glob("fused/shard-*.npz")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("fused/shard-*.npz")}
    assert finished
    assert embed(few, out, weights_dir, "--workers", "1") == undisturbed
    assert (out / "embeddings.npy").read_bytes() == (tmp_path / "whole/embeddings.npy").read_bytes()
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())  # not done again
    assert not list(out.rglob("*.part"))


@pytest.mark.process
def test_sigterm_ends_a_run_cleanly(few: Path, weights_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    command = [sys.executable, "-m", "facepipe", "embed", str(few), "--out", str(out), "--weights", str(weights_dir)]
    process = subprocess.Popen(
        [*command, *OPTIONS, "--workers", "2"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while not (out / "fused" / "begun.json").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in text
    assert not list(out.rglob("*.part"))


def job_of(few: Path, out: Path, weights: Path) -> tuple[RunJob, tuple[str, ...]]:
    keys = tuple(sorted(path.relative_to(few).as_posix() for path in few.rglob("*.*") if path.is_file()))
    return RunJob(few, out, weights, "mtcnn", "facenet.seeded", "onnxruntime", shard_size=8), keys


def test_a_job_and_its_shards_are_small_whatever_the_number_of_photographs(few: Path, tmp_path: Path) -> None:
    job, _ = job_of(few, tmp_path / "run", tmp_path)
    keys = tuple(f"Person_{number:07d}/Person_{number:07d}_0001.jpg" for number in range(100_000))
    stage = Stage(tmp_path, "fused", {}, keys, job.shard_size)
    assert len(pickle.dumps(job)) < 4096
    assert len(pickle.dumps(StageJob(job, "crop"))) < 4096
    assert max(len(pickle.dumps(shard)) for shard in stage.shards()[:100]) < 4096
    wider = WiderJob(few, tmp_path, tmp_path, "ultraface.rfb-320", "onnxruntime", None)
    assert len(pickle.dumps(wider)) < 4096


def test_another_setting_is_refused_in_the_same_folder(few: Path, weights_dir: Path, tmp_path: Path) -> None:
    job, keys = job_of(few, tmp_path / "run", weights_dir)
    run_faces(job, keys, Local())
    other = replace(job, selection="largest")
    with pytest.raises(StageError, match=r"selection=center_weighted_size, this run asks for largest"):
        run_faces(other, keys, Local())


def test_staged_equals_fused_in_boxes_and_accuracy(sample: Path, weights_dir: Path, tmp_path: Path) -> None:
    words = ["lfw", "--data", str(sample), "--weights", str(weights_dir), *OPTIONS, "--min-face", "40"]
    assert run(*words, "--run", str(tmp_path / "fused")) == 0
    assert run(*words, "--run", str(tmp_path / "staged"), "--staged") == 0
    fused, staged = tmp_path / "fused", tmp_path / "staged"
    assert (fused / "faces.jsonl").read_bytes() == (staged / "faces.jsonl").read_bytes()
    np.testing.assert_allclose(np.load(fused / "embeddings.npy"), np.load(staged / "embeddings.npy"), atol=1e-5)
    one, other = (json.loads((folder / "accuracy.json").read_text()) for folder in (fused, staged))
    assert one["accuracy"]["mean"] == other["accuracy"]["mean"]
    assert one["images"] == other["images"]
    assert set(one) >= {
        "accuracy", "tar_at_far_1e-3", "auc", "eer", "pairs", "images", "detector", "embedder", "backend", "batch",
        "weights", "versions",
    }  # fmt: skip
    # A stage that is asked for alone, over a folder that is complete, changes nothing.
    before = {path: path.stat().st_mtime_ns for path in staged.glob("crop/shard-*.npz")}
    assert run("stage", "crop", *words[1:], "--run", str(staged)) == 0
    assert {path: path.stat().st_mtime_ns for path in staged.glob("crop/shard-*.npz")} == before


def test_a_stage_without_the_one_before_says_which(
    sample: Path, weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(sample), "--weights", str(weights_dir), *OPTIONS, "--run", str(tmp_path / "r")]
    assert run("stage", "rnet", *words) == 1
    text = capsys.readouterr().err
    assert "stage pnet:" in text and "is not complete" in text and "Try:" in text


def test_odd_pictures_give_right_results_or_reasons(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    portrait = Image.open(sorted((sample / "images").rglob("*_0001.*"))[0]).convert("RGB")
    folder = tmp_path / "odd pictures"
    (folder / "ä ö").mkdir(parents=True)
    portrait.save(folder / "plain.png")
    portrait.save(folder / "ä ö" / "plain.png")
    portrait.convert("L").save(folder / "grey.png")
    portrait.convert("CMYK").save(folder / "cmyk.jpg", quality=98)
    portrait.convert("P").save(folder / "palette.png")
    portrait.resize((1, 1)).save(folder / "one.png")
    portrait.resize((15, 15)).save(folder / "fifteen.png")
    wide = Image.new("RGB", (20000, 260))
    wide.paste(portrait, (5000, 5))
    wide.save(folder / "wide.png")
    content = embed(folder, tmp_path / "run", weights_dir, "--workers", "1", "--size", "0")
    lines = {line["key"]: line for line in map(json.loads, content.splitlines())}
    assert lines["plain.png"]["box"] == lines["ä ö/plain.png"]["box"]
    for key in ("grey.png", "cmyk.jpg", "palette.png"):
        np.testing.assert_allclose(lines[key]["box"], lines["plain.png"]["box"], atol=8)
    np.testing.assert_allclose(
        np.array(lines["wide.png"]["box"]) - [5000, 5, 5000, 5], lines["plain.png"]["box"], atol=8
    )
    assert "reason" in lines["one.png"] and "reason" in lines["fifteen.png"]


def test_an_empty_folder_is_one_line(tmp_path: Path, weights_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert (
        run("embed", str(tmp_path / "empty"), "--out", str(tmp_path / "o"), "--weights", str(weights_dir), *OPTIONS)
        == 1
    )
    text = capsys.readouterr().err.strip()
    assert text.count("\n") == 0 and "no photograph in it" in text
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
