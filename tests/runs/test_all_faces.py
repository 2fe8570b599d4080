# SPDX-License-Identifier: Apache-2.0
"""A run of all faces: the same faces as a run of main ones, in full calls of the recogniser and bounded memory."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from squares import mean_colour

import facepipe
from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.embed import Embedder
from facepipe.faces.pipeline import FacePipeline, alignment_of
from facepipe.results import Detections, Face, UncutFace
from facepipe.runs.faces_run import collect, do_shard
from facepipe.runs.job import RunJob
from facepipe.store.run_faces import read_faces
from facepipe.store.stage import Stage, begin, finish


@pytest.fixture(scope="module")
def folder(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine single faces, a group of six, nobody, and a file that is no photograph."""
    made = tmp_path_factory.mktemp("pile")
    for name in ("Person_03", "Person_07"):
        shutil.copytree(album / "people" / name, made / name)
    shutil.copy(album / "group.jpg", made / "group.jpg")
    (made / "broken.jpg").write_bytes(b"none")
    return made


@pytest.fixture(scope="module")
def options(seeded: Callable[..., Path]) -> list[str]:
    return ["--weights", str(seeded("mobilefacenet.ms1m")), "--embedder", "mobilefacenet.ms1m", "--shard", "4"]


def embedded(folder: Path, run: Path, options: Sequence[str], *more: str) -> list[dict[str, object]]:
    assert main(["embed", str(folder), "--out", str(run), "--workers", "1", *options, *more]) == 0
    return [json.loads(line) for line in (run / "faces.jsonl").read_text().splitlines()]


def test_every_face_has_a_line_and_the_main_one_is_the_line_of_a_main_run(
    folder: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = embedded(folder, tmp_path / "all", options, "--faces", "all")
    faces = sum("row" in line for line in every)
    assert f"10 photographs, {faces} faces, 0 without, 1 unread" in capsys.readouterr().out
    assert [line["row"] for line in every if "row" in line] == list(range(faces))
    group = [line for line in every if line["key"] == "group.jpg"]
    assert len(group) >= 6 and [line["face"] for line in group] == list(range(len(group)))
    scores = [float(str(line["score"])) for line in group]
    assert scores == sorted(scores, reverse=True), "the best score first"

    mains = embedded(folder, tmp_path / "main", options)
    assert len(mains) == 10
    rows, own = np.load(tmp_path / "all/embeddings.npy"), np.load(tmp_path / "main/embeddings.npy")
    assert rows.shape[0] == faces
    places = {(line["key"], line.get("face")): line for line in every}
    for line in mains:
        same = places[line["key"], line.get("face")]
        assert {name: line[name] for name in line if name != "row"} == {
            name: same[name] for name in same if name != "row"
        }
        if "row" in line:
            np.testing.assert_allclose(own[line["row"]], rows[same["row"]], atol=1e-5)  # other company in the call


def test_a_program_gets_the_same_faces(folder: Path, options: list[str], tmp_path: Path) -> None:
    models = facepipe.Models(embedder="mobilefacenet.ms1m", weights=options[1])
    done = facepipe.embed_folder(folder, tmp_path / "run", models, faces="all")
    assert (done.written.images, done.written.faceless, done.written.unread) == (10, 0, 1)
    with facepipe.load(embedder="mobilefacenet.ms1m", weights=options[1]) as faces:
        (found,) = faces.embed_all([folder / "group.jpg"])
    assert isinstance(found, facepipe.PictureFaces)
    lines = [line.outcome for line in read_faces(tmp_path / "run/faces.jsonl") if line.key == "group.jpg"]
    assert [one.face.number for one in found.faces] == [face.number for face in lines if isinstance(face, Face)]
    for one, face in zip(found.faces, lines, strict=True):
        assert isinstance(face, Face)
        np.testing.assert_array_equal(one.face.box, face.box)
        assert one.face.sharpness == face.sharpness


def test_workers_and_a_resume_do_not_change_a_byte_and_main_faces_are_other_work(
    folder: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded(folder, tmp_path / "one", options, "--faces", "all")
    embedded(folder, tmp_path / "two", options, "--faces", "all", "--workers", "2")
    for name in ("faces.jsonl", "embeddings.npy"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    shard = tmp_path / "two/fused/shard-00001"
    before = shard.with_suffix(".npz").read_bytes()
    for suffix in (".npz", ".json"):
        shard.with_suffix(suffix).unlink()
    (tmp_path / "two/fused/manifest.json").unlink()
    embedded(folder, tmp_path / "two", options, "--faces", "all", "--select", "largest")  # selects nothing here
    assert shard.with_suffix(".npz").read_bytes() == before
    assert main(["embed", str(folder), "--out", str(tmp_path / "two"), "--workers", "1", *options]) == 1
    assert "faces=all" in capsys.readouterr().err
    assert main(["gallery", "evaluate", str(tmp_path / "two")]) == 1
    assert "group.jpg has several lines, expected a run of one face" in capsys.readouterr().err


class Crowd:
    """Finds `count` faces on every photograph, the last of them beside it."""

    name = "crowd"
    landmark_count = 0

    def __init__(self, count: int) -> None:
        self.count = count

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        boxes = np.tile(np.float32([2, 2, 60, 60]), (self.count, 1))
        boxes[-1] -= 500
        scores, points = np.linspace(1, 0.5, self.count, dtype=np.float32), np.zeros((self.count, 0, 2), np.float32)
        return [Detections(boxes, scores, points) for _ in images]

    def detect_scaled(self, images: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        return self.detect(images)


def test_a_photograph_of_thousands_is_embedded_in_full_calls_and_little_memory(album: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def network(images: np.ndarray) -> tuple[np.ndarray]:
        calls.append(len(images))
        return mean_colour(images)

    facenet = model("facenet.seeded")
    count, folder = 3000, tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        shutil.copy(album / "stranger.jpg", folder / f"{number}.jpg")
    alignment = alignment_of("ultraface.rfb-320", facenet.name)
    pipeline = FacePipeline(Crowd(count), Embedder(facenet, network, 16), alignment)
    job = RunJob(folder, tmp_path / "run", tmp_path, "ultraface.rfb-320", facenet.name, "onnxruntime", faces="all")
    stage = Stage(tmp_path / "run/fused", "fused", {}, ("0.jpg", "1.jpg"), 2)
    begin(stage, folder.joinpath)
    tracemalloc.start()
    report = do_shard(job, stage.shards()[0], pipeline)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    finish(stage)
    cut = 2 * (count - 1)
    assert report.faces == cut
    assert calls == [16] * (cut // 16) + [cut % 16], "calls go over the edges of photographs"
    assert peak < 8 * cut * 512 * 4, "the embeddings, some times over; the crops alone would be 37 times them"
    written = collect(stage, tmp_path / "run")
    assert (written.images, written.faces, written.faceless) == (2, cut, 0)
    lines = list(read_faces(tmp_path / "run/faces.jsonl"))
    assert len(lines) == 2 * count and isinstance(lines[count - 1].outcome, UncutFace)
    assert "covers no pixel" in lines[count - 1].outcome.reason
