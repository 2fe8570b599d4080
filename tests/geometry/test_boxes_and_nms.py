# SPDX-License-Identifier: Apache-2.0
"""Corner boxes and suppression, held against slow and literal forms."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facepipe.geometry.boxes import area, clip, iou_matrix, overlap, square
from facepipe.geometry.kernels import Kernels, compiled_kernels, kernels_by_name, numpy_kernels
from facepipe.geometry.nms import nms, nms_by_group


def random_boxes(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-20, 100, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.5, 60, (count, 2))], axis=1).astype(np.float32)


@given(seed=st.integers(0, 10_000), count=st.integers(0, 12))
def test_iou_is_symmetric_in_range_and_one_with_itself(seed: int, count: int) -> None:
    boxes = random_boxes(seed, count)
    matrix = iou_matrix(boxes, boxes)
    assert matrix.shape == (count, count)
    assert ((matrix >= 0) & (matrix <= 1)).all()
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-6)


def test_overlap_counts_by_hand() -> None:
    one, other = np.array([0, 0, 9, 9], np.float32), np.array([[5, 0, 14, 9]], np.float32)
    assert overlap(one, other)[0] == pytest.approx(36 / (81 + 81 - 36))
    assert overlap(one, other, plus_one=True)[0] == pytest.approx(50 / 150)
    assert overlap(one, np.array([[0, 0, 4, 4]], np.float32), over="minimum")[0] == 1


def test_overlap_of_boxes_without_area_is_zero_and_no_warning() -> None:
    point = np.array([3, 3, 3, 3], np.float32)
    assert overlap(point, point[None])[0] == 0


def test_square_keeps_the_centre_and_takes_the_longer_side() -> None:
    boxes = random_boxes(1, 200)
    squared = square(boxes)
    np.testing.assert_allclose(squared[:, :2] + squared[:, 2:], boxes[:, :2] + boxes[:, 2:], atol=1e-3)
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    np.testing.assert_allclose(squared[:, 2] - squared[:, 0], longer, rtol=1e-4)
    np.testing.assert_allclose(squared[:, 3] - squared[:, 1], longer, rtol=1e-4)


@pytest.mark.parametrize("kernels", [numpy_kernels, compiled_kernels], ids=["numpy", "compiled"])
@pytest.mark.parametrize(
    ("second", "limit", "over_minimum", "plus_one"),
    [
        ([0, 0, 10, 5], 0.5, False, False),  # 50 of 100
        ([0, 0, 10, 7], 0.7, False, False),
        ([3, 0, 13, 10], 0.7, True, False),  # 70 of the smaller one's 100
        ([3, 0, 12, 9], 0.7, True, True),
        ([0, 0, 4, 9], 0.5, False, True),
    ],
)
def test_a_box_that_overlaps_by_just_the_limit_stays_and_by_a_step_more_goes(
    kernels: Callable[[], Kernels], second: list[float], limit: float, over_minimum: bool, plus_one: bool
) -> None:
    """Common among the whole numbers of PNet's boxes: an IoU of exactly one half."""
    first = [0, 0, 9, 9] if plus_one else [0, 0, 10, 10]
    boxes, scores = np.array([first, second], np.float32), np.array([0.9, 0.8], np.float32)
    groups = np.zeros(2, np.int64)
    over = "minimum" if over_minimum else "union"
    assert overlap(boxes[0], boxes[1:], over=over, plus_one=plus_one)[0] == np.float32(limit)
    below = float(np.nextafter(np.float32(limit), np.float32(0)))
    for at, kept in ((limit, [0, 1]), (below, [0])):
        assert kernels().suppress(boxes, scores, groups, at, over_minimum, plus_one).tolist() == kept
        assert nms(boxes, scores, at, over=over, plus_one=plus_one).tolist() == kept


def test_clip_cuts_to_the_photograph() -> None:
    assert clip(np.array([[-3, 4, 50, 60]], np.float32), 20, 30).tolist() == [[0, 4, 30, 20]]
    assert area(np.array([[0, 4, 30, 20]], np.float32)).tolist() == [480]


@pytest.mark.parametrize("kernels", [numpy_kernels(), compiled_kernels()], ids=lambda kernels: kernels.name)
@pytest.mark.parametrize(("over_minimum", "plus_one"), [(False, False), (True, True), (False, True)])
def test_suppression_equals_the_definition(kernels: Kernels, over_minimum: bool, plus_one: bool) -> None:
    for seed in range(20):
        boxes = random_boxes(seed, 60)
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, 8, 60).astype(np.float32) / 8  # ties on purpose
        groups = rng.integers(0, 3, 60)
        kept = kernels.suppress(boxes, scores, groups, 0.4, over_minimum, plus_one)
        assert kept.tolist() == by_definition(boxes, scores, groups, 0.4, over_minimum, plus_one)


