# SPDX-License-Identifier: Apache-2.0
"""Unnamed faces grouped into people, by scikit-learn's DBSCAN: Ester et al. 1996, "A density-based algorithm for
discovering clusters in large spatial databases with noise".

Two faces belong together when they are as near as `similarity`, or when a chain of such faces leads from one to the
other. How many people there are need not be known, and a face that is near to no other stays alone.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.errors import BackendError, DataError
from facepipe.gallery.faces import FolderFaces
from facepipe.metrics.clustering import b_cubed
from facepipe.results import Face
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, read_embeddings, read_faces
from facepipe.store.run_record import RUN_FILE, read_run


def faces_of_run(run: Path) -> tuple[str, Path, FolderFaces]:
    """The embedder's name, the folder of photographs, and the one face of each that a finished run chose.

    Raises:
        DataError: the folder is of no finished run.
    """
    record = read_run(run)
    lines = [line for line in read_faces(run / FACES_FILE) if line.row is not None]
    embeddings = np.array(read_embeddings(run / EMBEDDINGS_FILE, len(lines)))
    faces = tuple((line.key, line.outcome) for line in lines if isinstance(line.outcome, Face))
    try:
        name, root = record["parameters"]["embedder"], Path(record["root"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{run / RUN_FILE}: it does not tell {error}, expected a run's record.") from error
    return name, root, FolderFaces(faces, embeddings, ())


@dataclass(frozen=True, slots=True)
class Agreement:
    """B-cubed of groups against the folders' names, and how many folders there are."""

    people: int
    precision: float
    recall: float
    f: float


def agreement(groups: np.ndarray, found: FolderFaces) -> Agreement:
    """How well groups (int [N]) agree with the first sub-folder of each face's photograph."""
    people = np.array([key.partition("/")[0] for key in found.keys])
    agreed = b_cubed(groups, people)
    return Agreement(len(set(people.tolist())), agreed.precision, agreed.recall, agreed.f)


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
