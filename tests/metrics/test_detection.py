# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE's average precision, against a slow program that takes the protocol word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facepipe.metrics.detection import MEAN_AP_OVERLAPS, detection_curve, held_against

Photograph = tuple[list[list[float]], list[list[float]], list[bool]]  # predictions, faces, which count


def _slow_overlap(a: list[float], b: list[float]) -> float:
    ax2, ay2, bx2, by2 = a[0] + a[2], a[1] + a[3], b[0] + b[2], b[1] + b[3]
    width = min(ax2, bx2) - max(a[0], b[0]) + 1
    height = min(ay2, by2) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((ax2 - a[0] + 1) * (ay2 - a[1] + 1) + (bx2 - b[0] + 1) * (by2 - b[1] + 1) - both)


def _slow_photograph(
    predictions: list[list[float]], scores: list[float], faces: list[list[float]], counts: list[bool], limit: float
) -> list[tuple[int, int]]:
    """For each of the 1,000 thresholds: proposals and found faces of one photograph."""
    state = [0] * len(faces)
    proposal = [1] * len(predictions)
    found_after = []
    for row, prediction in enumerate(predictions):
        overlaps = [_slow_overlap(prediction, face) for face in faces]
        best = max(overlaps)
        face = overlaps.index(best)
        if best >= limit:
            if not counts[face]:
                state[face] = -1
                proposal[row] = -1
            elif state[face] == 0:
                state[face] = 1
        found_after.append(sum(1 for value in state if value == 1))
    table = []
    for step in range(1000):
        threshold = 1 - (step + 1) / 1000
        rows = [row for row, score in enumerate(scores) if score >= threshold]
        if not rows:
            table.append((0, 0))
            continue
        last = rows[-1]
        table.append((sum(1 for value in proposal[: last + 1] if value == 1), found_after[last]))
    return table


def _slow_average_precision(photographs: list[Photograph], limit: float) -> float:
    every = [prediction[4] for predictions, _, _ in photographs for prediction in predictions]
    low, spread = (min(every), max(every) - min(every)) if every else (0.0, 0.0)
    proposals, found = [0] * 1000, [0] * 1000
    faces_that_count = 0
    for predictions, faces, counts in photographs:
        faces_that_count += sum(counts)
        if not faces or not predictions:
            continue
        scores = [(one[4] - low) / spread if spread else 1.0 for one in predictions]
        for step, (some, right) in enumerate(_slow_photograph(predictions, scores, faces, counts, limit)):
            proposals[step] += some
            found[step] += right
    precision = [right / some if some else math.nan for right, some in zip(found, proposals, strict=True)]
    recall = [right / faces_that_count for right in found]
    recalls = [0.0, *recall, 1.0]
    precisions = [0.0, *precision, 0.0]
    for place in range(len(precisions) - 1, 0, -1):
        if math.isnan(precisions[place - 1]):
            precisions[place - 1] = precisions[place]
        else:
            precisions[place - 1] = max(precisions[place - 1], precisions[place])
    area = 0.0
    for place in range(1, len(recalls)):
        if recalls[place] != recalls[place - 1]:
            area += (recalls[place] - recalls[place - 1]) * precisions[place]
    return area


def _fast(photographs: list[Photograph], limit: float) -> float | None:
    held = held_against(
        [np.array(predictions, np.float64).reshape(-1, 5) for predictions, _, _ in photographs],
        [np.array(faces, np.float64).reshape(-1, 4) for _, faces, _ in photographs],
    )
    counted = [np.array(counts, np.bool_) for _, _, counts in photographs]
    return detection_curve(held, counted, limit).average_precision


def _photographs(seed: int, *, sort: bool, levels: int) -> list[Photograph]:
    """Made photographs: hits, near misses, duplicates, ignored faces, empty ones, scores of few levels (so equal)."""
    rng = np.random.default_rng(seed)
    photographs: list[Photograph] = []
    for _ in range(12):
        faces = rng.integers(0, 180, (rng.integers(0, 9), 4)).astype(float)
        faces[:, 2:] = rng.integers(0 if rng.random() < 0.2 else 25, 60, (len(faces), 2))
        counts = (rng.random(len(faces)) < 0.6).tolist()
        rows = []
        for face in faces:
            for _ in range(rng.integers(0, 4)):  # missed, found, or found several times
                moved = face + rng.integers(-6, 7, 4)
                rows.append([moved[0], moved[1], abs(moved[2]), abs(moved[3])])
        hits = len(rows)
        rows += [[*rng.integers(0, 180, 2), *rng.integers(5, 60, 2)] for _ in range(rng.integers(0, 5))]
        believed = rng.random(len(rows)) * 0.7 + 0.3 * (np.arange(len(rows)) < hits)
        scores = np.round(believed * levels) / levels
        predictions = [[*map(float, row), float(score)] for row, score in zip(rows, scores, strict=True)]
        if rng.random() < 0.2:
            predictions = []
        if sort:
            predictions.sort(key=lambda row: -row[4])
        photographs.append((predictions, faces.tolist(), counts))
    return photographs


@pytest.mark.parametrize("sort", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("levels", [3, 1000, 10**6])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_the_literal_program(seed: int, levels: int, sort: bool) -> None:
    photographs = _photographs(seed, sort=sort, levels=levels)
    for limit in (0.5, 0.75):
        assert _fast(photographs, limit) == pytest.approx(_slow_average_precision(photographs, limit), abs=1e-9)


def test_the_made_photographs_are_neither_trivial_nor_hopeless() -> None:
    values = [_fast(_photographs(seed, sort=True, levels=1000), 0.5) or 0 for seed in range(4)]
    assert all(0.1 < value < 0.95 for value in values), values


FACE, OTHER = [10.0, 10.0, 40.0, 50.0], [100.0, 100.0, 30.0, 30.0]


def test_all_scores_equal_count_as_sure() -> None:
    assert _fast([([[*FACE, 0.3]], [FACE], [True])], 0.5) == 1.0


def test_a_prediction_on_an_ignored_face_is_neither_right_nor_wrong() -> None:
    both = [[*OTHER, 0.9], [*FACE, 0.8]]
    assert _fast([(both, [FACE, OTHER], [True, False])], 0.5) == 1.0
    assert _fast([(both, [FACE], [True])], 0.5) == 0.5


def test_a_second_prediction_of_one_face_is_wrong() -> None:
    twice = [[*FACE, 0.9], [*FACE, 0.8], [*OTHER, 0.7]]
    assert _fast([(twice, [FACE, OTHER], [True, True])], 0.5) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_photograph_without_faces_costs_nothing_and_one_without_predictions_costs_recall() -> None:
    good: Photograph = ([[*FACE, 0.9], [*FACE, 0.1]], [FACE], [True])
    assert _fast([good, ([[*OTHER, 0.95]], [], [])], 0.5) == _fast([good], 0.5) == 1.0
    assert _fast([good, ([], [OTHER], [True])], 0.5) == 0.5


def test_where_no_face_counts_there_is_no_average_precision() -> None:
    assert _fast([([[*FACE, 0.9]], [FACE], [False])], 0.5) is None
    assert _fast([], 0.5) is None


def test_nothing_predicted_anywhere_is_zero() -> None:
    assert _fast([([], [FACE], [True])], 0.5) == 0.0


def test_mean_ap_has_ten_limits_with_both_ends() -> None:
    assert MEAN_AP_OVERLAPS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
