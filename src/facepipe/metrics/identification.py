# SPDX-License-Identifier: Apache-2.0
"""How well faces are named: rank-1 rate, open-set rates, and thresholds from false-accept rates. Pure NumPy.

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
    """The lowest similarity that at most the share `rate` of impostors is strictly above.

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
    return float(ordered[allowed]) if allowed < len(ordered) else float(np.nextafter(ordered[-1], -np.inf))
