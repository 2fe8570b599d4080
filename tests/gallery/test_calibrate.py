# SPDX-License-Identifier: Apache-2.0
"""A calibrated threshold is kept by the search: as many strangers get a name as were promised, and none more."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.datasets.lfw import Pair, VerificationSet
from facepipe.errors import DataError
from facepipe.gallery.calibrate import calibrate
from facepipe.gallery.file import Gallery, Threshold
from facepipe.gallery.search import build_index, identify

SETS, PAIRS, ALLOWED = 1000, 60, 3


def unit(rng: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    rows = rng.normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def strangers(first: np.ndarray, second: np.ndarray) -> tuple[VerificationSet, dict[str, np.ndarray]]:
    """A set whose pairs are row i of both sides, of different people."""
    pairs = tuple(Pair(f"a/{i}", f"b/{i}", False, 0) for i in range(len(first)))
    rows = {f"a/{i}": row for i, row in enumerate(first)} | {f"b/{i}": row for i, row in enumerate(second)}
    return VerificationSet("strangers", pairs, 1), rows


def named(first: np.ndarray, second: np.ndarray, threshold: Threshold, *, together: bool) -> int:
    """How many of the pairs the search takes for one person: each in a gallery of its other side alone."""
    accepted = 0
    for i in range(len(second)):
        gallery = Gallery("m", "00", threshold, ("B",), ("b",), second[i : i + 1])
        index = build_index(gallery.embeddings)
        probes = np.vstack([first[i : i + 1], first]) if together else first[i : i + 1]
        accepted += identify(gallery, index, probes, threshold)[0].is_known
    return accepted


@pytest.mark.parametrize("dimension", [16, 128])
def test_a_thousand_sets_keep_the_promise_to_the_pair(dimension: int) -> None:
    """Those near the boundary, of which the last bit decides, are searched; random sets have no ties: just as many."""
    rng = np.random.default_rng(dimension)
    for number in range(SETS):
        first, second = unit(rng, PAIRS, dimension), unit(rng, PAIRS, dimension)
        pairs, rows = strangers(first, second)
        threshold = calibrate(pairs, rows, ALLOWED / PAIRS, "set")
        similarity = (first * second).sum(axis=1)
        near = np.abs(similarity - threshold.similarity) < 1e-5
        assert near.any()
        sure = int((similarity[~near] > threshold.similarity).sum())
        # One in ten also beside sixty other probes, for which the product sums in another order.
        assert sure + named(first[near], second[near], threshold, together=False) == ALLOWED, number
        if number % 10 == 0:
            assert sure + named(first[near], second[near], threshold, together=True) == ALLOWED, number


def test_equal_impostors_are_all_left_out() -> None:
    """Pictures that occur several times: as many are allowed as the rate says, of equals fewer."""
    rng = np.random.default_rng(0)
    for number in range(SETS):
        first, second = unit(rng, 6, 16), unit(rng, 6, 16)
        again = rng.integers(0, 6, 40)
        pairs, rows = strangers(first[again], second[again])
        threshold = calibrate(pairs, rows, 0.1, "set")
        accepted = sum(
            int((again == i).sum()) * named(first[i : i + 1], second[i : i + 1], threshold, together=False)
            for i in range(6)
        )
        assert accepted <= 4, number
        assert np.float32(threshold.similarity) == threshold.similarity


def test_impostors_that_are_the_same_picture_have_no_name() -> None:
    """Their cosine is 1, or a step above it by rounding: a threshold of 1 lets none of them through."""
    rows = unit(np.random.default_rng(1), 20, 128)
    pairs, by_key = strangers(rows, rows)
    threshold = calibrate(pairs, by_key, 0.1, "set")
    assert threshold.similarity <= 1
    assert named(rows, rows, threshold, together=False) <= 2


def test_pairs_without_an_embedding_are_left_out_and_a_rate_that_cannot_be_seen_is_refused() -> None:
    rng = np.random.default_rng(2)
    first, second = unit(rng, 30, 16), unit(rng, 30, 16)
    pairs, rows = strangers(first, second)
    del rows["a/3"]
    assert calibrate(pairs, rows, 0.1, "set").source == "set: 29 pairs of different people"
    with pytest.raises(DataError, match=r"cannot show a rate of 0\.01,"):
        calibrate(pairs, rows, 0.01, "set")
    with pytest.raises(DataError, match="set: no pair of different people has two embeddings"):
        calibrate(pairs, {}, 0.1, "set")
