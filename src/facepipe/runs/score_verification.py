# SPDX-License-Identifier: Apache-2.0
"""A recogniser on a verification set of aligned faces, by insightface's protocol.

Every face is embedded twice, as it is and mirrored. "Flip" adds the two raw embeddings and divides the sum by its
length; "XNorm" is the mean length of the raw embeddings of both copies, over all places of the set. Accuracy is over
ten folds, each judged by the threshold that is best on the other nine (thresholds 0 to 3.99 in steps of .01 on the
squared distance, strictly below means "same").

Source: deepinsight/insightface `recognition/arcface_torch/eval/verification.py` for what is computed. Its accuracy
without the mirrored copy is never filled in; here it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import embedder as embedder_spec
from facepipe.datasets.face_sets import FaceSet
from facepipe.datasets.lfw import VerificationSet
from facepipe.embed import open_embedder
from facepipe.embed.embedder import Embedder, unit_rows
from facepipe.errors import DataError
from facepipe.metrics.verification import (
    FoldAccuracy,
    auc,
    equal_error_rate,
    roc,
    squared_distances,
    tar_at_far,
    ten_fold_accuracy,
)
from facepipe.store.files import write_json
from facepipe.store.owned import claim
from facepipe.store.provenance import versions

FAR = 1e-3
VERIFICATION_FILE = "verification.json"


def _silent(done: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class MirroredEmbeddings:
    """Raw embeddings of faces and of their mirror images, row by key.

    Attributes:
        keys: N names.
        plain, mirrored: float32 [N, D], of any length.
    """

    keys: tuple[str, ...]
    plain: np.ndarray
    mirrored: np.ndarray


@dataclass(frozen=True, slots=True)
class VerificationJob:
    """Which recogniser, how it is run, and the folder that gets verification.json."""

    weights: Path
    embedder: str
    folder: Path
    backend: str = "onnxruntime"
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    batch: int = 32


def run_verification(
    job: VerificationJob, faces: FaceSet, progress: Callable[[int], None] = _silent
) -> dict[str, object]:
    """Embed every face of a set and its mirror image, score the pairs, write verification.json; the figures.

    Raises:
        BackendError: the back end is unavailable, or the model was not converted yet.
        DataError, TensorError: as `score`.
    """
    claim(job.folder, "--run with another folder.")
    spec = embedder_spec(job.embedder, job.weights)
    backend = backend_by_name(job.backend, job.options)
    keys, size = keys_in_order(faces.pairs), spec.input.dims[2].high
    with open_embedder(spec, backend, job.weights, job.batch) as recogniser:
        ran = recogniser.file
        assert ran is not None, "open_embedder loads a file"
        embeddings = embed_mirrored(keys, lambda key: faces.load(key, size), recogniser, progress)
    figures = score(faces.pairs, embeddings)
    about = {"name": faces.pairs.name, "pairs": len(faces.pairs.pairs), "images": len(keys), **faces.provenance}
    write_json(
        job.folder / VERIFICATION_FILE,
        {
            **figures,
            "protocol": "aligned faces, embedding + mirrored embedding, ten folds unshuffled, squared distance < t",
            "set": about,
            "embedder": spec.name,
            "for_accuracy": spec.for_accuracy,
            "backend": backend.name,
            "batch": job.batch,
            "weights": {ran.model: ran.weights_sha256},
            "models": {ran.model: ran.sha256},
            "engines": {ran.model: ran.engine},
            "versions": versions(),
        },
    )
    return figures


def keys_in_order(pairs: VerificationSet) -> tuple[str, ...]:
    """Every picture of the pairs once, in the order in which they name it."""
    return tuple(dict.fromkeys(key for pair in pairs.pairs for key in (pair.first, pair.second)))


def embed_mirrored(
    keys: Sequence[str],
    load: Callable[[str], np.ndarray],
    embedder: Embedder,
    progress: Callable[[int], None] = _silent,
) -> MirroredEmbeddings:
    """Embed each face and its mirror image. Every batch is full, the last one by padding, so all rows are computed
    alike; one batch of pictures is held at a time.

    Args:
        keys: names of the faces.
        load: from a name to uint8 [S, S, 3] RGB.
        progress: called with the number of faces that were finished.
    """
    steady = replace(embedder, fixed_batch=embedder.fixed_batch or embedder.batch)
    size = steady.fixed_batch or steady.batch
    plain, mirrored = [], []
    for start in range(0, len(keys), size):
        crops = np.stack([load(key) for key in keys[start : start + size]])
        plain.append(steady.raw(crops))
        mirrored.append(steady.raw(np.ascontiguousarray(crops[:, :, ::-1])))
        progress(len(crops))
    if not plain:
        raise DataError("verification: there is no face to embed, expected a set of pairs.")
    return MirroredEmbeddings(tuple(keys), np.concatenate(plain), np.concatenate(mirrored))


def score(pairs: VerificationSet, embeddings: MirroredEmbeddings) -> dict[str, object]:
    """The figures of one set, as JSON values.

    Returns:
        `accuracy_flip` and `accuracy` (mean, std, per_fold, thresholds), `xnorm`, `tar_at_far_1e-3` with
        `tar_at_far` (mean, std, far), `auc` and `eer`; the last four are of the flip embeddings, as insightface's.

    Raises:
        DataError: a pair names a face without an embedding, or a fold lacks one kind of pair.
        TensorError: an embedding has no direction.
    """
    row_of = {key: row for row, key in enumerate(embeddings.keys)}
    absent = [key for key in keys_in_order(pairs) if key not in row_of]
    if absent:
        raise DataError(f"{pairs.name}: {len(absent)} faces have no embedding (first: {absent[0]}), expected all.")
    places = np.array([[row_of[pair.first], row_of[pair.second]] for pair in pairs.pairs])  # (P, 2)
    same = np.array([pair.same for pair in pairs.pairs], np.bool_)
    folds = np.array([pair.fold for pair in pairs.pairs])
    flip = _distances(unit_rows(embeddings.plain + embeddings.mirrored, pairs.name), places)
    plain = _distances(unit_rows(embeddings.plain, pairs.name), places)
    at_far, curve = tar_at_far(flip, same, folds, FAR), roc(flip, same)
    return {
        "accuracy_flip": _figures(ten_fold_accuracy(flip, same, folds)),
        "accuracy": _figures(ten_fold_accuracy(plain, same, folds)),
        "xnorm": _mean_length(embeddings, places),
        "tar_at_far_1e-3": at_far.mean,
        "tar_at_far": {"target": FAR, "mean": at_far.mean, "std": at_far.std, "far": at_far.far},
        "auc": auc(curve),
        "eer": equal_error_rate(curve),
    }


def _distances(unit: np.ndarray, places: np.ndarray) -> np.ndarray:
    return squared_distances(unit[places[:, 0]], unit[places[:, 1]])


def _mean_length(embeddings: MirroredEmbeddings, places: np.ndarray) -> float:
    """Over both copies of all 2P places; a face in several pairs counts as often, as in the published figure."""
    lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (embeddings.plain, embeddings.mirrored)]
    return float(np.mean([length[places] for length in lengths]))


def _figures(accuracy: FoldAccuracy) -> dict[str, object]:
    return {
        "mean": accuracy.mean,
        "std": accuracy.std,
        "per_fold": accuracy.per_fold.tolist(),
        "thresholds": accuracy.thresholds.tolist(),
    }
