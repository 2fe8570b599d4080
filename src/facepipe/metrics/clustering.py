# SPDX-License-Identifier: Apache-2.0
"""How well groups of faces agree with people: B-cubed and pairwise precision and recall. Pure NumPy.

Pairwise: of all pairs of faces that are in one group, the share that is one person's; and of all pairs of one person's,
the share that is in one group. A large group counts by its square there, and by its size in B-cubed.

Source of B-cubed: Bagga and Baldwin 1998, "Entity-based cross-document coreferencing using the vector space model";
recommended by Amigo et al. 2009, "A comparison of extrinsic clustering evaluation metrics based on formal constraints".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.errors import DataError


@dataclass(frozen=True, slots=True)
class Rates:
    """Precision and recall, each in 0..1."""

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """Their harmonic mean; 0 where both are."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    def told(self) -> dict[str, float]:
        """For a file."""
        return {"precision": self.precision, "recall": self.recall, "f": self.f}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of a grouping with so many people, by faces and by pairs of faces."""

    people: int
    b_cubed: Rates
    pairs: Rates


def b_cubed(groups: np.ndarray, people: np.ndarray) -> Rates:
    """Agreement of a grouping with the truth, as the mean over the faces: the share of its group that is its person,
    and the share of its person that is in its group.

    Args:
        groups: int [N], -1 for a face that is in no group: it counts as a group of its own.
        people: int or text [N], the truth.

    Raises:
        DataError: the lengths differ, or there is no face.
    """
    (group, group_sizes), (person, person_sizes), (together, sizes) = _counted(groups, people)
    return Rates(
        precision=float(np.mean(sizes[together] / group_sizes[group])),
        recall=float(np.mean(sizes[together] / person_sizes[person])),
    )


def pairwise(groups: np.ndarray, people: np.ndarray) -> Rates:
    """Agreement of a grouping with the truth, over all pairs of faces; 1 where there is no pair to be wrong about.
    Arguments and errors as `b_cubed`'s.
    """
    grouped, same, right = (_pairs(sizes) for _, sizes in _counted(groups, people))
    return Rates(precision=right / grouped if grouped else 1.0, recall=right / same if same else 1.0)


_Numbers = tuple[np.ndarray, np.ndarray]


def _counted(groups: np.ndarray, people: np.ndarray) -> tuple[_Numbers, _Numbers, _Numbers]:
    """`_numbers` of the groups, of the people, and of both together."""
    if len(groups) != len(people) or not len(groups):
        raise DataError(f"clusters: {len(groups)} groups for {len(people)} people, expected as many, and some.")
    alone = groups < 0
    group = _numbers(np.where(alone, groups.max(initial=-1) + np.cumsum(alone), groups))
    person = _numbers(people)
    return group, person, _numbers(group[0] * len(person[1]) + person[0])


def _pairs(sizes: np.ndarray) -> int:
    """Pairs within groups of these sizes."""
    return sum(size * (size - 1) // 2 for size in sizes.tolist())


def _numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value as a number from 0, and how often each number occurs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return inverse, counts
