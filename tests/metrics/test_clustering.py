# SPDX-License-Identifier: Apache-2.0
"""B-cubed, by hand from its definition (Bagga and Baldwin, 1998): the mean over the faces."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.errors import DataError
from facepipe.metrics.clustering import b_cubed


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
