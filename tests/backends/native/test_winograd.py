# SPDX-License-Identifier: Apache-2.0
"""Winograd's F(m, r) against the sum that they stand for, in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepipe.backends.native.winograd import Matrix, Winograd, winograd

FILTERS = {
    (2, 3): (0, 1, -1),
    (3, 3): (0, 1, -1, 2),
    (4, 3): (0, 1, -1, 2, Fraction(1, 2)),
    (2, 5): (0, 1, -1, 2, -2),
}
numbers = st.fractions(min_value=-4, max_value=4, max_denominator=8)


def times(matrix: Matrix, vector: list[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


def filtered(transform: Winograd, weights: list[Fraction], inputs: list[Fraction]) -> list[Fraction]:
    products = zip(times(transform.weight_transform, weights), times(transform.input_transform, inputs), strict=True)
    return times(transform.output_transform, [a * b for a, b in products])


@pytest.mark.parametrize("shape", FILTERS)
@given(data=st.data())
def test_products_give_the_correlation_exactly(shape: tuple[int, int], data: st.DataObject) -> None:
    outputs, taps = shape
    weights = data.draw(st.lists(numbers, min_size=taps, max_size=taps))
    inputs = data.draw(st.lists(numbers, min_size=outputs + taps - 1, max_size=outputs + taps - 1))
    direct = [sum((weights[j] * inputs[i + j] for j in range(taps)), Fraction(0)) for i in range(outputs)]
    assert filtered(winograd(outputs, taps, FILTERS[shape]), weights, inputs) == direct


@pytest.mark.parametrize("shape", FILTERS)
def test_it_takes_as_few_products_as_there_are_inputs_which_are_transformed_by_whole_numbers(
    shape: tuple[int, int],
) -> None:
    transform = winograd(*shape, FILTERS[shape])
    assert transform.size == sum(shape) - 1 and transform.outputs == shape[0]
    assert all(number.denominator == 1 for row in transform.input_transform for number in row)


def test_lavin_and_gray_s_f_2_3() -> None:
    """Their matrices, section 4.1, but for the signs of two rows, which cancel."""
    transform = winograd(2, 3, (0, 1, -1))
    half = Fraction(1, 2)
    assert transform.weight_transform == ((1, 0, 0), (half, half, half), (half, -half, half), (0, 0, 1))
    assert transform.input_transform == ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
    assert transform.output_transform == ((1, 1, 1, 0), (0, 1, -1, 1))


def test_points_that_are_equal_or_too_few_are_refused() -> None:
    with pytest.raises(AssertionError, match="want 3 different points"):
        winograd(2, 3, (0, 1, 1))
