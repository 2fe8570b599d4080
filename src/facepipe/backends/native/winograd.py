# SPDX-License-Identifier: Apache-2.0
"""Winograd's minimal filters: `outputs` values of a correlation with `taps` weights in outputs + taps - 1 products.

Source: Winograd 1980, "Arithmetic Complexity of Computations", chapter III; for networks Lavin & Gray 2016, "Fast
Algorithms for Convolutional Neural Networks". The matrices come from the Cook-Toom construction, in exact fractions.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, slots=True)
class MinimalFilter:
    """y = outputs_from [(weights_to g) * (inputs_to d)], for the correlation y[i] = sum of g[j] d[i + j].

    In two dimensions Y = O [(W g W') * (I d I')] O', each matrix from both sides.

    Attributes:
        inputs_to: [n, n], n = outputs + taps - 1; whole numbers.
        weights_to: [n, taps].
        outputs_from: [outputs, n].
    """

    inputs_to: Matrix
    weights_to: Matrix
    outputs_from: Matrix

    @property
    def size(self) -> int:
        """n: inputs of one tile, and products, along one side."""
        return len(self.inputs_to)

    @property
    def outputs(self) -> int:
        return len(self.outputs_from)


def minimal_filter(outputs: int, taps: int, points: tuple[Fraction | int, ...]) -> MinimalFilter:
    """The filter that interpolates at `points` and at infinity.

    A product of polynomials is their values at n points multiplied, and interpolated again; the correlation is that
    map transposed. So with V_k the values at the points of polynomials with k coefficients, the weights go by V_taps,
    the inputs by the transposed inverse of V_n, and the outputs come by V_outputs transposed.

    Args:
        points: outputs + taps - 2 different numbers; the nearer they are to 0 and 1, the less float32 loses.
    """
    size = outputs + taps - 1
    assert len(set(points)) == size - 1, f"{outputs} outputs of {taps} taps want {size - 1} different points"
    inputs_to = _transposed(_inverse(_values(points, size)))
    weights_to = _values(points, taps)
    # A row of the one may be multiplied when the row of the other is divided: whole numbers for the inputs.
    factors = [lcm(*(number.denominator for number in row)) for row in inputs_to]
    return MinimalFilter(
        tuple(tuple(number * by for number in row) for row, by in zip(inputs_to, factors, strict=True)),
        tuple(tuple(number / by for number in row) for row, by in zip(weights_to, factors, strict=True)),
        _transposed(_values(points, outputs)),
    )


def _values(points: tuple[Fraction | int, ...], count: int) -> Matrix:
    """[points + 1, count]: the powers of each point; at infinity the last coefficient alone counts."""
    finite = [tuple(Fraction(point) ** power for power in range(count)) for point in points]
    return (*finite, tuple(Fraction(power == count - 1) for power in range(count)))


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _inverse(matrix: Matrix) -> Matrix:
    """By Gauss and Jordan, exact."""
    size = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(row for row in range(column, size) if rows[row][column] != 0)
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [number / rows[column][column] for number in rows[column]]
        for row in range(size):
            if row != column:
                by = rows[row][column]
                rows[row] = [number - by * other for number, other in zip(rows[row], rows[column], strict=True)]
    return tuple(tuple(row[size:]) for row in rows)
