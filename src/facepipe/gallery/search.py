# SPDX-License-Identifier: Apache-2.0
"""Who in a gallery is nearest to a face; and what to call the face, or not to.

Exact search compares with every row, block after block. The approximate index, faiss's, is for millions of rows: it
scans a sketch of each row (four bits for every two numbers, learnt from the rows) and compares exactly with those whose
sketches are nearest. It may miss a neighbour; the similarities that it gives are exact.

A product of matrices says which rows are near. How near they are is computed again, by the function that thresholds are
calibrated with (`metrics.identification.cosines`): the product sums in one order for a few probes and in another for
many, and a face would pass a threshold alone and miss it in company.

Source of the sketches: Andre et al. 2015, "Cache locality is not enough: high-performance nearest neighbor search with
product quantization fast scan". Groups around centres (inverted lists) were tried first and found half the neighbours
of noisy copies of random rows where this finds them all, at equal speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from facepipe.errors import BackendError, DataError
from facepipe.gallery.file import Gallery, Threshold
from facepipe.gallery.person_name import UNKNOWN
from facepipe.metrics.identification import cosines

IndexKind = Literal["exact", "approximate"]
Rule = Literal["best", "majority"]

_TRAINED_ON = 50_000  # rows, spread over the gallery; faiss takes a part of them
_LEAST_APPROXIMATE = 10_000  # below, comparing with every row is as quick
_SPARE = 8  # neighbours beyond those wanted: among equals to the product's last bits the nearest may stand behind
_AT_ONCE = 256  # probes whose neighbours' rows are held
_BLOCK = 1 << 15  # rows that they are compared with at a time: 34 MB of products


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row of the gallery near to a probe, by cosine similarity."""

    label: str
    similarity: float
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a face is called.

    Attributes:
        label: a person's name, or None: nobody in the gallery is near enough.
        similarity: of the candidate that gave the name, else of the nearest one; None in an empty gallery.
        candidates: the nearest rows, nearest first, whatever the threshold.
    """

    label: str | None
    similarity: float | None
    candidates: tuple[Candidate, ...]

    @property
    def is_known(self) -> bool:
        return self.label is not None

    @property
    def text(self) -> str:
        """The name, or "unknown"."""
        return UNKNOWN if self.label is None else self.label


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Rows ready to be searched.

    Attributes:
        inner: of exact search the rows, float32 [N, D]; of the approximate one a faiss.Index (faiss has no types).
    """

    kind: IndexKind
    inner: Any
    rows: int
    effort: int

    def search(self, probes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows nearest to each probe.

        Args:
            probes: float32 [P, D], of length 1.
            count: how many are wanted; at most as many come as there are rows.

        Returns:
            Cosine similarities float32 [P, K], falling, each the same bits whatever else is searched for; and row
            numbers int64 [P, K], of equals the first. The approximate index may find fewer than K: -1 then stands in
            the place of a row, and -2 of its similarity.
        """
        wanted = min(count, self.rows)
        if not wanted or not len(probes):
            return np.zeros((len(probes), wanted), np.float32), np.zeros((len(probes), wanted), np.int64)
        probes = np.ascontiguousarray(probes, np.float32)
        parts = [self._nearest(probes[i : i + _AT_ONCE], wanted) for i in range(0, len(probes), _AT_ONCE)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _nearest(self, probes: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """`search` for some probes: what the product or the sketches find, in the order of the cosines."""
        looked_at = min(wanted + _SPARE, self.rows)
        rows = self._near(probes, looked_at) if self.kind == "exact" else self._sketched(probes, looked_at)
        known = np.maximum(rows, 0).ravel()
        found = self.inner[known] if self.kind == "exact" else self.inner.reconstruct_batch(known)  # (P * looked_at, D)
        near = cosines(np.repeat(probes, looked_at, axis=0), found).reshape(rows.shape)
        near[rows < 0] = -2
        order = np.lexsort((rows, -near))[:, :wanted]
        return np.take_along_axis(near, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def _near(self, probes: np.ndarray, looked_at: int) -> np.ndarray:
        """Rows with the greatest products, int64 [P, looked_at], in no order."""
        products, rows = list[np.ndarray](), list[np.ndarray]()
        for start in range(0, self.rows, _BLOCK):
            block = probes @ self.inner[start : start + _BLOCK].T  # (P, B)
            best = _greatest(block, looked_at)
            products.append(np.take_along_axis(block, best, axis=1))
            rows.append(best + start)
        best = _greatest(np.hstack(products), looked_at)
        return np.take_along_axis(np.hstack(rows), best, axis=1)

    def _sketched(self, probes: np.ndarray, looked_at: int) -> np.ndarray:
        """Rows that faiss's sketches lead to, int64 [P, looked_at], -1 where they lead to none."""
        from faiss import IndexRefineSearchParameters

        options = IndexRefineSearchParameters()
        options.k_factor = max(1.0, self.effort / looked_at)
        return np.asarray(self.inner.search(probes, looked_at, params=options)[1])


def _greatest(values: np.ndarray, count: int) -> np.ndarray:
    """Where the greatest of each row are, int64 [P, count], in no order; all, where there are fewer."""
    return np.argpartition(values, -min(count, values.shape[1]), axis=1)[:, -count:]


def why_no_sketches() -> str | None:
    """None when faiss is here; else what to install."""
    import importlib.util

    if importlib.util.find_spec("faiss") is None:
        return "no module named 'faiss'; pip install 'facepipe[gallery]'."
    return None


def build_index(embeddings: np.ndarray, kind: IndexKind = "exact", effort: int = 1000) -> Index:
    """An index of float32 [N, D] unit rows for cosine similarity.

    Args:
        embeddings: the rows; the index keeps its own copy.
        kind: "exact", or "approximate" (refused for few rows, where it has no use).
        effort: of the approximate index: rows that are compared exactly with each probe. More is slower and misses
            less; people with a thousand photographs each, whose sketches hardly differ, need as many.

    Raises:
        BackendError: faiss, which makes the sketches, is not installed.
        DataError: too few rows for an approximate index, or numbers that make no pairs.
    """
    if kind == "exact":
        return Index(kind, np.array(embeddings, np.float32, order="C"), len(embeddings), effort)
    count, dimension = embeddings.shape
    if count < _LEAST_APPROXIMATE:
        raise DataError(
            f"gallery: {count:,} rows are few for an approximate index, expected {_LEAST_APPROXIMATE:,} or more.",
            "the exact one; it is quicker here and misses nothing.",
        )
    if dimension % 2:
        raise DataError(
            f"gallery: rows of {dimension} numbers, expected an even number for an approximate index, whose sketch "
            "has four bits for every two.",
            "the exact one.",
        )
    if (reason := why_no_sketches()) is not None:
        raise BackendError(f"approximate search is unavailable: {reason}", "the exact one, which needs nothing.")
    import faiss

    # One sketch of four bits for two numbers; RFlat keeps the rows for the exact comparison. faiss draws the rows
    # that it learns from by a seed of its own, which never changes.
    sketches = faiss.index_factory(dimension, f"PQ{dimension // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    sketches.train(np.ascontiguousarray(embeddings[:: max(1, count // _TRAINED_ON)], np.float32))
    block = 1 << 18  # a gallery on the disk is copied piece by piece
    for start in range(0, count, block):
        sketches.add(np.ascontiguousarray(embeddings[start : start + block], np.float32))
    return Index(kind, sketches, count, effort)


def identify(
    gallery: Gallery,
    index: Index,
    probes: np.ndarray,
    threshold: Threshold,
    *,
    candidates: int = 5,
    rule: Rule = "best",
) -> list[Answer]:
    """A name, or none, for each probe.

    Args:
        probes: float32 [P, D], of length 1, of the gallery's model.
        threshold: a candidate that is not above it names nobody: similarities are float32, and compared as they are.
        candidates: how many neighbours are looked at and listed.
        rule: "best": the nearest candidate's name. "majority": the name that most candidates above the threshold have;
            among equals the nearest.
    """
    assert index.rows == len(gallery), "the index is of another gallery"
    similarities, rows = index.search(probes, candidates)
    answers = []
    for near, numbers in zip(similarities.tolist(), rows.tolist(), strict=True):
        found = tuple(
            Candidate(gallery.labels[row], similarity, gallery.sources[row])
            for similarity, row in zip(near, numbers, strict=True)
            if row >= 0
        )
        answers.append(_answer(found, threshold.similarity, rule))
    return answers


def _answer(candidates: Sequence[Candidate], least: float, rule: Rule) -> Answer:
    """The verdict on candidates that are sorted, nearest first."""
    near = [candidate for candidate in candidates if candidate.similarity > least]
    if not near:
        return Answer(None, candidates[0].similarity if candidates else None, tuple(candidates))
    chosen = near[0]
    if rule == "majority":
        votes: dict[str, int] = {}
        for candidate in near:
            votes[candidate.label] = votes.get(candidate.label, 0) + 1
        most = max(votes.values())
        chosen = next(candidate for candidate in near if votes[candidate.label] == most)
    return Answer(chosen.label, chosen.similarity, tuple(candidates))
