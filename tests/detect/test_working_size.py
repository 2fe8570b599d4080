# SPDX-License-Identifier: Apache-2.0
"""The working size: of which detector it is what, and that answers are in pixels of the photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facepipe.backends import backend_by_name
from facepipe.datasets.images import read
from facepipe.detect import EVERYDAY_SIZES, default_settings, everyday_settings, looked_at, open_detector
from facepipe.detect.mtcnn import MtcnnSettings, _least_face
from facepipe.errors import DataError
from facepipe.geometry.boxes import iou_matrix
from facepipe.geometry.fit import Inside, Stretch, inside


def test_each_detectors_size() -> None:
    assert looked_at(default_settings("mtcnn")) == 0 and looked_at(everyday_settings("mtcnn", 0)) == 0
    assert looked_at(everyday_settings("mtcnn")) == EVERYDAY_SIZES["mtcnn"]
    assert looked_at(everyday_settings("mtcnn", 700)) == 700
    for name in ("mtcnn", "retinaface.mobilenet0.25"):
        assert everyday_settings(name, compiled=True) == default_settings(name)
    assert looked_at(everyday_settings("mtcnn", 700, compiled=True)) == 700
    assert everyday_settings("retinaface.mobilenet0.25", 960).fit == Inside(960, 960, grow=False)  # type: ignore[union-attr]
    assert everyday_settings("ultraface.rfb-320", 640).fit == Stretch(480, 640)  # type: ignore[union-attr]
    for name in ("retinaface.mobilenet0.25", "ultraface.rfb-320", "blazeface.back"):
        assert everyday_settings(name, 0) == default_settings(name)
    assert everyday_settings("blazeface.back") == everyday_settings("blazeface.back", 256)


@pytest.mark.parametrize(
    ("name", "size"), [("mtcnn", -1), ("mtcnn", 11), ("blazeface.back", 300), ("retinaface.mobilenet0.25", 9000)]
)
def test_a_size_that_a_detector_does_not_take_is_refused(name: str, size: int) -> None:
    with pytest.raises(DataError, match=f"{name}: a working size of {size} pixels"):
        everyday_settings(name, size)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (1, 4000), (4000, 1)])
def test_a_copy_keeps_the_aspect(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    copy = inside(image, 200)
    assert max(copy.shape) == 200 and abs(copy.shape[0] * width - copy.shape[1] * height) <= max(height, width)
    assert inside(image, 4000) is image


@pytest.mark.parametrize(
    ("pixels", "scale", "in_copy"), [(20, 1, 20), (20, 3, 20), (80, 2, 40), (80, 8, 20), (12, 4, 12), (40, 1.5, 27)]
)
def test_the_least_face_counts_in_the_photograph(pixels: int, scale: float, in_copy: int) -> None:
    assert _least_face(pixels, scale, scale) == in_copy


@pytest.mark.weights
def test_faces_of_a_copy_lie_where_those_of_the_photograph_do(assets: Path, weights_dir: Path) -> None:
    image = read(assets / "photos" / "multiface.jpg")
    backend = backend_by_name("onnxruntime")
    found = {}
    for size in (0, 640, max(image.shape)):
        with open_detector("mtcnn", backend, weights_dir, 4, MtcnnSettings(size=size, min_face_px=40)) as detector:
            (found[size],) = detector.detect([image])
            (again, other) = detector.detect([image, image[: image.shape[0] // 2]])
            assert np.array_equal(again.boxes, found[size].boxes)
            assert len(other) <= len(found[size])
    whole = found[0]
    assert all(
        np.array_equal(getattr(whole, name), getattr(found[max(image.shape)], name))
        for name in ("boxes", "scores", "landmarks")
    )
    assert len(found[640]) >= 0.8 * len(whole)
    assert (iou_matrix(found[640].boxes, whole.boxes).max(axis=1) > 0.6).mean() > 0.9
