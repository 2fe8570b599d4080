# SPDX-License-Identifier: Apache-2.0
"""Photographs of people to aligned faces: the pipeline's own cut, nothing lost, and safe to be killed anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facepipe.backends import backend_by_name
from facepipe.catalogue import embedder
from facepipe.datasets.images import list_keys, read
from facepipe.datasets.sample import SampleSettings, make_sample
from facepipe.detect import default_settings, open_detector
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.engine import Died
from facepipe.engine.local import Local
from facepipe.errors import DataError, StageError, UnsealedError
from facepipe.faces.select import choose
from facepipe.geometry.align import align
from facepipe.results import Face
from facepipe.runs.job import RunJob
from facepipe.store.files import read_json
from facepipe.store.owned import files_below
from facepipe.train.align import align_people
from facepipe.train.data import open_set

SMALL = SampleSettings(people=3, photographs=3, faceless=1, folds=1, pairs_per_kind=1)
SEGV = "ended with signal SIGSEGV"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("skimage", reason="the sample is made from a portrait that scikit-image ships")
    return make_sample(tmp_path_factory.mktemp("people"), SMALL).images


@pytest.fixture
def job(photographs: Path, tmp_path: Path, weights_dir: Path) -> RunJob:
    settings = default_settings("mtcnn")
    assert isinstance(settings, MtcnnSettings)
    return RunJob(
        root=photographs,
        run=tmp_path / "faces",
        weights=weights_dir,
        detector="mtcnn",
        embedder="mobilefacenet.paddle",
        backend="onnxruntime",
        shard_size=2,
        settings=replace(settings, min_face_px=40, kernels="numpy"),
    )


def contents(folder: Path) -> dict[str, bytes]:
    """The faces of a folder and what is told of them, by name."""
    names = [name for name, _ in files_below(folder) if name not in ("lock", "owned.jsonl")]
    return {name: (folder / name).read_bytes() for name in names}


class Deadly:
    """An engine whose process dies at one photograph."""

    workers = 1

    def __init__(self, key: str) -> None:
        self.key = key

    def map(
        self, open_job: Callable[..., Any], job: object, items: Sequence[Any], *, apart: bool = False
    ) -> Generator[tuple[int, Any], None, None]:
        with open_job(job, 0) as do:
            for place, item in enumerate(items):
                looks = self.key in item.keys and self.key not in item.killed
                yield place, Died(SEGV) if looks else do(item)


@pytest.mark.weights
def test_a_face_is_cut_as_the_pipeline_cuts_it_and_the_set_opens(job: RunJob, weights_dir: Path) -> None:
    keys = list_keys(job.root)
    told = align_people(job, keys, Local(1))
    assert (told.photographs, told.faces, told.people) == (9, 8, 3)
    assert [reason for _, reason in told.left_out] == ["no face found"] and told.lost == ()
    lines = [json.loads(line) for line in (job.run / "left_out.jsonl").read_text().splitlines()]
    assert lines == [{"key": key, "reason": reason} for key, reason in told.left_out]
    faces = open_set(job.run)
    left_out = {key for key, _ in told.left_out}
    assert list(faces.keys) == [f"{key}.png" for key in keys if key not in left_out]
    alignment = embedder("mobilefacenet.paddle").alignment
    assert alignment is not None
    backend = backend_by_name("onnxruntime")
    with open_detector("mtcnn", backend, weights_dir, 16, job.detector_settings) as detector:
        for place, key in enumerate(faces.keys):
            picture = read(job.root / key.removesuffix(".png"))
            (found,) = detector.detect([picture])
            face = choose(found, *picture.shape[:2])
            assert isinstance(face, Face)
            assert np.array_equal(faces.picture(place), align(picture, face, alignment))


@pytest.mark.weights
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_what_was_stopped_goes_on_to_the_same_bytes(job: RunJob, tmp_path: Path, steps: int) -> None:
    keys = list_keys(job.root)
    whole = replace(job, run=tmp_path / "whole")
    align_people(whole, keys, Local(1))
    calls = 0

    def stop(count: int) -> None:
        nonlocal calls
        calls += 1
        if calls > steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_people(job, keys, Local(1), progress=stop)
    assert not (job.run / "aligned.json").exists()
    done: list[int] = []
    align_people(job, keys, Local(1), progress=done.append)
    assert sum(done) == len(keys) and done[0] >= 2 * (steps - 1)
    assert contents(job.run) == contents(whole.run)


@pytest.mark.weights
def test_it_does_not_go_on_with_anything_else(job: RunJob, tmp_path: Path) -> None:
    keys = list_keys(job.root)
    align_people(job, keys, Local(1))
    before = contents(job.run)
    align_people(job, keys, Local(1))
    assert contents(job.run) == before
    with pytest.raises(StageError, match="alignment"):
        align_people(replace(job, embedder="facenet.seeded"), keys, Local(1))
    with pytest.raises(StageError, match="keys"):
        align_people(job, keys[:-1], Local(1))
    assert contents(job.run) == before  # what was refused took nothing away
    other = replace(job, embedder="facenet.seeded")

    def stop(count: int) -> None:
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_people(other, keys, Local(1), force=True, progress=stop)
    assert not (job.run / "aligned.json").exists()
    align_people(other, keys, Local(1))
    assert open_set(job.run, side=160).picture(0).shape == (160, 160, 3)


@pytest.mark.weights
def test_what_cannot_be_read_and_people_without_a_face_are_told(job: RunJob, tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    (root / "Nobody").mkdir(parents=True)
    Image.new("RGB", (120, 120)).save(root / "Nobody" / "black.png")
    key = next(key for key in list_keys(job.root))
    (root / "Ann").mkdir()
    (root / "Ann" / "a.jpg").write_bytes((job.root / key).read_bytes())
    (root / "Ann" / "b.jpg").write_bytes((job.root / key).read_bytes()[:-200])
    told = align_people(replace(job, root=root), list_keys(root), Local(1))
    assert (told.faces, told.people, told.lost) == (1, 1, ("Nobody",))
    assert [key for key, _ in told.left_out] == ["Ann/b.jpg", "Nobody/black.png"]
    assert read_json(job.run / "aligned.json")["lost"] == ["Nobody"]


@pytest.mark.weights
def test_a_photograph_that_kills_its_process_is_named_and_the_others_are_aligned(job: RunJob) -> None:
    keys = [key for key in list_keys(job.root) if key.startswith("Person_02")]
    job = replace(job, shard_size=3)
    with pytest.raises(UnsealedError, match=f"1 of 3 photographs end the process .*{keys[0]}: {SEGV}"):
        align_people(job, keys, Deadly(keys[0]))
    assert not (job.run / "aligned.json").exists() and (job.run / "unsealed.json").exists()
    first, *_ = (job.run / "left_out.jsonl").read_text().splitlines()
    assert json.loads(first) == {"key": keys[0], "reason": SEGV}
    assert len(open_set(job.run)) == 2
    align_people(job, keys, Local(1))
    assert len(open_set(job.run)) == 3 and not (job.run / "unsealed.json").exists()


@pytest.mark.weights
def test_photographs_without_any_face_are_an_error(job: RunJob, tmp_path: Path) -> None:
    root = tmp_path / "black"
    (root / "Nobody").mkdir(parents=True)
    Image.new("RGB", (120, 120)).save(root / "Nobody" / "black.png")
    with pytest.raises(DataError, match="no face in its 1 photographs"):
        align_people(replace(job, root=root), list_keys(root), Local(1))


@pytest.mark.parametrize("names", [("Ann", "ANN"), ("Ann", "")], ids=["case", "loose"])
def test_what_is_no_folder_of_people_is_refused_before_anything_is_done(
    photographs: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    root = tmp_path / "people"
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(root / name / "a.png")
    asked = RunJob(root, tmp_path / "faces", tmp_path, "mtcnn", "mobilefacenet.paddle", "onnxruntime")
    with pytest.raises(DataError, match=r"differ in case|lie in no person's folder"):
        align_people(asked, list_keys(root), Local(1))
    assert not (tmp_path / "faces").exists()


@pytest.mark.weights
def test_a_face_that_is_gone_is_missed_when_all_is_counted(job: RunJob) -> None:
    keys = list_keys(job.root)
    align_people(job, keys, Local(1))
    next(job.run.rglob("*.png")).unlink()
    with pytest.raises(DataError, match="is gone, expected the face that was cut"):
        align_people(job, keys, Local(1))
