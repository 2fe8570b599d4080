# SPDX-License-Identifier: Apache-2.0
"""The other suppressions: soft, blending, voting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facepipe.geometry.box_voting import blend, vote
from facepipe.geometry.nms import nms
from facepipe.geometry.soft_nms import soft_nms

TWO_AND_ONE = np.array([[0, 0, 10, 10], [0, 0, 10, 12], [100, 100, 110, 110]], np.float32)
SCORES = np.array([0.8, 0.6, 0.7], np.float32)


def _random(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1)
    return boxes.astype(np.float32), rng.uniform(0.05, 1, count).astype(np.float32)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))


def test_soft_suppression_lowers_by_the_gaussian_of_the_overlap() -> None:
    rows, scores = soft_nms(TWO_AND_ONE, SCORES, sigma=0.5, least=0.01)
    assert rows.tolist() == [0, 2, 1]
    assert scores == pytest.approx([0.8, 0.7, 0.6 * math.exp(-((100 / 120) ** 2) / 0.5)])


@pytest.mark.parametrize("count", [0, 1, 2, 17, 60])
def test_soft_suppression_equals_a_plain_loop(count: int) -> None:
    boxes, scores = _random(count)
    expected: list[tuple[int, float]] = []
    alive = {row: float(score) for row, score in enumerate(scores)}
    while alive:
        best = max(alive, key=lambda row: (alive[row], -row))
        score = alive.pop(best)
        if score <= 0.1:
            break
        expected.append((best, score))
        for row in list(alive):
            alive[row] *= math.exp(-(_iou(boxes[best], boxes[row]) ** 2) / 0.5)
    rows, lowered = soft_nms(boxes, scores, 0.5, 0.1)
    assert rows.tolist() == [row for row, _ in expected]
    assert lowered == pytest.approx([score for _, score in expected], rel=1e-4)


def test_blending_by_score_is_the_weighted_mean_box_and_the_mean_score() -> None:
    points = np.stack([np.full((2, 2), value, np.float32) for value in (1, 8, 50)])
    boxes, scores, landmarks = blend(TWO_AND_ONE, SCORES, points, 0.3)
    share = 0.8 / 1.4
    assert boxes[0] == pytest.approx([0, 0, 10, share * 10 + (1 - share) * 12])
    assert scores == pytest.approx([0.7, 0.7])
    assert landmarks[0] == pytest.approx(np.full((2, 2), share * 1 + (1 - share) * 8))
    assert boxes[1].tolist() == TWO_AND_ONE[2].tolist()


def test_blending_by_exponent_weighs_boxes_and_scores_by_exp() -> None:
    boxes, scores, _ = blend(TWO_AND_ONE, SCORES, np.zeros((3, 0, 2), np.float32), 0.3, weights="exp")
    share = math.exp(0.8) / (math.exp(0.8) + math.exp(0.6))
    assert boxes[0, 3] == pytest.approx(share * 10 + (1 - share) * 12)
    assert scores[0] == pytest.approx(share * 0.8 + (1 - share) * 0.6)


def test_blending_ends_on_boxes_without_area_and_keeps_their_number() -> None:
    flat = np.zeros((3, 4), np.float32)
    boxes, scores, _ = blend(flat, np.array([0.3, 0.2, 0.1], np.float32), np.zeros((3, 0, 2), np.float32), 0.3)
    assert len(boxes) == len(scores) == 3


def test_voting_keeps_the_rows_and_scores_of_hard_suppression_and_moves_the_boxes() -> None:
    boxes, scores = _random(50)
    moved, kept_scores = vote(boxes, scores, 0.4)
    kept = nms(boxes, scores, 0.4)
    assert np.array_equal(kept_scores, scores[kept])
    for row, box in zip(kept, moved, strict=True):
        near = [index for index in range(50) if index == row or _iou(boxes[row], boxes[index]) >= 0.4]
        weights = scores[near] / scores[near].sum()
        assert box == pytest.approx((boxes[near] * weights[:, None]).sum(axis=0), abs=1e-3)


def test_no_boxes_give_no_boxes() -> None:
    nothing, none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    assert len(vote(nothing, none, 0.4)[0]) == len(blend(nothing, none, np.zeros((0, 5, 2), np.float32), 0.3)[0]) == 0
