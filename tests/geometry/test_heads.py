# SPDX-License-Identifier: Apache-2.0
"""SCRFD's and YuNet's outputs, decoded as a slow, literal reading of their formats decodes them."""

from __future__ import annotations

import numpy as np
import pytest
from literal_heads import scrfd_by_hand, yunet_by_hand

from facepipe.catalogue.own_detectors import DETECTOR_FORMS, STRIDES
from facepipe.geometry.anchors import decode_boxes, decode_landmarks, encode_boxes, face_scores, priors
from facepipe.geometry.heads import joined


def answers(form: str, height: int, width: int) -> list[np.ndarray]:
    """Numbers in the place of a network's: for each part an output of each stride."""
    rng = np.random.default_rng(height)
    anchors = 2 if form == "scrfd" else 1
    found = []
    for part, numbers in DETECTOR_FORMS[form].parts:
        for stride in STRIDES:
            cells = anchors * (height // stride) * (width // stride)
            low, high = (-0.2, 1.2) if part in ("cls", "obj") else (0, 1) if part == "score" else (-2, 2)
            found.append(rng.uniform(low, high, (cells, numbers)).astype(np.float32))
    return found


@pytest.mark.parametrize(("height", "width"), [(64, 96), (128, 64), (32, 32)])
@pytest.mark.parametrize("form", ["scrfd", "yunet"])
def test_every_row_becomes_the_face_that_its_format_says(form: str, height: int, width: int) -> None:
    outputs, shot = answers(form, height, width), DETECTOR_FORMS[form].single_shot
    by_hand = (scrfd_by_hand if form == "scrfd" else yunet_by_hand)(outputs, height, width)
    offsets, points, scores = joined(outputs, shot.heads)
    anchors = priors(shot.priors, height, width)
    assert points is not None
    assert len(by_hand) == len(offsets) == len(points) == len(scores) == len(anchors)
    side = np.array([width, height], np.float32)
    boxes = decode_boxes(offsets, anchors, shot.code) * np.tile(side, 2)
    landmarks = decode_landmarks(points, anchors, shot.code) * side
    assert np.allclose(scores, [score for score, _, _ in by_hand], atol=1e-6)
    assert np.allclose(boxes, [box for _, box, _ in by_hand], atol=1e-3)
    assert np.allclose(landmarks, [marks for _, _, marks in by_hand], atol=1e-3)


@pytest.mark.parametrize("form", ["scrfd", "yunet"])
def test_boxes_are_encoded_as_they_are_decoded(form: str) -> None:
    shot = DETECTOR_FORMS[form].single_shot
    anchors = priors(shot.priors, 64, 96)
    corner = np.random.default_rng(0).uniform(0, 0.5, (len(anchors), 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + np.float32(0.25)], axis=1)
    assert np.allclose(decode_boxes(encode_boxes(boxes, anchors, shot.code), anchors, shot.code), boxes, atol=1e-6)


def test_a_network_without_landmarks_has_none() -> None:
    outputs = answers("scrfd", 64, 64)[:6]
    offsets, points, scores = joined(outputs, "scrfd")
    assert points is None
    assert len(offsets) == len(scores) == 2 * (64 + 16 + 4)


def test_the_catalogues_own_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    offsets, points, logits = (rng.normal(size=(9, width)).astype(np.float32) for width in (4, 10, 2))
    assert [one is other for one, other in zip(joined((offsets, points, logits), "joined"), (offsets, points))] == [  # noqa: B905
        True,
        True,
    ]
    assert np.array_equal(joined((offsets, logits), "joined")[2], face_scores(logits))
    assert joined((offsets, logits), "joined")[1] is None
