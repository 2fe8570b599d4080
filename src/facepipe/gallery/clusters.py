# SPDX-License-Identifier: Apache-2.0
"""Unnamed faces grouped into people, by scikit-learn's DBSCAN: Ester et al. 1996, "A density-based algorithm for
discovering clusters in large spatial databases with noise".

Two faces belong together when they are as near as `similarity`, or when a chain of such faces leads from one to the
other. How many people there are need not be known, and a face that is near to no other stays alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.errors import BackendError, DataError
from facepipe.gallery.faces import Recogniser, read_pictures
from facepipe.results import Face


@dataclass(frozen=True, slots=True, eq=False)
class FolderFaces:
    """All faces of a folder.

    Attributes:
        faces: (key of the photograph, face), N of them.
        embeddings: float32 [N, D], of length 1.
        left_out: (key, reason) of what could not be read or cut out.
    """

    faces: tuple[tuple[str, Face], ...]
    embeddings: np.ndarray
    left_out: tuple[tuple[str, str], ...]


def folder_faces(
    root: Path,
    keys: Sequence[str],
    recogniser: Recogniser,
    *,
    batch: int,
    progress: Callable[[int], None] = lambda _: None,
) -> FolderFaces:
    """Every face of every photograph; photographs are held `batch` at a time."""
    faces: list[tuple[str, Face]] = []
    rows: list[np.ndarray] = []
    left_out: list[tuple[str, str]] = []
    for members, unread in read_pictures(root, keys, batch):
        left_out += unread
        pictures = recogniser.all_faces([image for _, image in members]) if members else []
        for (key, _), picture in zip(members, pictures, strict=True):
            faces += [(key, found.face) for found in picture.faces]
            rows += [found.embedding for found in picture.faces]
            left_out += [(key, reason) for reason in picture.left_out]
        progress(len(members) + len(unread))
    embeddings = np.stack(rows) if rows else np.zeros((0, recogniser.dimension), np.float32)
    return FolderFaces(tuple(faces), embeddings, tuple(left_out))


def cluster_faces(embeddings: np.ndarray, similarity: float) -> np.ndarray:
    """The group of each face, int [N]: 0 is the largest, -1 is a face that is near to no other.

    Args:
        embeddings: float32 [N, D], of length 1.
        similarity: cosine of two faces that are taken for one person's without any other between them. It has to be
            higher than a gallery's threshold: N faces are compared with each other N * N / 2 times, and one wrong link
            joins two people.

    Raises:
        BackendError: scikit-learn is not installed.
        DataError: the similarity is out of range.
    """
    if not -1 < similarity < 1:
        raise DataError(f"clusters: the similarity is {similarity}, expected a cosine between -1 and 1.")
    if importlib.util.find_spec("sklearn") is None:
        raise BackendError("clusters: no module named 'sklearn'.", "pip install 'facepipe[cluster]'.")
    if not len(embeddings):
        return np.zeros(0, np.int64)
    from sklearn.cluster import DBSCAN

    # Rows of length 1: 1 - cosine. Brute force is the only search there is for a cosine, and runs in blocks.
    raw = DBSCAN(eps=1 - similarity, min_samples=2, metric="cosine", algorithm="brute").fit_predict(embeddings)
    sizes = np.bincount(raw[raw >= 0])
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    groups: np.ndarray = np.where(raw >= 0, rank[raw], -1) if len(sizes) else raw.astype(np.int64)
    return groups
