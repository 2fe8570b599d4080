# SPDX-License-Identifier: Apache-2.0
"""Unnamed faces grouped into people.

Two faces of one photograph are never one person. Faces that are too small, too blurred or too unsure link nobody: what
an embedder says of them is hardly about the person. They are left out of the grouping, and then each is put to the
person of two or more faces whom it is most similar to, if it is similar enough. The others are grouped by average
linkage (`gallery.linkage`). docs/decisions/0021-clusters.md has the measurements behind the numbers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.errors import DataError
from facepipe.gallery.linkage import average_linkage
from facepipe.metrics.clustering import Agreement, b_cubed, pairwise
from facepipe.results import Face
from facepipe.specs import ModelSpec

ALONE = "alone"
"""What the group of a face that is near to no other is called."""

_BLOCK = 1 << 22  # similarities of unsure faces with people that are held at a time


@dataclass(frozen=True, slots=True)
class Linking:
    """Which faces are put together.

    Attributes:
        similarity: mean cosine down to which two groups are joined; each recogniser has its own (`similarity_of`).
        side: a face whose box has a shorter side than this many pixels links nobody.
        sharpness: nor one whose crop is less sharp (`geometry.align.sharpness`).
        score: nor one of which the detector is less sure.
    """

    similarity: float
    side: float = 20
    sharpness: float = 16
    score: float = 0.9

    def why_weak(self, face: Face) -> str | None:
        """Why a face links nobody, in words; None where it does."""
        side = float(min(face.box[2:] - face.box[:2]))
        if side < self.side:
            return f"small: {side:.0f} pixels"
        if face.sharpness is not None and face.sharpness < self.sharpness:
            return f"blurred: sharpness {face.sharpness:.0f}"
        if face.score < self.score:
            return f"unsure: score {face.score:.2f}"
        return None


def similarity_of(spec: ModelSpec) -> float:
    """The mean cosine down to which two groups of a recogniser's faces are one person.

    Raises:
        DataError: none was measured for it. Another recogniser's would make one person of everybody, or of nobody.
    """
    if spec.linking is None:
        raise DataError(
            f"clusters: how similar one person's faces are for {spec.name} was not measured, expected a similarity.",
            "--similarity COSINE; over folders of people whom you know, --truth tells how well it does.",
        )
    return spec.linking


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Groups of faces.

    Attributes:
        groups: int64 [N]: 0 is the largest person, -1 is a face that is near to no other.
        weak: of each face why it links nobody; None where it does.
    """

    groups: np.ndarray
    weak: tuple[str | None, ...]

    @property
    def people(self) -> int:
        """How many have two faces or more."""
        return int(self.groups.max(initial=-1)) + 1

    @property
    def names(self) -> list[str]:
        """What the group of each face is called: person-0001 is the largest."""
        return [f"person-{group + 1:04d}" if group >= 0 else ALONE for group in self.groups.tolist()]


def group_faces(faces: Sequence[tuple[str, Face]], embeddings: np.ndarray, linking: Linking) -> Grouped:
    """The person of each face. Of equals the first in the order of the faces goes first.

    Args:
        faces: (key of the photograph, face), N of them.
        embeddings: float32 [N, D], of length 1.

    Raises:
        DataError: the similarity is out of range.
    """
    if not -1 < linking.similarity < 1:
        raise DataError(f"clusters: the similarity is {linking.similarity}, expected a cosine between -1 and 1.")
    weak = tuple(linking.why_weak(face) for _, face in faces)
    _, photographs = np.unique(np.array([key for key, _ in faces], np.str_), return_inverse=True)
    strong = np.flatnonzero([reason is None for reason in weak])
    first = np.arange(len(faces))
    first[strong] = strong[average_linkage(embeddings[strong], photographs[strong], linking.similarity)]
    others = np.flatnonzero([reason is not None for reason in weak])
    first = _with_others(first, others, embeddings, photographs, linking.similarity)
    return Grouped(_largest_first(first), weak)


def agreement(groups: np.ndarray, keys: Sequence[str]) -> Agreement:
    """How well groups (int [N]) agree with the first sub-folder of each face's photograph."""
    people = np.array([key.partition("/")[0] for key in keys])
    return Agreement(len(set(people.tolist())), b_cubed(groups, people), pairwise(groups, people))


def _with_others(
    first: np.ndarray, others: np.ndarray, embeddings: np.ndarray, photographs: np.ndarray, similarity: float
) -> np.ndarray:
    """`first` with each of the faces `others` put to the person whom it is most similar to, the most similar pair
    first; who has joined so changes nobody's mean."""
    people, sizes = np.unique(first, return_counts=True)
    people = people[sizes > 1]
    if not len(people) or not len(others):
        return first
    place = np.full(len(first), -1)
    place[people] = np.arange(len(people))
    members = np.flatnonzero(place[first] >= 0)
    means = np.zeros((len(people), embeddings.shape[1]))
    np.add.at(means, place[first[members]], embeddings[members].astype(np.float64))
    means /= np.bincount(place[first[members]])[:, None]
    held: list[set[int]] = [set() for _ in people]
    for member in members.tolist():
        held[place[first[member]]].add(int(photographs[member]))
    pairs: list[tuple[float, int, int]] = []
    step = max(1, _BLOCK // len(people))
    for start in range(0, len(others), step):
        near = embeddings[others[start : start + step]].astype(np.float64) @ means.T
        for one, person in np.argwhere(near >= similarity).tolist():
            pairs.append((-float(near[one, person]), int(others[start + one]), person))
    put = first.copy()
    for _, face, person in sorted(pairs):
        photograph = int(photographs[face])
        if put[face] == face and photograph not in held[person]:
            put[face] = people[person]
            held[person].add(photograph)
    return put


def _largest_first(first: np.ndarray) -> np.ndarray:
    """Groups called by a member to groups counted from the largest; -1 where there is one member."""
    called, own, sizes = np.unique(first, return_inverse=True, return_counts=True)
    order = np.lexsort((called, -sizes))
    rank = np.empty(len(called), np.int64)
    rank[order] = np.arange(len(called))
    groups: np.ndarray = np.where(sizes[own] > 1, rank[own], -1)
    return groups
