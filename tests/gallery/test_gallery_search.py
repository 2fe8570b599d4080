# SPDX-License-Identifier: Apache-2.0
"""Search against brute force, the approximate index against the exact one, and when a face has no name."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest

from facepipe.errors import BackendError, DataError
from facepipe.gallery import search
from facepipe.gallery.file import Gallery, Threshold, empty_gallery, with_rows
from facepipe.gallery.search import IndexKind, build_index, identify
from facepipe.metrics.identification import cosines

needs_faiss = pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None, reason="approximate search needs the extra [gallery]"
)


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


@needs_faiss
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


def test_exact_search_needs_no_faiss_and_the_approximate_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    rows = unit(10_000, 8)
    assert build_index(rows).search(rows[:3], 1)[1].ravel().tolist() == [0, 1, 2]
    with pytest.raises(
        BackendError, match=r"approximate search is unavailable: no module named 'faiss'.*Try: the exact"
    ):
        build_index(rows, "approximate")


def test_the_nearest_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BLOCK", 64)
    rows, probes = unit(1000, 16), unit(20, 16, seed=1)
    similarities, found = build_index(rows).search(probes, 5)
    products = cosines(np.repeat(probes, 1000, axis=0), np.tile(rows, (20, 1))).reshape(20, 1000)
    np.testing.assert_array_equal(found, np.argsort(-products, axis=1, kind="stable")[:, :5])
    np.testing.assert_array_equal(similarities, np.take_along_axis(products, found, axis=1))


def test_an_approximate_index_of_few_rows_is_refused() -> None:
    with pytest.raises(DataError, match="100 rows are few for an approximate index"):
        build_index(unit(100), "approximate")


def test_numbers_that_make_no_pairs_are_refused_by_the_approximate_index_and_searched_by_the_exact_one() -> None:
    rows = unit(10_000, 7)
    with pytest.raises(DataError, match=r"rows of 7 numbers, expected an even number .*Try: the exact one"):
        build_index(rows, "approximate")
    assert build_index(rows).search(rows[:1], 1)[1].tolist() == [[0]]


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


@pytest.mark.parametrize("dimension", [8, 128])
def test_a_face_at_the_threshold_has_no_name_and_one_above_it_has(dimension: int) -> None:
    """The threshold is the very similarity: only `>` leaves it out, and only the least step below lets it in."""
    rows, probes = unit(40, dimension), unit(25, dimension, seed=3)
    gallery = with_rows(
        empty_gallery("m", "00", dimension), [f"P{i}" for i in range(40)], list(map(str, range(40))), rows
    )
    index = build_index(rows)
    for probe, near in zip(probes, identify(gallery, index, probes, by_hand(-1)), strict=True):
        assert near.similarity is not None
        (at,) = identify(gallery, index, probe[None], by_hand(near.similarity))
        assert (at.label, at.similarity) == (None, near.similarity)
        below = float(np.nextafter(np.float32(near.similarity), np.float32(-2)))
        (above,) = identify(gallery, index, probe[None], by_hand(below))
        assert above.label == near.label


@pytest.mark.parametrize("kind", ["exact", pytest.param("approximate", marks=needs_faiss)])
def test_a_similarity_has_the_same_bits_in_any_company(kind: IndexKind) -> None:
    """A product of matrices sums in another order for one probe and for many."""
    rows, probes = unit(12_000, 64), unit(300, 64, seed=2)
    index = build_index(rows, kind)
    together = index.search(probes, 3)
    for some in (slice(0, 1), slice(5, 6), slice(0, 19), slice(10, 40), slice(250, 300)):
        for one, other in zip(index.search(probes[some], 3), together, strict=True):
            np.testing.assert_array_equal(one, other[some])
    np.testing.assert_array_equal(index.search(probes, 1)[0], together[0][:, :1])


def test_of_equal_rows_the_first_is_the_nearest() -> None:
    rows = np.repeat(unit(5), 3, axis=0)
    similarities, found = build_index(rows).search(rows, 3)
    assert (found[:, 0] // 3 == np.arange(15) // 3).all()
    assert (found == np.sort(found, axis=1)).all()
    assert (similarities[:, 0] == similarities[:, 2]).all()


@needs_faiss
def test_dense_people_are_found_by_the_approximate_index() -> None:
    """Twenty people with five hundred pictures each: their sketches hardly differ, and the majority votes on five."""
    rng = np.random.default_rng(0)
    centres = unit(20, 32)
    whose = rng.integers(0, 20, 100)
    rows = np.repeat(centres, 500, axis=0) + 0.5 * unit(10_000, 32, seed=1)
    probes = centres[whose] + 0.5 * unit(100, 32, seed=2)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    _, near = build_index(rows).search(probes, 5)
    _, found = build_index(rows, "approximate").search(probes, 5)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, near, strict=True)]) >= 0.99
    _, one = build_index(rows, "approximate").search(probes, 1)
    assert (one[:, 0] == near[:, 0]).mean() >= 0.95
    assert (found // 500 == whose[:, None]).all()


def test_many_probes_are_answered_as_each_alone() -> None:
    rows = unit(50)
    gallery = with_rows(
        empty_gallery("m", "00", 128), [f"P{i % 9}" for i in range(50)], [str(i) for i in range(50)], rows
    )
    index, probes = build_index(rows), unit(13, seed=4)
    together = identify(gallery, index, probes, by_hand(0.2))
    alone = [identify(gallery, index, probe[None], by_hand(0.2))[0] for probe in probes]
    assert together == alone
    assert {answer.is_known for answer in together} == {True, False}
