# SPDX-License-Identifier: Apache-2.0
"""Search against brute force, the approximate index against the exact one, and when a face has no name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("faiss", reason="gallery search needs the extra [gallery]")

from facepipe.errors import DataError
from facepipe.gallery.file import Gallery, Threshold, empty_gallery, with_rows
from facepipe.gallery.search import build_index, identify


def unit(count: int, dimension: int = 128, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(threshold: float) -> Threshold:
    return Threshold(threshold, None, "by hand")


@pytest.mark.parametrize("dimension", [128, 512])
def test_exact_search_is_brute_force(dimension: int) -> None:
    rows, probes = unit(300, dimension), unit(20, dimension, seed=1)
    similarities, found = build_index(rows).search(probes, 7)
    expected = probes @ rows.T
    np.testing.assert_array_equal(found, np.argsort(-expected, axis=1)[:, :7])
    np.testing.assert_allclose(similarities, np.take_along_axis(expected, found, 1), atol=1e-5)


def test_more_candidates_than_rows_are_as_many_as_there_are() -> None:
    similarities, found = build_index(unit(3)).search(unit(2, seed=1), 5)
    assert similarities.shape == found.shape == (2, 3)
    assert sorted(found[0].tolist()) == [0, 1, 2]


def test_an_empty_gallery_knows_nobody() -> None:
    gallery = empty_gallery("mobilefacenet.ms1m", "00", 128)
    (answer,) = identify(gallery, build_index(gallery.embeddings), unit(1), by_hand(-1))
    assert (answer.label, answer.similarity, answer.candidates, answer.text) == (None, None, (), "unknown")


def test_the_approximate_index_finds_noisy_copies_with_exact_similarities() -> None:
    rows = unit(20_000, 64)
    noise = unit(200, 64, seed=1)
    probes = rows[:200] + noise
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    exact, near = build_index(rows).search(probes, 5)
    similarities, found = build_index(rows, "approximate").search(probes, 5)
    assert (found[:, 0] == near[:, 0]).mean() >= 0.99
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, near, strict=True)]) >= 0.9
    same = found == near
    np.testing.assert_allclose(similarities[same], exact[same], atol=1e-5)


def test_an_approximate_index_of_few_rows_is_refused() -> None:
    with pytest.raises(DataError, match="100 rows are few for an approximate index"):
        build_index(unit(100), "approximate")


def _vote_gallery() -> tuple[Gallery, np.ndarray]:
    """Ana once, near; Ben three times, a little further; Zoe far away. And the probe."""
    probe = np.zeros(128, np.float32)
    probe[0] = 1

    def at(similarity: float, axis: int) -> np.ndarray:
        row = np.zeros(128, np.float32)
        row[0], row[axis] = similarity, np.sqrt(1 - similarity**2)
        return row

    rows = np.stack([at(0.9, 1), at(0.6, 2), at(0.55, 3), at(0.5, 4), at(-0.9, 5)])
    gallery = with_rows(
        empty_gallery("mobilefacenet.ms1m", "00", 128), ["Ana", "Ben", "Ben", "Ben", "Zoe"], list("abcde"), rows
    )
    return gallery, probe[None]


def test_the_nearest_name_counts_unless_the_majority_is_asked_for() -> None:
    gallery, probe = _vote_gallery()
    index = build_index(gallery.embeddings)
    (best,) = identify(gallery, index, probe, by_hand(0.45))
    assert (best.label, best.text, best.is_known) == ("Ana", "Ana", True)
    assert best.similarity == pytest.approx(0.9)
    assert [candidate.source for candidate in best.candidates] == list("abcde")
    (most,) = identify(gallery, index, probe, by_hand(0.45), rule="majority")
    assert most.label == "Ben"
    assert most.similarity == pytest.approx(0.6)
    (tied,) = identify(gallery, index, probe, by_hand(0.58), rule="majority")
    assert tied.label == "Ana"


def test_nobody_near_enough_is_unknown_and_the_candidates_are_still_told() -> None:
    gallery, probe = _vote_gallery()
    (answer,) = identify(gallery, build_index(gallery.embeddings), probe, by_hand(0.95), candidates=2)
    assert answer.text == "unknown"
    assert answer.similarity == pytest.approx(0.9)
    assert [candidate.label for candidate in answer.candidates] == ["Ana", "Ben"]


def test_a_strong_opposite_is_no_match() -> None:
    """The port took the absolute value of the cosine: the most unlike face became a match."""
    gallery, probe = _vote_gallery()
    zoe = replace(gallery, labels=("Zoe",), sources=("e",), embeddings=gallery.embeddings[4:])
    (answer,) = identify(zoe, build_index(zoe.embeddings), probe, by_hand(0.45))
    assert answer.label is None
    assert answer.similarity == pytest.approx(-0.9)


def test_many_probes_are_answered_as_each_alone() -> None:
    rows = unit(50)
    gallery = with_rows(
        empty_gallery("m", "00", 128), [f"P{i % 9}" for i in range(50)], [str(i) for i in range(50)], rows
    )
    index, probes = build_index(rows), unit(13, seed=4)
    together = identify(gallery, index, probes, by_hand(0.2))
    alone = [identify(gallery, index, probe[None], by_hand(0.2))[0] for probe in probes]
    assert [answer.label for answer in together] == [answer.label for answer in alone]
    assert {answer.is_known for answer in together} == {True, False}