def by_definition(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, threshold: float, over_minimum: bool, plus_one: bool
) -> list[int]:
    """Each pair of boxes once, in plain Python."""
    kept: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda i: (groups[i], -scores[i], i)):
        over = "minimum" if over_minimum else "union"
        rivals = [other for other in kept if groups[other] == groups[row]]
        if all(overlap(boxes[o], boxes[row][None], over=over, plus_one=plus_one)[0] <= threshold for o in rivals):
            kept.append(row)
    return kept


def test_suppression_is_idempotent_and_empty_on_empty() -> None:
    boxes, scores = random_boxes(3, 80), np.random.default_rng(3).random(80).astype(np.float32)
    kept = nms(boxes, scores, 0.5)
    assert nms(boxes[kept], scores[kept], 0.5).tolist() == list(range(len(kept)))
    for kernels in (numpy_kernels(), compiled_kernels()):
        nothing = kernels.suppress(boxes[:0], scores[:0], np.zeros(0, np.intp), 0.5, False, False)
        assert nothing.shape == (0,)
    assert nms_by_group(boxes[:0], scores[:0], np.zeros(0, np.int64), 0.5).dtype == np.intp


def test_suppression_of_forty_thousand_boxes_keeps_indices_above_int16() -> None:
    count = 40_000
    low = np.arange(count, dtype=np.float32)[:, None] * 3
    boxes = np.concatenate([low, low, low + 2, low + 2], axis=1)
    kept = compiled_kernels().suppress(boxes, np.ones(count, np.float32), np.arange(count), 0.5, False, False)
    assert kept.tolist() == list(range(count))


def test_kernels_are_chosen_by_name() -> None:
    assert kernels_by_name("numpy").name == "numpy"
    assert kernels_by_name("fastest").name == "compiled"
    with pytest.raises(Exception, match="expected numpy, compiled or fastest"):
        kernels_by_name("cuda")


PLACES = ("inside", "low", "high", "across", "below", "beyond")
"""Of a region along one axis: within the photograph, over its first or last edge, over both, or wholly outside."""


def span(place: str, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """A half-open range at such a place of 0..side."""
    inner, (out, further) = int(rng.integers(0, side)), (int(way) for way in rng.integers(1, 2 * side + 2, 2))
    return {
        "inside": (inner, int(rng.integers(inner, side)) + 1),
        "low": (-out, inner + 1),
        "high": (inner, side + out),
        "across": (-out, side + further),
        "below": (-out - further, -out),
        "beyond": (side + out, side + out + further),
    }[place]


@settings(max_examples=200)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    to_height=st.integers(1, 60),
    to_width=st.integers(1, 60),
    down=st.sampled_from(PLACES),
    across=st.sampled_from(PLACES),
    seed=st.integers(0, 99),
)
def test_both_kernels_resize_to_the_same_bits_and_what_is_outside_is_black(
    height: int, width: int, to_height: int, to_width: int, down: str, across: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    one = (*span(down, height, rng), *span(across, width, rng))
    regions = np.array([[0, height, 0, width], one], np.int64)
    mean, scale = np.array([127.5, 120, 3], np.float32), np.array([1 / 128, 0.017, 1], np.float32)
    border = 5 * max(height, width) + 5
    framed = np.pad(image, ((border, border), (border, border), (0, 0)))  # as if it had been photographed with black
    answers = []
    for kernels in (numpy_kernels(), compiled_kernels()):
        for pixels, places in ((image, regions), (framed, regions + border)):
            out = np.empty((2, 3, to_height, to_width), np.float32)
            kernels.regions(kernels.integral(pixels), places, to_height, to_width, mean, scale, out)
            answers.append(out)
    for answer in answers[1:]:
        assert (answers[0] == answer).all()


@pytest.mark.process
def test_kernels_compile_where_nothing_can_be_kept() -> None:
    # The locator of zip files finds no place for a module that is in none: as for a user without a writable home.
    program = (
        "import numpy as np; from facepipe.geometry.kernels import compiled_kernels;"
        "print(compiled_kernels().integral(np.ones((3, 3, 3), np.uint8))[-1, -1])"
    )
    environment = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[9 9 9]"), done.stderr
