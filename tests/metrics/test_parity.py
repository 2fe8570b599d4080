# SPDX-License-Identifier: Apache-2.0
"""Distance of two outputs: the numbers, and the cases in which a comparison must never pass."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facepipe.errors import TensorError
from facepipe.metrics.parity import Parity, parity, worst


def test_equal_arrays_are_at_no_distance() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    result = parity(rows, rows.copy())
    assert result.max_abs_difference == 0
    assert result.cosine == pytest.approx(1, abs=1e-12)
    assert result.reference_scale == np.abs(rows).max()


def test_the_largest_difference_and_the_least_cosine_of_any_row_are_told() -> None:
    reference = np.array([[1.0, 0.0], [0.0, 2.0]])
    other = np.array([[1.0, 1.0], [0.0, 2.0]])
    result = parity(reference, other)
    assert result.max_abs_difference == 1
    assert result.cosine == pytest.approx(math.sqrt(0.5))


def test_rows_of_maps_are_flattened() -> None:
    maps = np.ones((2, 3, 4, 5), np.float32)
    assert parity(maps, 2 * maps).cosine == pytest.approx(1)
    assert parity(maps, -maps).cosine == pytest.approx(-1)


def test_two_rows_of_zeros_agree_and_one_alone_does_not() -> None:
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert parity(zero, zero).cosine == 1
    assert parity(one, zero).cosine == 0


@pytest.mark.parametrize("side", [0, 1])
def test_a_nan_is_within_no_tolerance(side: int) -> None:
    arrays = [np.ones((2, 2)), np.ones((2, 2))]
    arrays[side][0, 1] = np.nan
    result = parity(*arrays)
    assert math.isnan(result.max_abs_difference)
    assert not result.is_within(1e9)
    assert not result.cosine >= 0.5


def test_infinities_agree_with_themselves_alone() -> None:
    infinite = np.array([[np.inf, 1.0]])
    assert parity(infinite, infinite).max_abs_difference == 0
    assert not parity(infinite, -infinite).is_within(1.0)
    assert not parity(np.ones((1, 2)), infinite).is_within(1.0)


def test_the_tolerance_grows_with_the_reference_from_one_on() -> None:
    assert Parity(0.9e-5, 1, 0.1).is_within(1e-5)
    assert not Parity(1.1e-5, 1, 0.1).is_within(1e-5)
    assert Parity(9e-5, 1, 10).is_within(1e-5)
    assert not Parity(11e-5, 1, 10).is_within(1e-5)


def test_differences_of_float32_are_taken_in_float64() -> None:
    result = parity(np.array([[16777216.0]], np.float32), np.array([[16777217.0]], np.float64))
    assert result.max_abs_difference == 1


@pytest.mark.parametrize(
    ("reference", "other", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), r"\[2, 3\] and \[3, 2\], expected one shape"),
        (np.ones((0, 3)), np.ones((0, 3)), r"\[0, 3\], expected at least one row"),
        (np.float32(1), np.float32(1), r"\[\], expected at least one row"),
    ],
)
def test_what_cannot_be_compared_is_refused(reference: np.ndarray, other: np.ndarray, message: str) -> None:
    with pytest.raises(TensorError, match=message):
        parity(reference, other)


def test_the_worst_takes_each_number_from_where_it_is_worst() -> None:
    assert worst([Parity(1, 0.9, 3), Parity(2, 0.95, 1)]) == Parity(2, 0.9, 3)
    assert math.isnan(worst([Parity(math.nan, 1, 1), Parity(1, 1, 1)]).max_abs_difference)
    with pytest.raises(TensorError, match="nothing was compared"):
        worst([])
