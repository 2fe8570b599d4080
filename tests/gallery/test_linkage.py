# SPDX-License-Identifier: Apache-2.0
"""Average linkage against SciPy's, with pairs that cannot be linked, and with few neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.gallery import linkage
from facepipe.gallery.linkage import average_linkage


def rows_of(sizes: list[int], spread: float, seed: int = 0, dimension: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around one for each person, shuffled, and who they are."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = rng.normal(size=(len(sizes), dimension))[truth] + spread * rng.normal(size=(len(truth), dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def partition(groups: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}


def free(rows: np.ndarray) -> np.ndarray:
    return np.arange(len(rows))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("similarity", [0.1, 0.3, 0.5, 0.7])
def test_it_is_scipys_average_linkage(seed: int, similarity: float, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy", reason="SciPy is the oracle")
    monkeypatch.setattr(linkage, "_CLOSE", 1e-12)  # the very order of the definition
    rows, _ = rows_of([5, 9, 1, 3, 12, 1, 1, 20], 1.1, seed)
    tree = hierarchy.linkage(rows.astype(np.float64), method="average", metric="cosine")
    expected = hierarchy.fcluster(tree, 1 - similarity, criterion="distance")
    found = average_linkage(rows, free(rows), similarity, neighbours=len(rows))
    assert partition(found) == partition(expected)
    assert all(found[group] == group for group in found), "called by the first row"


@pytest.mark.parametrize("neighbours", [1, 2, 5, 16])
def test_few_neighbours_end_where_no_two_groups_are_similar_enough(neighbours: int) -> None:
    rows, _ = rows_of([40, 60, 5, 1, 30], 0.9)
    groups = average_linkage(rows, free(rows), 0.4, neighbours)
    called = np.unique(groups)
    means = np.stack([rows[groups == group].astype(np.float64).mean(axis=0) for group in called])
    between = means @ means.T
    assert (between[~np.eye(len(called), dtype=bool)] < 0.4).all()
    assert partition(groups) == partition(average_linkage(rows, free(rows), 0.4, 200))


def test_rows_that_cannot_be_linked_never_are_whatever_their_similarity() -> None:
    rows, _ = rows_of([60, 40], 0.3)
    apart = np.arange(len(rows)) // 7
    groups = average_linkage(rows, apart, 0.2)
    for group in set(groups.tolist()):
        own = apart[groups == group]
        assert len(set(own.tolist())) == len(own)
    same = np.ones((50, 8), np.float32) / np.sqrt(np.float32(8))
    assert len(set(average_linkage(same, np.zeros(50, int), 0.5).tolist())) == 50
    twice = average_linkage(same, np.arange(50) % 25, 0.5)
    assert sorted(np.bincount(twice)[np.unique(twice)].tolist()) == [25, 25]


def test_a_chain_of_near_rows_is_not_one_group() -> None:
    angles = np.linspace(0, np.pi, 40)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert (rows[:-1] * rows[1:]).sum(axis=1).min() > 0.99, "a link each"
    groups = average_linkage(rows, free(rows), 0.5)
    assert len(set(groups.tolist())) > 1


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows, _ = rows_of([20, 9, 1, 30], 0.8)
    order = np.random.default_rng(1).permutation(len(rows))
    moved = average_linkage(rows[order], free(rows), 0.4)
    back = np.empty_like(moved)
    back[order] = order[moved]
    assert partition(back) == partition(average_linkage(rows, free(rows), 0.4))


def test_no_row_and_one_row() -> None:
    assert average_linkage(np.zeros((0, 4), np.float32), np.zeros(0, int), 0.5).tolist() == []
    assert average_linkage(np.eye(1, 4, dtype=np.float32), np.zeros(1, int), 0.5).tolist() == [0]
