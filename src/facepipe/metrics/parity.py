# SPDX-License-Identifier: Apache-2.0
"""How far one implementation's output is from another's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from facepipe.errors import TensorError


@dataclass(frozen=True, slots=True)
class Parity:
    """The distance of two arrays.

    Args:
        max_abs_difference: max |a - b|; NaN when either array holds a NaN, infinite when infinities differ.
        cosine: the least cosine of two rows (the first axis), each row flattened; 1 where both rows are zero, NaN
            when either array holds a NaN.
        reference_scale: max |reference| of its finite numbers; a tolerance grows with the numbers it is asked of.
    """

    max_abs_difference: float
    cosine: float
    reference_scale: float

    def is_within(self, tolerance: float) -> bool:
        """Is max |a - b| at most tolerance * max(1, max |reference|)? Never for a NaN."""
        return self.max_abs_difference <= tolerance * max(1.0, self.reference_scale)


def parity(reference: np.ndarray, other: np.ndarray) -> Parity:
    """Compare `other` with `reference`.

    Args:
        reference: float [N, ...], any rank of at least 1.
        other: the same shape.

    Raises:
        TensorError: the shapes differ, or there is nothing to compare.

    Example:
        >>> parity(np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]])).max_abs_difference
        0.5
    """
    if reference.shape != other.shape:
        raise TensorError(
            f"parity: the shapes are {list(reference.shape)} and {list(other.shape)}, expected one shape."
        )
    if reference.ndim == 0 or reference.size == 0:
        raise TensorError(
            f"parity: the arrays have shape {list(reference.shape)}, expected at least one row of numbers."
        )
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (reference, other))  # [N, everything else]
    with np.errstate(invalid="ignore"):  # inf - inf of equal infinities is replaced in the next line
        differences = np.where(a == b, 0.0, np.abs(a - b))
    scale = np.abs(a, where=np.isfinite(a), out=np.zeros_like(a)).max()
    return Parity(float(differences.max()), float(_cosines(a, b).min()), float(scale))


def worst(parities: Iterable[Parity]) -> Parity:
    """The largest difference, the least cosine and the largest scale among several outputs or probes.

    Raises:
        TensorError: there are none.
    """
    rows = np.array([(p.max_abs_difference, p.cosine, p.reference_scale) for p in parities])
    if not len(rows):
        raise TensorError("parity: nothing was compared, expected at least one output.")
    return Parity(float(rows[:, 0].max()), float(rows[:, 1].min()), float(rows[:, 2].max()))


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [N]: the cosine of each row of `a` with the same row of `b`, in -1..1."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    with np.errstate(invalid="ignore"):  # an infinite row has no cosine: NaN, which no limit admits
        cosines = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    cosines = np.where(both_zero, 1.0, cosines)
    return np.asarray(np.clip(cosines, -1.0, 1.0))
