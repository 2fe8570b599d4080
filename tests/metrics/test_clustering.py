# SPDX-License-Identifier: Apache-2.0
"""B-cubed, by hand from its definition (Bagga and Baldwin, 1998): the mean over the faces; pairs, as scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.errors import DataError
from facepipe.metrics.clustering import b_cubed, pairwise


def test_a_person_in_two_groups_costs_recall_and_a_group_of_two_people_precision() -> None:
    apart = b_cubed(np.array([0, 0, 1, -1]), np.array(["a", "a", "a", "b"]))
    assert apart.precision == 1 and apart.recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1) / 4)
    mixed = b_cubed(np.array([7, 7, 7, 2]), np.array([5, 5, 9, 9]))
    assert mixed.precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1) / 4)
    assert mixed.recall == pytest.approx((1 + 1 + 1 / 2 + 1 / 2) / 4)
    assert mixed.f == pytest.approx(2 * mixed.precision * mixed.recall / (mixed.precision + mixed.recall))


def test_faces_in_no_group_are_groups_of_their_own() -> None:
    found = b_cubed(np.array([-1, -1, -1]), np.array([1, 1, 2]))
    assert found.precision == 1 and found.recall == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_other_lengths_and_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="2 groups for 1 people"):
        b_cubed(np.array([0, 1]), np.array([1]))
    with pytest.raises(DataError, match="0 groups"):
        b_cubed(np.zeros(0, int), np.zeros(0, int))


def test_b_cubed_is_its_definition() -> None:
    rng = np.random.default_rng(2)
    groups, people = rng.integers(-1, 6, 60), rng.integers(0, 8, 60)
    own = [g if g >= 0 else 100 + i for i, g in enumerate(groups.tolist())]
    precision, recall = [], []
    for i in range(60):
        mates = [j for j in range(60) if own[j] == own[i]]
        others = [j for j in range(60) if people[j] == people[i]]
        right = len(set(mates) & set(others))
        precision.append(right / len(mates))
        recall.append(right / len(others))
    found = b_cubed(groups, people)
    assert found.precision == pytest.approx(np.mean(precision))
    assert found.recall == pytest.approx(np.mean(recall))


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_counted_as_scikit_learn_does(seed: int) -> None:
    cluster = pytest.importorskip("sklearn.metrics.cluster", reason="scikit-learn is the oracle")
    rng = np.random.default_rng(seed)
    groups, people = rng.integers(-1, 9, 200), rng.integers(0, 12, 200)
    numbered = np.where(groups < 0, 1000 + np.arange(200), groups)
    (_, wrong), (missed, right) = cluster.pair_confusion_matrix(people, numbered)
    found = pairwise(groups, people)
    assert found.precision == pytest.approx(right / (right + wrong))
    assert found.recall == pytest.approx(right / (right + missed))
    assert found.f == pytest.approx(2 * right / (2 * right + wrong + missed))


def test_where_there_is_no_pair_nothing_is_wrong() -> None:
    found = pairwise(np.array([-1, -1]), np.array(["a", "b"]))
    assert (found.precision, found.recall, found.f) == (1, 1, 1)
    merged = pairwise(np.array([0, 0]), np.array(["a", "b"]))
    assert (merged.precision, merged.recall, merged.f) == (0, 1, 0)
    with pytest.raises(DataError, match="2 groups for 1 people"):
        pairwise(np.array([0, 1]), np.array([1]))
