# SPDX-License-Identifier: Apache-2.0
"""A run's embeddings and a set of pairs, joined by key, to `accuracy.json`.

Nothing is joined by position: a pair names two photographs, `faces.jsonl` says which row of `embeddings.npy` is whose,
and a photograph that a pair names and the run does not list is an error. A pair of which a photograph has no face is
*missing*, and a policy that is written beside the number says what becomes of it:

different   it counts as predicted "different" at every threshold: right if two persons, wrong if one (the default)
skip        it is left out; folds get smaller, and the accuracy is of the other pairs only
fail        there is no accuracy

A pair of which a photograph cannot be read is another thing: it says something of the files and nothing of the
detector. It is an error, unless the other policy, written beside the number too, says "different" or "skip". A run that
is not finished, since a photograph ends its process, has no accuracy under any policy: it has no run.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.datasets.lfw import VerificationSet
from facepipe.errors import DataError
from facepipe.metrics.verification import (
    FoldAccuracy,
    Roc,
    TarAtFar,
    auc,
    equal_error_rate,
    roc,
    squared_distances,
    tar_at_far,
    ten_fold_accuracy,
)
from facepipe.results import NoFace, Unread
from facepipe.store.files import write_json
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, read_embeddings, read_main_faces
from facepipe.store.run_record import ACCURACY_FILE

MISSING_POLICIES = ("different", "skip", "fail")
UNREAD_POLICIES = ("error", "different", "skip")
FAR = 1e-3

_PAIRS_AT_ONCE = 8192  # bounds memory: two float64 [8192, 512] are 67 MB


@dataclass(frozen=True, slots=True)
class Policies:
    """What becomes of a pair that lacks a face, and of one whose photograph cannot be read."""

    missing: str = "different"
    unread: str = "error"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("missing", self.missing, MISSING_POLICIES),
            ("unread", self.unread, UNREAD_POLICIES),
        ):
            if value not in known:
                raise DataError(f"score: {name} is '{value}', expected one of {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the embeddings, as it is written into accuracy.json.

    Attributes:
        backend: what was asked for; which engine ran each network stands in `details`, as "engines".
        weights: model to sha256 of its weight file; None where nobody knows it.
        versions: package to version.
        for_accuracy: False where the recogniser's weights are computed, not trained.
        details: further facts, as JSON values; their names must not be those of accuracy.json's own fields.
    """

    detector: str
    embedder: str
    backend: str
    batch: int
    weights: Mapping[str, str | None]
    versions: Mapping[str, str]
    for_accuracy: bool = True
    details: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JoinedPairs:
    """The pairs of a set with their distances in one run.

    Attributes:
        distances: float64 [P]; infinity where a pair is missing or unread.
        same: bool [P].
        folds: int [P].
        missing: bool [P]: both photographs were read, and one has no face.
        unread: bool [P]: one of the photographs could not be read.
        first_missing, first_unread: which photograph of the first such pair, and why; None when there is none.
        images: photographs of the run.
        no_face, unread_images: the keys of those without a face, and of those that could not be read, sorted.
        list_sha256: of the run's keys in order, UTF-8, each followed by a newline.
        rule: where the folds come from, in words that begin with "folds".
    """

    distances: np.ndarray
    same: np.ndarray
    folds: np.ndarray
    missing: np.ndarray
    unread: np.ndarray
    first_missing: str | None
    first_unread: str | None
    images: int
    no_face: tuple[str, ...]
    unread_images: tuple[str, ...]
    list_sha256: str
    rule: str


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Every figure of one run on one set, and the pairs they are of: those that the policy leaves."""

    accuracy: FoldAccuracy
    tar: TarAtFar
    curve: Roc
    distances: np.ndarray
    same: np.ndarray


def score_run(run: Path, pairs: VerificationSet, policies: Policies, provenance: Provenance) -> dict[str, object]:
    """Join, measure, write `run`/accuracy.json, and return its content.

    Raises:
        DataError: the run does not list a photograph that the pairs name; its files do not fit each other; a pair is
            unread or missing and its policy allows none; a fold is left without one kind of pair.
    """
    joined = join(run, pairs)
    content = accuracy_content(joined, figures(joined, policies), policies, provenance)
    write_json(run / ACCURACY_FILE, content)
    return content


def join(run: Path, pairs: VerificationSet) -> JoinedPairs:
    """The distance of every pair, photographs found by key. faces.jsonl is read as a stream.

    Raises:
        DataError: the run does not list a photograph that the pairs name, or its files do not fit each other.
    """
    wanted = set(pairs.keys())
    rows: dict[str, int] = {}
    no_face: dict[str, str] = {}
    unread: dict[str, str] = {}
    digest = hashlib.sha256()
    images = faces = 0
    for line in read_main_faces(run / FACES_FILE):
        images += 1
        digest.update(line.key.encode("utf-8", "surrogatepass") + b"\n")
        if isinstance(line.outcome, NoFace | Unread):
            (no_face if isinstance(line.outcome, NoFace) else unread)[line.key] = line.outcome.reason
            continue
        faces += 1
        if line.row is None:
            raise DataError(
                f"{run / FACES_FILE}: the lines have no 'row', expected a run with embeddings.", "`facepipe embed`"
            )
        if line.key in wanted:
            rows[line.key] = line.row
    _every_photograph_is_listed(run, pairs, wanted - rows.keys() - no_face.keys() - unread.keys(), len(wanted))
    distances = _distances(read_embeddings(run / EMBEDDINGS_FILE, faces), pairs, rows)
    is_unread = np.array([pair.first in unread or pair.second in unread for pair in pairs.pairs], np.bool_)
    missing = np.isinf(distances) & ~is_unread
    return JoinedPairs(
        distances=distances,
        same=np.array([pair.same for pair in pairs.pairs], np.bool_),
        folds=np.array([pair.fold for pair in pairs.pairs], np.intp),
        missing=missing,
        unread=is_unread,
        first_missing=_first(pairs, missing, no_face),
        first_unread=_first(pairs, is_unread, unread),
        images=images,
        no_face=tuple(no_face),
        unread_images=tuple(unread),
        list_sha256=digest.hexdigest(),
        rule=pairs.rule,
    )


def figures(joined: JoinedPairs, policies: Policies) -> Figures:
    """Accuracy by folds, TAR at FAR 1e-3 and the ROC of the pairs that the policies leave.

    Raises:
        DataError: a pair is unread or missing, and the policy allows none; a fold lacks one kind of pair.
    """
    total = len(joined.distances)
    if policies.unread == "error" and joined.unread.any():
        raise DataError(
            f"score: {joined.unread.sum():,} of {total:,} pairs name a photograph that cannot be read "
            f"(first: {joined.first_unread}), expected every photograph of the pairs to be readable.",
            "mend the files; or --unread=different or --unread=skip, which is said beside the accuracy.",
        )
    if policies.missing == "fail" and joined.missing.any():
        raise DataError(
            f"score: {joined.missing.sum():,} of {total:,} pairs have no embedding "
            f"(first: {joined.first_missing}), and the policy is to fail.",
            "--missing=different to count them as 'different', and say so beside the accuracy.",
        )
    # Under "different" the distance stays infinite: below no threshold.
    kept = np.ones(total, np.bool_)
    if policies.missing == "skip":
        kept &= ~joined.missing
    if policies.unread == "skip":
        kept &= ~joined.unread
    distances, same, folds = joined.distances[kept], joined.same[kept], joined.folds[kept]
    return Figures(
        accuracy=ten_fold_accuracy(distances, same, folds),
        tar=tar_at_far(distances, same, folds, FAR),
        curve=roc(distances, same),
        distances=distances,
        same=same,
    )


def policies_of(accuracy: Mapping[str, Any]) -> Policies:
    """The policies that an accuracy.json was made with."""
    return Policies(accuracy["pairs"]["missing_policy"], accuracy["pairs"]["unread_policy"])


def accuracy_content(
    joined: JoinedPairs, measured: Figures, policies: Policies, provenance: Provenance
) -> dict[str, object]:
    """accuracy.json as JSON values. `std` is the deviation over the folds; `tar_at_far.far` is what was really met."""
    accuracy, tar = measured.accuracy, measured.tar
    content: dict[str, object] = {
        "accuracy": {
            "mean": accuracy.mean,
            "std": accuracy.std,
            "standard_error": accuracy.standard_error,
            "per_fold": accuracy.per_fold.tolist(),
            "thresholds": accuracy.thresholds.tolist(),
        },
        "tar_at_far_1e-3": tar.mean,
        "tar_at_far": {"target": FAR, "mean": tar.mean, "std": tar.std, "far": tar.far},
        "auc": auc(measured.curve),
        "eer": equal_error_rate(measured.curve),
        "pairs": {
            "total": len(joined.distances),
            "missing": int(joined.missing.sum()),
            "missing_policy": policies.missing,
            "unread": int(joined.unread.sum()),
            "unread_policy": policies.unread,
        },
        "images": {
            "total": joined.images,
            "no_face": list(joined.no_face),
            "unread": list(joined.unread_images),
            "list_sha256": joined.list_sha256,
        },
        "protocol": f"{joined.rule}, each judged by the threshold (0 to 3.99 by 0.01) that is first best on the "
        "others; squared distance of unit embeddings strictly below it means the same person",
        "detector": provenance.detector,
        "embedder": provenance.embedder,
        "for_accuracy": provenance.for_accuracy,
        "backend": provenance.backend,
        "batch": provenance.batch,
        "weights": dict(provenance.weights),
        "versions": dict(provenance.versions),
    }
    details = dict(provenance.details or {})
    assert not details.keys() & content.keys(), sorted(details)
    return {**content, **details}


def _every_photograph_is_listed(run: Path, pairs: VerificationSet, absent: set[str], wanted: int) -> None:
    if absent:
        raise DataError(
            f"{run / FACES_FILE}: {len(absent):,} of the {wanted:,} photographs that {pairs.name} names are not listed "
            f"(first: {min(absent)}), expected a line for each, with a face or a reason.",
            "the run was made for other pairs; run it again with these.",
        )


def _distances(embeddings: np.ndarray, pairs: VerificationSet, rows: Mapping[str, int]) -> np.ndarray:
    """Squared distance float64 [P], infinite where one of the two has no embedding."""
    places = np.array([(rows.get(pair.first, -1), rows.get(pair.second, -1)) for pair in pairs.pairs], np.intp)
    there = np.flatnonzero((places.reshape(-1, 2) >= 0).all(axis=1))
    distances = np.full(len(pairs.pairs), np.inf)
    for start in range(0, len(there), _PAIRS_AT_ONCE):
        some = there[start : start + _PAIRS_AT_ONCE]
        distances[some] = squared_distances(embeddings[places[some, 0]], embeddings[places[some, 1]])
    return distances


def _first(pairs: VerificationSet, concerned: np.ndarray, reasons: Mapping[str, str]) -> str | None:
    """The photograph at fault in the first pair concerned, and what is wrong with it."""
    for place in np.flatnonzero(concerned)[:1]:
        pair = pairs.pairs[place]
        key = pair.first if pair.first in reasons else pair.second
        return f"{key}, {reasons[key]}"
    return None
