# SPDX-License-Identifier: Apache-2.0
"""How well groups of faces agree with people: B-cubed precision and recall. Pure NumPy.

Source: Bagga and Baldwin 1998, "Entity-based cross-document coreferencing using the vector space model"; recommended
by Amigo et al. 2009, "A comparison of extrinsic clustering evaluation metrics based on formal constraints".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.errors import DataError


@dataclass(frozen=True, slots=True)
class BCubed:
    """Over faces: the share of its group that is its person, and the share of its person that is in its group."""

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """Their harmonic mean."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def b_cubed(groups: np.ndarray, people: np.ndarray) -> BCubed:
    """Agreement of a grouping with the truth.

    Args:
        groups: int [N], -1 for a face that is in no group: it counts as a group of its own.
        people: int or text [N], the truth.

    Raises:
        DataError: the lengths differ, or there is no face.
    """
    if len(groups) != len(people) or not len(groups):
        raise DataError(f"clusters: {len(groups)} groups for {len(people)} people, expected as many, and some.")
    alone = groups < 0
    numbered = np.where(alone, groups.max(initial=-1) + np.cumsum(alone), groups)
    group, group_sizes = _numbers(numbered)
    person, person_sizes = _numbers(people)
    together, sizes = _numbers(group * (person.max() + 1) + person)
    return BCubed(
        precision=float(np.mean(sizes[together] / group_sizes[group])),
        recall=float(np.mean(sizes[together] / person_sizes[person])),
    )


def _numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value as a number from 0, and how often each number occurs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return inverse, counts
