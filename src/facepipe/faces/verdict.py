# SPDX-License-Identifier: Apache-2.0
"""Whether two embeddings are of one person: the cosine against a threshold, and the rate that the threshold stands for.

What answers computes as what measured (`metrics.identification.cosines`), so that a rate that was promised is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.errors import DataError
from facepipe.metrics.identification import cosines
from facepipe.metrics.verification import squared_distances
from facepipe.specs import VERDICT_FAR, ModelSpec


@dataclass(frozen=True, slots=True)
class KnownThreshold:
    """A cosine that a pair has to be above, the rate that it was measured for (None: nobody knows), and where from."""

    similarity: float
    far: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What two faces are to one another.

    Attributes:
        similarity: cosine, in [-1, 1].
        distance: squared Euclidean, in [0, 4].
        same: whether they are one person's; None where there is no threshold.
        threshold: the cosine that was compared with; None where there is none.
        far: the share of pairs of different people that are above it; None where nobody knows.
        source: where the threshold comes from, or why there is none.
    """

    similarity: float
    distance: float
    same: bool | None
    threshold: float | None
    far: float | None
    source: str


def threshold_of(spec: ModelSpec, note: str | None) -> KnownThreshold | None:
    """The catalogue's threshold for verdicts, or the one that a model's own record states; None where there is none.

    Args:
        note: what a user has to know of detector and recogniser. Where there is something, faces are cut otherwise than
            the recogniser wants them, and no threshold was measured for that.
    """
    if note is not None:
        return None
    if spec.imported is not None and spec.imported.threshold is not None:
        return KnownThreshold(spec.imported.threshold, None, f"of {spec.name}'s own record")
    if spec.thresholds is None:
        return None
    at = next(one for one in spec.thresholds.rates if one.far == VERDICT_FAR)
    return KnownThreshold(at.similarity, at.far, spec.thresholds.source)


def verdict(
    one: np.ndarray, other: np.ndarray, spec: ModelSpec, note: str | None = None, threshold: float | None = None
) -> Verdict:
    """Compare two unit embeddings float32 [D] of the recogniser `spec`.

    Args:
        note: see `threshold_of`.
        threshold: a cosine, instead of the catalogue's.

    Raises:
        DataError: `threshold` is no cosine.
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise DataError(f"verify: the threshold is {threshold}, expected a cosine from -1 to 1.")
    similarity = float(cosines(one[None], other[None])[0])
    distance = float(squared_distances(one[None], other[None])[0])
    known = threshold_of(spec, note) if threshold is None else KnownThreshold(threshold, None, "given by hand")
    if known is None:
        held = spec.thresholds is not None or (spec.imported is not None and spec.imported.threshold is not None)
        why = "its threshold is for other alignment" if held else "no threshold was measured for it"
        return Verdict(similarity, distance, None, None, None, f"{spec.name}: {why}")
    return Verdict(similarity, distance, similarity > known.similarity, known.similarity, known.far, known.source)


def in_words(found: Verdict) -> str:
    """The verdict, its threshold, and the rate that this stands for."""
    if found.threshold is None:
        return f"no verdict: {found.source}. Try: --threshold COSINE."
    words = "the same person" if found.same else "different people"
    rate = "" if found.far is None else f", above which is 1 of {1 / found.far:,.0f} pairs of different people"
    return f"{words}: cosine {'above' if found.same else 'not above'} {found.threshold:.4f}{rate} ({found.source})"
