# SPDX-License-Identifier: Apache-2.0
"""Alignment with detectors that give six keypoints, or none."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.catalogue import DETECTORS, landmark_count, model
from facepipe.errors import DataError
from facepipe.geometry.align import align, alignment_for, warp_five_point
from facepipe.results import Face
from facepipe.specs import FivePoint, MarginCrop


def _five_point() -> FivePoint:
    alignment = model("mobilefacenet.ms1m").alignment
    assert isinstance(alignment, FivePoint)
    return alignment


def test_six_keypoints_on_the_template_give_the_crop_that_five_give() -> None:
    alignment = _five_point()
    five = np.array(alignment.template, np.float32) * 1.5 + 20
    ears = np.array([[0, 60], [180, 60]], np.float32)
    six = np.vstack([five[:3], five[3:].mean(axis=0, keepdims=True), ears]).astype(np.float32)
    image = np.random.default_rng(0).integers(0, 256, (240, 220, 3), np.uint8)
    a, b = warp_five_point(image, five, alignment), warp_five_point(image, six, alignment)
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_ears_do_not_count() -> None:
    alignment = _five_point()
    six = np.array([[50, 50], [90, 52], [70, 75], [69, 95], [20, 60], [120, 60]], np.float32)
    image = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    crop = warp_five_point(image, six, alignment)
    six[4:] += 40
    assert np.array_equal(crop, warp_five_point(image, six, alignment))


@pytest.mark.parametrize("count", [1, 4, 7])
def test_another_number_of_landmarks_is_refused(count: int) -> None:
    face = Face(np.array([0, 0, 50, 50], np.float32), 0.9, np.zeros((count, 2), np.float32))
    with pytest.raises(DataError, match=f"has {count} landmarks, expected 5 .* BlazeFace's 6"):
        align(np.zeros((60, 60, 3), np.uint8), face, _five_point())


def test_the_margin_crop_stands_in_where_there_are_no_landmarks() -> None:
    five = _five_point()
    assert alignment_for(five, 5) is five
    assert alignment_for(five, 6) is five
    assert alignment_for(five, 0) == MarginCrop(size=112, margin=24)
    margin = MarginCrop(size=160, margin=14)
    assert alignment_for(margin, 0) is margin


def test_every_detector_says_how_many_landmarks_it_gives() -> None:
    counts = {name: landmark_count(name) for name in DETECTORS}
    assert counts["mtcnn"] == counts["retinaface.mobilenet0.25"] == counts["retinaface.resnet50"] == 5
    assert counts["blazeface.front"] == counts["blazeface.back"] == 6
    assert {counts[name] for name in counts if name.startswith("ultraface") and not name.endswith("+onet")} == {0}
    assert {counts[name] for name in counts if name.endswith("+onet")} == {5}


@pytest.mark.parametrize("count", [5, 6])
def test_aligning_by_landmarks_is_their_warp(count: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (150, 150, 3), np.uint8)
    points = np.array([[50, 50], [90, 52], [70, 75], [55, 100], [88, 101], [120, 60]], np.float32)[:count]
    face = Face(np.array([40, 30, 100, 120], np.float32), 0.9, points)
    assert np.array_equal(align(image, face, _five_point()), warp_five_point(image, points, _five_point()))
