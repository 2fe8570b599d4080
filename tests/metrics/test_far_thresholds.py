# SPDX-License-Identifier: Apache-2.0
"""Thresholds from all pairs of different people keep their rate to the pair; intervals are of people, not of pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from facepipe.errors import DataError
from facepipe.metrics.far_thresholds import REPLICATES, far_thresholds, is_measured, stranger_pairs
from facepipe.metrics.identification import cosines
from facepipe.specs import RateAt


def unit(rng: np.random.Generator, count: int, dimension: int = 16) -> np.ndarray:
    rows = rng.normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def album(rng: np.random.Generator, people: int, photographs: int, spread: float) -> tuple[np.ndarray, list[str]]:
    """Photographs around a place for each person: the smaller the spread, the more they say the same."""
    centres = unit(rng, people).repeat(photographs, axis=0)
    rows = centres + spread * rng.normal(size=centres.shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), [f"p{i // photographs}" for i in range(len(rows))]


def test_every_photograph_meets_every_one_of_another_person_once() -> None:
    rows, people = unit(np.random.default_rng(0), 7), ["b", "a", "b", "c", "a", "a", "c"]
    pairs = stranger_pairs(rows, people)
    expected = [(i, j) for i, j in itertools.combinations(range(7), 2) if people[i] != people[j]]
    assert pairs.people == 3 and len(pairs.similarities) == len(expected)
    one, other = (np.array(side) for side in zip(*expected, strict=True))
    assert sorted(pairs.similarities) == sorted(cosines(rows[one], rows[other]))
    names = sorted(set(people))
    told = sorted(
        (float(s), *sorted((names[a], names[b])))
        for s, a, b in zip(pairs.similarities, pairs.first, pairs.second, strict=True)
    )
    assert told == sorted(
        (float(cosines(rows[[i]], rows[[j]])[0]), *sorted((people[i], people[j]))) for i, j in expected
    )


def test_a_rate_is_kept_to_the_pair_and_its_threshold_is_a_float32() -> None:
    rows, people = album(np.random.default_rng(1), 30, 4, 0.5)
    pairs = stranger_pairs(rows, people)
    for rate in far_thresholds(pairs, [0.1, 0.01, 0.001]):
        above = int((pairs.similarities > np.float32(rate.similarity)).sum())
        assert above == int(rate.far * len(pairs.similarities))
        assert float(np.float32(rate.similarity)) == rate.similarity
        assert rate.low <= above / len(pairs.similarities) <= rate.high


def test_more_photographs_of_the_same_people_do_not_narrow_the_interval_and_more_people_do() -> None:
    """The square root that a binomial interval would promise for 25 times the pairs is 5."""

    def width(people: int, photographs: int) -> float:
        rows, names = album(np.random.default_rng(2), people, photographs, 0.02)
        (rate,) = far_thresholds(stranger_pairs(rows, names), [0.05])
        return rate.high - rate.low

    few, copied, more = width(40, 2), width(40, 10), width(160, 2)
    assert copied > 0.7 * few
    assert more < 0.6 * few


def test_the_interval_is_that_of_a_plain_loop_over_drawn_people() -> None:
    rows, names = album(np.random.default_rng(3), 12, 3, 0.3)
    pairs = stranger_pairs(rows, names)
    (rate,) = far_thresholds(pairs, [0.1])
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(REPLICATES):
        drawn = rng.multinomial(12, np.full(12, 1 / 12))
        weights = drawn[pairs.first] * drawn[pairs.second]
        shares.append((weights * (pairs.similarities > np.float32(rate.similarity))).sum() / weights.sum())
    assert (rate.low, rate.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])), abs=1e-12)


def test_a_rate_is_measured_within_a_factor_and_refused_below_one_pair() -> None:
    assert is_measured(RateAt(0.01, 0.5, 0.007, 0.015))
    assert not is_measured(RateAt(0.01, 0.5, 0.006, 0.012)) and not is_measured(RateAt(0.01, 0.5, 0.009, 0.016))
    pairs = stranger_pairs(*album(np.random.default_rng(4), 5, 2, 0.3))
    with pytest.raises(DataError, match=r"40 comparisons of different people cannot show a rate of 0\.001"):
        far_thresholds(pairs, [0.001])


def test_one_person_alone_has_no_strangers() -> None:
    rows = unit(np.random.default_rng(5), 3)
    with pytest.raises(DataError, match="3 rows of 1 people, expected a name each, of two or more"):
        stranger_pairs(rows, ["a", "a", "a"])
    with pytest.raises(DataError, match="3 rows of 2 people"):
        stranger_pairs(rows, ["a", "b"])
