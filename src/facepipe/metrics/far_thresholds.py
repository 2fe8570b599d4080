# SPDX-License-Identifier: Apache-2.0
"""Thresholds for false-accept rates from all pairs of different people among some photographs, with intervals.

Photographs of few people make many pairs: 4,830 of 345 people make 11.6 million of different people. These are no 11.6
million looks at the world. What was drawn at random are people, so people are what an interval draws again: a bootstrap
over people, each with all photographs of theirs (a person who is drawn twice is not paired with themselves). A rate is
given where its interval lies within a factor of 1.5 of it, and left out where it does not.

The similarities are `metrics.identification.cosines` and the threshold is laid by `threshold_at`, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.errors import DataError
from facepipe.metrics.identification import cosines, threshold_at
from facepipe.specs import RateAt

REPLICATES = 2000
SEED = 0
WITHIN = 1.5  # times the rate, up and down, that its interval may reach
_PAIRS_AT_ONCE = 1 << 16  # bounds memory: two float64 [65536, 128] are 134 MB
_SHARES = (0.025, 0.975)


@dataclass(frozen=True, slots=True, eq=False)
class StrangerPairs:
    """All pairs of different people: similarities float32 [P], the people of both sides int32 [P], how many people."""

    similarities: np.ndarray
    first: np.ndarray
    second: np.ndarray
    people: int


def stranger_pairs(rows: np.ndarray, people: Sequence[str]) -> StrangerPairs:
    """Every photograph against every one of another person, once.

    Args:
        rows: float32 [N, D], unit embeddings.
        people: N names.

    Raises:
        DataError: the two differ in length, or there are fewer than two people.
    """
    names, person = np.unique(np.asarray(people), return_inverse=True)
    if len(rows) != len(people) or len(names) < 2:
        raise DataError(f"thresholds: {len(rows)} rows of {len(names)} people, expected a name each, of two or more.")
    one, other = np.nonzero(np.triu(person[:, None] != person[None, :], 1))  # (P,) each
    parts = [slice(start, start + _PAIRS_AT_ONCE) for start in range(0, len(one), _PAIRS_AT_ONCE)]
    similarities = np.concatenate([cosines(rows[one[part]], rows[other[part]]) for part in parts])
    return StrangerPairs(similarities, person[one].astype(np.int32), person[other].astype(np.int32), len(names))


def is_measured(rate: RateAt) -> bool:
    """Whether the people were enough to tell it: the interval lies within a factor of 1.5."""
    return rate.far / WITHIN <= rate.low and rate.high <= rate.far * WITHIN


def far_thresholds(pairs: StrangerPairs, rates: Sequence[float]) -> list[RateAt]:
    """For each rate the lowest similarity that at most this share of the pairs is above, and the interval of the share.

    Raises:
        DataError: a rate is finer than one pair.
    """
    count = pairs.people
    weights = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), REPLICATES)  # (R, people)
    every = _drawn(pairs, weights, np.ones(len(pairs.similarities), np.bool_))
    found = []
    for rate in rates:
        similarity = threshold_at(pairs.similarities, rate)
        shares = _drawn(pairs, weights, pairs.similarities > np.float32(similarity)) / every
        low, high = np.quantile(shares, _SHARES)
        found.append(RateAt(rate, similarity, float(low), float(high)))
    return found


def _drawn(pairs: StrangerPairs, weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How many of the chosen pairs there are in each replicate, float64 [R]: a pair as often as both its people."""
    place = pairs.first[chosen].astype(np.int64) * pairs.people + pairs.second[chosen]
    counts = np.bincount(place, minlength=pairs.people**2).reshape(pairs.people, pairs.people)
    drawn = weights.astype(np.float64)
    return np.asarray(((drawn @ counts) * drawn).sum(axis=1))
