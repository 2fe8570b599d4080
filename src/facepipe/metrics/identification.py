# SPDX-License-Identifier: Apache-2.0
"""How well faces are named: rank-1 rate, open-set rates, and thresholds from false-accept rates. Pure NumPy.

A threshold is kept only by those who compute similarities as it was computed: another order of the same sums moves the
last bits, and a pair that the threshold was laid on falls to its other side. So there is one function for them,
`cosines`, for whoever calibrates and for whoever answers.

"Mated" probes show somebody whom the gallery holds, "non-mated" probes somebody whom it does not. A probe is accepted
when its best similarity is strictly above the threshold.

Source: Grother and Ngan, NIST IR 8009 (FRVT, identification), and Grother et al. 2011, "Handbook of Face Recognition",
chapter 21: detection-and-identification rate (DIR) at a false-positive identification rate (FPIR).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.errors import DataError


@dataclass(frozen=True, slots=True)
class OpenSetRate:
    """One working point.

    Attributes:
        fpir_target: the share of non-mated probes that may be called by a name.
        fpir: the share that is, at this threshold; at most the target.
        dir: the share of mated probes that are accepted and called by their own name.
        threshold: similarity; a probe has to be above it.
    """

    fpir_target: float
    fpir: float
    dir: float
    threshold: float


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine similarity of each row with the same row of the other side.

    A pair has the same bits whatever stands beside it: products of float32 are exact in float64, they are summed in
    NumPy's order for a row of D numbers, and rounded to float32 once.

    Args:
        first, second: float32 [P, D], rows of length 1.

    Returns:
        float32 [P], in [-1, 1]: rows that are a little longer than 1 do not leave it.

    Raises:
        DataError: the shapes differ.
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise DataError(f"embeddings: shapes are {list(first.shape)} and {list(second.shape)}, expected one [P, D].")
    one, other = (np.ascontiguousarray(side, np.float32).astype(np.float64) for side in (first, second))
    rounded: np.ndarray = (one * other).sum(axis=1).astype(np.float32)
    return np.clip(rounded, np.float32(-1), np.float32(1))


def rank_one_rate(right: np.ndarray) -> float:
    """The share of mated probes bool [M] whose nearest row has their own name, whatever the similarity.

    Raises:
        DataError: there are no mated probes.
    """
    if not len(right):
        raise DataError("identification: there are no mated probes, expected some.")
    return float(right.mean())


def open_set_rate(mated: np.ndarray, right: np.ndarray, non_mated: np.ndarray, fpir_target: float) -> OpenSetRate:
    """Detection-and-identification rate at the lowest threshold whose FPIR is at most the target.

    Args:
        mated: float [M], best similarity of each mated probe.
        right: bool [M], whether that nearest row has the probe's own name.
        non_mated: float [U], best similarity of each non-mated probe.
        fpir_target: in (0, 1).

    Raises:
        DataError: probes of one kind are lacking, a similarity is NaN, or the target is finer than 1 / U.
    """
    if not len(mated) or not len(non_mated):
        raise DataError(f"identification: {len(mated)} mated and {len(non_mated)} non-mated probes, expected both.")
    threshold = threshold_at(non_mated, fpir_target)
    return OpenSetRate(
        fpir_target=fpir_target,
        fpir=float((non_mated > threshold).mean()),
        dir=float((right & (mated > threshold)).mean()),
        threshold=threshold,
    )


def threshold_at(impostors: np.ndarray, rate: float) -> float:
    """The lowest similarity among the impostors' that at most the share `rate` of them is strictly above.

    It is one of their own values, so that it has their precision, and equal impostors are all accepted or none: of U no
    more than floor(rate * U) lie above it, of equals fewer.

    Args:
        impostors: float [U], similarities of what should not be accepted.
        rate: in (0, 1).

    Raises:
        DataError: a similarity is NaN, the rate is out of range, or there are too few impostors to tell it: with U of
            them no rate below 1 / U can be seen.
    """
    if not 0 < rate < 1:
        raise DataError(f"threshold: the rate is {rate}, expected between 0 and 1.")
    if np.isnan(impostors).any():
        raise DataError("threshold: a similarity is NaN, expected numbers.")
    allowed = int(np.floor(rate * len(impostors) + 1e-9))  # 0.001 * 3000 is 3.0000000000000004 or a little less than 3
    if allowed < 1:
        raise DataError(
            f"threshold: {len(impostors):,} comparisons of different people cannot show a rate of {rate:g}, expected "
            f"at least {int(np.ceil(1 / rate)):,}.",
            "a higher rate, or a larger set.",
        )
    ordered = np.sort(impostors)[::-1]
    if allowed == len(ordered):  # all may pass
        return float(np.nextafter(ordered[-1], ordered.dtype.type(-np.inf)))
    return float(ordered[allowed])
