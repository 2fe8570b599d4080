# SPDX-License-Identifier: Apache-2.0
"""Rows of length 1 grouped by average linkage, some pairs forbidden: what groups faces into people. NumPy and a heap.

Two groups are as similar as their members are on average, every face of the one with every face of the other; the two
most similar are joined first (within _CLOSE), until none are similar enough. One look-alike does not join two people
then, where a chain of near pairs (DBSCAN, single linkage) would.

The average is exact, and costs one product of sums: of rows of length 1 the mean of all cosines between groups A and B
is sum(A) . sum(B) / (|A| |B|). Which pairs are looked at comes from a graph of nearest neighbours, so that memory grows
with the rows. What the graph leaves out is found again: the groups are searched for neighbours by their means until no
two groups that may be joined are similar enough.

Sources: Sokal and Michener 1958, "A statistical method for evaluating systematic relationships" (average linkage,
called UPGMA); Wagstaff and Cardie 2000, "Clustering with instance-level constraints" (pairs that cannot be linked).
After two groups are joined, no other is nearer to them than it was to the nearer of the two (Bruynooghe 1978): so an
old similarity in the heap is an upper bound, and is computed anew when its turn comes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

NEIGHBOURS = 16
"""Of each row or group in the graph: more takes memory, fewer takes passes. The groups hardly depend on it."""

_BLOCK = 1 << 23  # similarities that are held at a time: 34 MB, and up to 20 times that while they are sifted
_SLACK = 1e-5  # float32 similarities are sifted with it, then computed in float64
_CLOSE = 0.01
"""Groups that are less similar by this than the most similar ones may be joined before them. A similarity is computed
anew at most 1 / _CLOSE times so, and ten thousand faces of one child do not take a day."""


def average_linkage(rows: np.ndarray, apart: np.ndarray, similarity: float, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """The group of each row, int64 [N]: the number of the group's first row.

    Args:
        rows: float32 [N, D], of length 1.
        apart: int [N]; rows with the same number never come into one group.
        similarity: groups are joined down to this mean cosine.
        neighbours: of each group that are looked at in one pass.
    """
    linkage = _Linkage(rows, apart, similarity)
    while linkage.joined_some(neighbours):
        pass
    return linkage.groups()


class _Linkage:
    """Groups as they grow. A group is called by one of its rows, its root."""

    def __init__(self, rows: np.ndarray, apart: np.ndarray, similarity: float) -> None:
        self.similarity = similarity
        self.sums = rows.astype(np.float64)  # of a root: over its group
        self.sizes = [1] * len(rows)
        self.above = list(range(len(rows)))  # a row nearer to the root; the root's is itself
        self.apart = apart
        self.held: list[set[int]] = [{number} for number in apart.tolist()]  # of a root: its group's numbers

    def groups(self) -> np.ndarray:
        """The first row of each row's group."""
        roots = np.array([self._root(row) for row in range(len(self.above))], np.int64)
        first = np.full(len(roots), len(roots))
        np.minimum.at(first, roots, np.arange(len(roots)))
        return first[roots]

    def joined_some(self, neighbours: int) -> bool:
        """One pass: a graph of the groups as they are, and all that can be joined along it. False: nothing could."""
        heap = list(self._edges(neighbours))
        heapq.heapify(heap)
        joined = False
        while heap:
            bound, one, other = heap[0]
            i, j = self._root(one), self._root(other)
            value = float(self.sums[i] @ self.sums[j]) / (self.sizes[i] * self.sizes[j]) if i != j else -1.0
            if i != j and self.similarity <= value < -bound - _CLOSE:
                heapq.heapreplace(heap, (-value, one, other))
                continue
            heapq.heappop(heap)
            if value >= self.similarity and self.held[i].isdisjoint(self.held[j]):
                self._join(i, j)
                joined = True
        return joined

    def _edges(self, neighbours: int) -> Iterator[tuple[float, int, int]]:
        """The graph: minus the similarity of two near groups, and their roots."""
        left = np.flatnonzero(np.array(self.above) == np.arange(len(self.above)))
        sizes = np.array(self.sizes)[left]
        means = (self.sums[left] / sizes[:, None]).astype(np.float32)
        apart = np.where(sizes == 1, self.apart[left], -1 - np.arange(len(left)))
        for one, other in _near_pairs(means, apart, self.similarity - _SLACK, neighbours):
            values = np.einsum("nd,nd->n", self.sums[left[one]], self.sums[left[other]]) / (sizes[one] * sizes[other])
            pairs = zip(values.tolist(), left[one].tolist(), left[other].tolist(), strict=True)
            yield from ((-value, min(i, j), max(i, j)) for value, i, j in pairs if value >= self.similarity)

    def _root(self, row: int) -> int:
        """The root of a row's group; the way to it gets shorter."""
        above = self.above
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    def _join(self, i: int, j: int) -> None:
        """One group of two: the smaller is taken into the larger."""
        gone, into = sorted((i, j), key=lambda root: (self.sizes[root], -root))
        fewer, more = sorted((self.held[gone], self.held[into]), key=len)
        more |= fewer
        self.held[into], self.held[gone] = more, set()
        self.sums[into] += self.sums[gone]
        self.sizes[into] += self.sizes[gone]
        self.above[gone] = into


def _near_pairs(
    rows: np.ndarray, apart: np.ndarray, least: float, neighbours: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each row the numbers of the nearest others whose product is `least` or more, as pairs, block after block.

    Rows with the same number in `apart` are passed over.
    """
    step = max(1, _BLOCK // max(1, len(rows)))
    for start in range(0, len(rows), step):
        products = rows[start : start + step] @ rows.T  # (step, N)
        one, other = np.nonzero(products >= least)
        allowed = apart[one + start] != apart[other]
        one, other = one[allowed], other[allowed]
        ends = np.cumsum(np.bincount(one, minlength=len(products)))
        if (np.diff(ends, prepend=0) > neighbours).any():
            near = products[one, other]
            kept = [low + _greatest(near[low:high], neighbours) for low, high in pairwise([0, *ends.tolist()])]
            chosen = np.concatenate(kept)
            one, other = one[chosen], other[chosen]
        yield one + start, other


def _greatest(values: np.ndarray, count: int) -> np.ndarray:
    """Where the greatest `count` values stand, of equals the first; all, where there are fewer."""
    if len(values) <= count:
        return np.arange(len(values))
    least = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > least)
    return np.concatenate([above, np.flatnonzero(values == least)[: count - len(above)]])
