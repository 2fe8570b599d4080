# SPDX-License-Identifier: Apache-2.0
"""The fused run: every photograph is decoded once and streamed through detector, crop and recogniser.

Results are written in shards; see `store.stage`. Within a shard all crops go through the recogniser in full batches.
The staged run does the same with the same functions, file by file; a test holds the two equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.catalogue import embedder
from facepipe.detect import Detector, open_detector
from facepipe.embed import Embedder, open_embedder
from facepipe.engine.local import work
from facepipe.faces.photographs import crop_or_reason, digests, read_batches
from facepipe.faces.select import choose
from facepipe.results import Face, NoFace
from facepipe.runs.job import RunJob, alignment_note, alignment_of, detection_parameters
from facepipe.specs import Alignment
from facepipe.store.files import write_arrays
from facepipe.store.provenance import ModelFile
from facepipe.store.stage import Stage, begin, finish

SHARD_ARRAYS = {
    "reasons": "<U",  # [n]: "" where there is a face
    "sha256": "<U",  # [n]: of the photographs' files; "" where there was none to read
    "boxes": "float32",  # [F, 4]: faces in the order of the keys
    "scores": "float32",  # [F]
    "landmarks": "float32",  # [F, K, 2]
    "embeddings": "float32",  # [F, D], rows of length 1
}
"""The arrays of one shard, and their dtypes. The keys are those of the stage, in order."""


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What one shard took: photographs and seconds, by step."""

    photographs: int
    faces: int
    seconds: dict[str, float]


def fused_stage(job: RunJob, models: tuple[ModelFile, ...]) -> Stage:
    """The job as a resumable stage. Its results depend on just these parameters: not on the number of workers."""
    parameters = {
        **detection_parameters(job),
        "embedder": job.embedder,
        "selection": job.selection,
        "models": {file.model: file.sha256 for file in models},
        "engines": {file.model: file.engine for file in models},
    }
    note = alignment_note(job)
    if note is not None:
        parameters["alignment"] = note
    return Stage(job.run / "fused", "fused", parameters, job.keys, job.shard_size)


def run_fused(
    job: RunJob, stage: Stage, workers: int, *, force: bool = False
) -> Iterator[tuple[int, ShardReport | None]]:
    """Do what is not yet done; yield each shard's number of photographs as it gets ready, finished ones first.

    Raises:
        StageError: the folder belongs to another job, or a worker died.
    """
    waiting = begin(stage, force=force)
    for shard in sorted(set(range(stage.shard_count)) - set(waiting)):
        yield len(stage.shard_keys(shard)), None
    for _, report in work(open_fused, (job, stage), waiting, workers):
        yield report.photographs, report
    finish(stage)


@contextmanager
def open_fused(work_item: tuple[RunJob, Stage], worker: int) -> Iterator[Callable[[int], ShardReport]]:
    """Models loaded; yields the function that does one shard."""
    job, stage = work_item
    backend = backend_by_name(job.backend, job.options.of_worker(worker))
    spec, alignment = embedder(job.embedder), alignment_of(job)
    with (
        open_detector(job.detector, backend, job.weights, job.batch, job.settings) as detector,
        open_embedder(spec, backend, job.weights, job.batch) as recogniser,
    ):
        yield lambda shard: do_shard(job, stage, shard, detector, recogniser, alignment)


def do_shard(
    job: RunJob, stage: Stage, shard: int, detector: Detector, recogniser: Embedder, alignment: Alignment
) -> ShardReport:
    """One shard from files to file."""
    keys = stage.shard_keys(shard)
    seconds = {"read": 0.0, "detect": 0.0, "crop": 0.0, "embed": 0.0}
    faces: list[Face] = []
    crops: list[np.ndarray] = []
    reasons: list[str] = []
    sha256 = digests(job.root, keys)
    batches = read_batches(job.root, keys, backend_by_name(job.backend).traits.rows_per_call(job.batch), job.max_pixels)
    while True:
        began = time.perf_counter()
        members = next(batches, None)
        read = time.perf_counter()
        seconds["read"] += read - began
        if members is None:
            break
        found = detector.detect([image for _, image in members if not isinstance(image, NoFace)])
        detected = time.perf_counter()
        seconds["detect"] += detected - read
        rest = iter(found)
        for _, image in members:
            if isinstance(image, NoFace):
                reasons.append(image.reason)
                continue
            outcome = choose(next(rest), image.shape[0], image.shape[1], job.selection)
            if isinstance(outcome, NoFace):
                reasons.append(outcome.reason)
                continue
            crop = crop_or_reason(image, outcome, alignment)
            if isinstance(crop, NoFace):
                reasons.append(crop.reason)
                continue
            faces.append(outcome)
            crops.append(crop)
            reasons.append("")
        del members, image  # a large photograph is not kept while the next one is decoded
        seconds["crop"] += time.perf_counter() - detected
    began = time.perf_counter()
    embeddings = recogniser.embed(np.stack(crops) if crops else np.zeros((0, 1, 1, 3), np.uint8))
    seconds["embed"] += time.perf_counter() - began
    write_arrays(
        stage.shard_path(shard),
        {
            **_face_arrays(faces, detector),
            "embeddings": embeddings,
            "reasons": np.array(reasons, np.str_),
            "sha256": sha256,
        },
    )
    return ShardReport(len(keys), len(faces), seconds)


def _face_arrays(faces: list[Face], detector: Detector) -> dict[str, np.ndarray]:
    """Faces as three arrays, of the right rank also when there are none."""
    count = detector.landmark_count
    return {
        "boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),  # (F, 4)
        "scores": np.array([face.score for face in faces], np.float32),
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(len(faces), count, 2),
    }
