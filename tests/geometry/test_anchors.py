# SPDX-License-Identifier: Apache-2.0
"""Priors as functions of the input size, and boxes to offsets and back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from facepipe.catalogue import model
from facepipe.geometry.anchors import decode_boxes, decode_landmarks, encode_boxes, face_scores, priors
from facepipe.specs import BoxCode, PriorLayout


def _layout(name: str) -> PriorLayout:
    shot = model(name).single_shot
    assert shot is not None
    return shot.priors


def _slow_priors(layout: PriorLayout, height: int, width: int) -> list[list[float]]:
    """One prior after the other, as the definition reads."""
    rows = []
    for stride, sides in zip(layout.strides, layout.sides, strict=True):
        down, across = math.ceil(height / stride), math.ceil(width / stride)
        for i in range(down):
            for j in range(across):
                for side in sides:
                    x = (j + 0.5) / across if layout.even else (j + 0.5) * stride / width
                    y = (i + 0.5) / down if layout.even else (i + 0.5) * stride / height
                    row = [x, y, side / width, side / height]
                    rows.append([min(max(value, 0.0), 1.0) for value in row] if layout.clipped else row)
    return rows


@pytest.mark.parametrize(
    ("name", "height", "width", "count"),
    [
        ("ultraface.slim-320", 96, 128, 708),
        ("ultraface.slim-320", 120, 160, 1118),
        ("ultraface.slim-320", 240, 320, 4420),
        ("ultraface.slim-320", 360, 480, 9984),
        ("ultraface.slim-640", 480, 640, 17640),
        ("ultraface.slim-640", 960, 1280, 70500),
        ("retinaface.mobilenet0.25", 640, 640, 16800),
        ("retinaface.resnet50", 840, 840, 29126),
        ("blazeface.front", 128, 128, 896),
        ("blazeface.back", 256, 256, 896),
    ],
)
def test_number_of_priors_is_the_published_one(name: str, height: int, width: int, count: int) -> None:
    layout = _layout(name)
    assert priors(layout, height, width).shape == (count, 4)


@pytest.mark.parametrize("name", ["ultraface.rfb-320", "retinaface.mobilenet0.25", "blazeface.back"])
@pytest.mark.parametrize(("height", "width"), [(240, 320), (97, 131), (16, 16)])
def test_priors_equal_the_definition_one_by_one(name: str, height: int, width: int) -> None:
    layout = _layout(name)
    assert np.abs(priors(layout, height, width) - np.array(_slow_priors(layout, height, width))).max() < 1e-6


def test_priors_do_not_remember_the_size_before() -> None:
    layout = _layout("ultraface.rfb-320")
    first = priors(layout, 240, 320)
    priors(layout, 480, 640)
    assert np.array_equal(first, priors(layout, 240, 320))


@pytest.mark.parametrize("name", ["blazeface.front", "blazeface.back"])
def test_blazeface_priors_equal_the_published_anchors(name: str, assets: Path) -> None:
    file = {"blazeface.front": "anchors.npy", "blazeface.back": "anchorsback.npy"}[name]
    side = model(name).input.dims[2].low
    published = np.load(assets / "weights" / "blazeface" / file)
    assert np.array_equal(priors(_layout(name), side, side), published.astype(np.float32))


@pytest.mark.parametrize("code", [BoxCode(0.1, 0.2), BoxCode(1 / 128, 1 / 128, exponential=False)])
def test_decoding_undoes_encoding(code: BoxCode) -> None:
    rng = np.random.default_rng(0)
    anchors = priors(_layout("ultraface.rfb-320"), 240, 320)[::7]
    corner = rng.uniform(0, 0.6, (len(anchors), 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.01, 0.4, corner.shape)], axis=1).astype(np.float32)
    assert np.abs(decode_boxes(encode_boxes(boxes, anchors, code), anchors, code) - boxes).max() < 1e-5


def test_zero_offsets_are_the_prior_and_its_centre() -> None:
    anchor = np.array([[0.5, 0.25, 0.2, 0.1]], np.float32)
    box = decode_boxes(np.zeros((1, 4), np.float32), anchor, BoxCode(0.1, 0.2))
    assert np.allclose(box, [[0.4, 0.2, 0.6, 0.3]])
    points = decode_landmarks(np.array([[0, 0, 10, -10]], np.float32), anchor, BoxCode(0.1, 0.2))
    assert np.allclose(points, [[[0.5, 0.25], [0.7, 0.15]]])


def test_scores_are_softmax_of_two_logits_and_sigmoid_of_one_and_never_overflow() -> None:
    two = np.array([[1.0, 3.0], [500.0, -500.0], [-500.0, 500.0]], np.float32)
    assert np.allclose(face_scores(two), [math.exp(3) / (math.exp(1) + math.exp(3)), 0, 1], atol=1e-6)
    assert np.allclose(face_scores(np.array([[0.0], [1000.0], [-1000.0]], np.float32)), [0.5, 1, 0])
