# SPDX-License-Identifier: Apache-2.0
"""Winograd's minimal filtering F(m, r): m outputs of a correlation with r taps in m + r - 1 multiplications.

Source: Winograd 1980, "Arithmetic Complexity of Computations", chapter III; for networks Lavin & Gray 2016, "Fast
Algorithms for Convolutional Neural Networks". The matrices come from the Cook-Toom construction, in exact fractions.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, slots=True)
class Winograd:
    """F(m, r): y = A^T [(G g) * (B^T d)], for the correlation y[i] = sum over j of g[j] d[i + j].

    In two dimensions F(m x m, r x r): Y = A^T [(G g G^T) * (B^T d B)] A, each transform a congruence.

    Attributes:
        input_transform: B^T, [n, n], n = m + r - 1; whole numbers.
        weight_transform: G, [n, r].
        output_transform: A^T, [m, n].
    """

    input_transform: Matrix
    weight_transform: Matrix
    output_transform: Matrix

    @property
    def size(self) -> int:
        """n: inputs of one tile, and products, along one side."""
        return len(self.input_transform)

    @property
    def outputs(self) -> int:
        """m: outputs of one tile along one side."""
        return len(self.output_transform)

    @property
    def taps(self) -> int:
        """r: weights along one side."""
        return len(self.weight_transform[0])


def winograd(outputs: int, taps: int, points: tuple[Fraction | int, ...]) -> Winograd:
    """F(outputs, taps) that interpolates at `points` and at infinity (Cook-Toom).

    A product of polynomials is their values at n points multiplied, and interpolated again; the correlation is that
    map transposed. So with V_k the values at the points of polynomials with k coefficients, the weights go by V_taps,
    the inputs by the transposed inverse of V_n, and the outputs come by V_outputs transposed.

    Args:
        points: outputs + taps - 2 different numbers; the nearer they are to 0 and 1, the less float32 loses.
    """
    size = outputs + taps - 1
    assert len(set(points)) == size - 1, f"{outputs} outputs of {taps} taps want {size - 1} different points"
    input_transform = _transposed(_inverse(_values(points, size)))
    weight_transform = _values(points, taps)
    # A row of the one may be multiplied when the row of the other is divided: whole numbers for the inputs.
    factors = [lcm(*(number.denominator for number in row)) for row in input_transform]
    return Winograd(
        tuple(tuple(number * by for number in row) for row, by in zip(input_transform, factors, strict=True)),
        tuple(tuple(number / by for number in row) for row, by in zip(weight_transform, factors, strict=True)),
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
