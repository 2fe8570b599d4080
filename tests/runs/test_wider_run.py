# SPDX-License-Identifier: Apache-2.0
"""A detector over WIDER FACE's photographs: scaled copies, several sizes and mirror images merged, resumed runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.catalogue import model
from facepipe.detect import default_settings
from facepipe.detect.single_shot import SingleShotSettings, single_shot_settings
from facepipe.engine.local import Local
from facepipe.errors import DataError, StageError
from facepipe.geometry.boxes import iou_matrix
from facepipe.geometry.fit import Original, Stretch
from facepipe.results import Detections
from facepipe.runs.wider_run import (
    WiderFile,
    WiderJob,
    open_locate,
    run_pass,
    unmirrored,
    wider_models,
    wider_stage,
    write_predictions,
)

pytestmark = pytest.mark.weights


@pytest.fixture
def job(album: Path, seeded: Callable[..., Path], tmp_path: Path) -> WiderJob:
    """Of a made group, with a detector of seeded weights, which finds boxes anywhere."""
    return _job(album / "group.jpg", seeded("ultraface.rfb-640"), tmp_path)


@pytest.fixture
def published(assets: Path, weights_dir: Path, tmp_path: Path) -> WiderJob:
    """Of a photograph, with published weights, which find its six faces."""
    return _job(assets / "photos" / "multiface.jpg", weights_dir, tmp_path)


def _job(photograph: Path, weights: Path, tmp_path: Path) -> WiderJob:
    """Three copies of a group photograph, two of them squashed; all are listed with the original's size."""
    root = tmp_path / "photographs"
    root.mkdir()
    with Image.open(photograph) as opened:
        whole = opened.convert("RGB")
    for name, size in (("a", whole.size), ("b", (416, 416)), ("c", (600, 315))):
        whole.resize(size, Image.Resampling.BILINEAR).save(root / f"{name}.png")
    return WiderJob(
        root=root,
        folder=tmp_path / "shards",
        weights=weights,
        detector="ultraface.rfb-640",
        backend="onnxruntime",
        settings=replace(single_shot_settings(model("ultraface.rfb-640")), threshold=0.6),
        fits=(Stretch(480, 640),),
        batch=2,
        shard_size=2,
    )


def _files(job: WiderJob) -> tuple[WiderFile, ...]:
    with Image.open(job.root / "a.png") as whole:
        return tuple(WiderFile(f"event/{name}", f"{name}.png", (whole.height, whole.width)) for name in "abc")


def _boxes(job: WiderJob) -> list[np.ndarray]:
    images = [np.asarray(Image.open(job.root / file.path)) for file in _files(job)]
    with open_locate(replace(job, models=wider_models(job))) as locate:
        return [boxes for boxes, _ in locate(images, [file.size for file in _files(job)])]


def _run(job: WiderJob) -> list[int]:
    """Photographs of each shard as it got ready, those that were finished before first."""
    told: list[int] = []
    files, models = _files(job), wider_models(job)
    stage = wider_stage(job, files, models)
    run_pass(replace(job, models=models), files, stage, Local(), progress=told.append)
    return told


def test_boxes_of_a_squashed_copy_are_in_the_listed_size(published: WiderJob) -> None:
    original, squashed, small = _boxes(published)
    assert len(original) == len(squashed) == len(small) == 6
    for copy in (squashed, small):
        assert (iou_matrix(original, copy).max(axis=1) > 0.8).all()


def test_a_cascade_sees_the_copy_as_it_is_and_answers_in_the_listed_size(job: WiderJob) -> None:
    cascade = replace(job, detector="mtcnn", settings=None, fits=(Original(),))
    original, _, small = _boxes(cascade)
    assert len(original) == len(small) == 6
    assert (iou_matrix(original, small).max(axis=1) > 0.7).all()


def test_mirrored_boxes_return_to_where_they_were() -> None:
    found = Detections(np.array([[10, 5, 30, 50]], np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    mirrored = unmirrored(found, 100)
    assert mirrored.boxes.tolist() == [[70, 5, 90, 50]]
    assert unmirrored(mirrored, 100).boxes.tolist() == found.boxes.tolist()


def test_several_sizes_and_mirror_images_give_each_face_once(published: WiderJob) -> None:
    merged = _boxes(replace(published, fits=(Stretch(240, 320), Stretch(480, 640)), flips=True))
    single = _boxes(published)
    for one, many in zip(single, merged, strict=True):
        assert len(many) == 6
        assert (iou_matrix(one, many).max(axis=1) > 0.75).all()


def test_a_resumed_run_writes_the_same_predictions_and_another_size_is_refused(job: WiderJob, tmp_path: Path) -> None:
    stage = wider_stage(job, _files(job), wider_models(job))
    assert _run(job) == [2, 1]
    assert write_predictions(stage, tmp_path / "first") > 18
    stage.shard_path(1).unlink()
    (stage.folder / "manifest.json").unlink()
    assert _run(job) == [2, 1]
    write_predictions(stage, tmp_path / "second")
    for name in "abc":
        path = Path("event") / f"{name}.txt"
        assert (tmp_path / "first" / path).read_bytes() == (tmp_path / "second" / path).read_bytes()
    other = replace(job, fits=(Stretch(240, 320),))
    with pytest.raises(StageError, match="was begun with fits="):
        _run(other)


def test_an_unreadable_photograph_ends_the_run_by_its_name(job: WiderJob) -> None:
    (job.root / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"b\.png"):
        _run(job)


def test_everyday_settings_are_the_catalogues() -> None:
    settings = default_settings("ultraface.rfb-320")
    assert isinstance(settings, SingleShotSettings)
    assert settings.fit == Stretch(240, 320)
