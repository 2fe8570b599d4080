# SPDX-License-Identifier: Apache-2.0
"""A detector over WIDER FACE's photographs: shards that resume, then one prediction file for each photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, Stated, model_on_disk, stated_by
from facepipe.catalogue import detector_models
from facepipe.datasets.widerface import write_prediction
from facepipe.detect import Detector, open_detector, open_single_shot
from facepipe.detect.single_shot import MOST_FACES, SingleShotSettings, Size
from facepipe.engine import Engine, or_error
from facepipe.errors import DataError
from facepipe.faces.photographs import EVERYDAY, Limits, read_photographs
from facepipe.geometry.box_voting import vote
from facepipe.geometry.fit import Fit
from facepipe.results import Detections, Unread
from facepipe.runs.faces_run import Progress, silent
from facepipe.runs.job import computed_with, records_of, told_of
from facepipe.store.provenance import ModelFile
from facepipe.store.shard import Shard, read_shard, write_shard
from facepipe.store.stage import Stage, begin, finish

SHARD_ARRAYS = {"boxes": "float32", "scores": "float32", "row_splits": "int64", "sha256": "<U"}
"""Of one shard: corners [R, 4] and scores [R] of all its photographs; photograph i owns rows splits[i] to splits[i + 1]
(not included); sha256 [n] of the photographs' files."""

Locate = Callable[[Sequence[np.ndarray], Sequence[Size]], list[tuple[np.ndarray, np.ndarray]]]
"""Photographs and their listed sizes to boxes [N, 4] and scores [N] of each."""


@dataclass(frozen=True, slots=True)
class WiderJob:
    """How one pass over photographs is done; pickles into a few kB, so that workers anywhere can open it.

    Attributes:
        root: the folder of photographs.
        folder: where shards go.
        settings: of a detector of one network; None for a cascade, which sees photographs as they are.
        fits: how photographs become inputs; several are merged by box voting.
        flips: every input also mirrored; merged in the same way.
        voting: IoU of the merge.
        models: what the pass has found when it began, and now states: its workers load no other files. None: not yet.
    """

    root: Path
    folder: Path
    weights: Path
    detector: str
    backend: str
    settings: SingleShotSettings | None
    fits: tuple[Fit, ...] = ()
    flips: bool = False
    voting: float = 0.4
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    batch: int = 8
    shard_size: int = 64
    limits: Limits = EVERYDAY
    other_processor: bool = False
    models: tuple[ModelFile, ...] | None = None

    @property
    def stated(self) -> Stated:
        """The sha256 of each model file, for those that load it."""
        return stated_by(self.models)

    @property
    def merges(self) -> bool:
        return self.flips or len(self.fits) > 1


@dataclass(frozen=True, slots=True)
class WiderFile:
    """A photograph: its key, its path below the root, and the (height, width) that predictions are in, whatever copy of
    it lies there."""

    key: str
    path: str
    size: Size


@dataclass(frozen=True, slots=True)
class WiderShard:
    """A shard with all that a worker has to know of its photographs."""

    shard: Shard
    files: tuple[WiderFile, ...]


def wider_models(job: WiderJob) -> tuple[ModelFile, ...]:
    """The model files that lie there, with their digests.

    Raises:
        BackendError: one is not there.
        StageError: the record beside one is not its own.
    """
    backend = backend_by_name(job.backend, job.options)
    specs = detector_models(job.detector, job.weights)
    return tuple(model_on_disk(backend, spec, job.weights, job.batch)[1] for spec in specs)


def wider_stage(job: WiderJob, files: Sequence[WiderFile], models: tuple[ModelFile, ...]) -> Stage:
    """The job as a resumable stage; its parameters are all that the predictions depend on."""
    settings = None if job.settings is None else asdict(job.settings)
    for name in ("kernels", "batch", "fit"):  # same bits; recorded below; one of `fits`
        (settings or {}).pop(name, None)
    parameters = {
        "versions": computed_with(job.backend),
        "detector": job.detector,
        "backend": job.backend,
        "precision": job.options.precision,
        "batch": job.batch,
        "max_pixels": job.limits.max_pixels,
        "settings": settings,
        "fits": [{"kind": type(fit).__name__, **asdict(fit)} for fit in job.fits],
        "flips": job.flips,
        "voting": job.voting if job.merges else None,
        **told_of(models),
        **records_of(detector_models(job.detector, job.weights)),
        "files": {file.key: file.path for file in files},
        "sizes": [list(file.size) for file in files],
    }
    keys = tuple(file.key for file in files)
    return Stage(job.folder, "wider", parameters, keys, job.shard_size)


def run_pass(
    job: WiderJob,
    files: Sequence[WiderFile],
    stage: Stage,
    engine: Engine,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> None:
    """Do what is not yet done of a pass over `files` (sorted by key).

    Raises:
        StageError: the folder belongs to another job, or a worker died.
        DataError: a photograph cannot be read.
    """
    paths = {file.key: file.path for file in files}
    waiting = set(begin(stage, lambda key: job.root / paths[key], force=force, other_processor=job.other_processor))
    items = []
    for shard in stage.shards():
        start = shard.number * stage.shard_size
        if shard.number in waiting:
            items.append(WiderShard(shard, tuple(files[start : start + len(shard.keys)])))
        else:
            progress(len(shard.keys))
    for _, count in engine.map(open_wider, job, items):
        progress(or_error(count))
    finish(stage)


def write_predictions(stage: Stage, folder: Path) -> int:
    """Every finished shard's predictions in the official layout below `folder`; the number of boxes."""
    boxes = 0
    for shard in stage.shards():
        arrays = read_shard(shard, SHARD_ARRAYS)
        splits = arrays["row_splits"]
        for key, low, high in zip(shard.keys, splits[:-1], splits[1:], strict=True):
            write_prediction(folder, key, arrays["boxes"][low:high], arrays["scores"][low:high])
        boxes += len(arrays["boxes"])
    return boxes


@contextmanager
def open_wider(job: WiderJob, worker: int) -> Iterator[Callable[[WiderShard], int]]:
    """Models loaded; yields the function that does one shard and answers its number of photographs."""
    with open_locate(job) as locate:
        yield lambda item: _do_shard(job, item, locate)


@contextmanager
def open_locate(job: WiderJob) -> Iterator[Locate]:
    """The job's way from photographs to boxes: one scale, or several merged."""
    backend = backend_by_name(job.backend, job.options)
    if job.settings is None:
        with open_detector(job.detector, backend, job.weights, job.batch, stated=job.stated) as cascade:
            yield lambda images, sizes: _as_they_are(cascade, images, sizes)
        return
    with ExitStack() as stack:
        scaled = [
            stack.enter_context(
                open_single_shot(
                    job.detector,
                    backend,
                    job.weights,
                    replace(job.settings, fit=fit, batch=job.batch),
                    stated=job.stated,
                )
            )
            for fit in job.fits
        ]

        def locate(images: Sequence[np.ndarray], sizes: Sequence[Size]) -> list[tuple[np.ndarray, np.ndarray]]:
            passes = [one.detect_scaled(images, sizes) for one in scaled]
            if not job.merges:
                return [(found.boxes, found.scores) for found in passes[0]]
            if job.flips:
                mirrored = [image[:, ::-1] for image in images]
                for one in scaled:
                    flipped = one.detect_scaled(mirrored, sizes)
                    passes.append([unmirrored(found, size[1]) for found, size in zip(flipped, sizes, strict=True)])
            return [_merged(found, job.voting) for found in zip(*passes, strict=True)]

        yield locate


def _as_they_are(
    detector: Detector, images: Sequence[np.ndarray], sizes: Sequence[Size]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """A cascade's boxes, brought from the pixels of the copy to those of the listed size."""
    answers = []
    for image, size, found in zip(images, sizes, detector.detect(images), strict=True):
        factor = np.array([size[1] / image.shape[1], size[0] / image.shape[0]] * 2, np.float32)
        answers.append((found.boxes * factor, found.scores))
    return answers


def _do_shard(job: WiderJob, item: WiderShard, locate: Locate) -> int:
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    counts = [0]
    sha256: list[str] = []
    stamps: list[str] = []
    sizes = iter(item.files)
    for members in read_photographs(job.root, [file.path for file in item.files], job.batch, job.limits):
        images = []
        for member in members:
            if isinstance(member.pixels, Unread):
                raise DataError(f"{job.root / member.key}: {member.pixels.reason}.")
            images.append(member.pixels)
            sha256.append(member.sha256)
            stamps.append(member.stamp)
        for found_boxes, found_scores in locate(images, [next(sizes).size for _ in members]):
            boxes.append(found_boxes)
            scores.append(found_scores)
            counts.append(len(found_boxes))
    arrays: dict[str, np.ndarray] = {
        "boxes": np.concatenate(boxes).astype(np.float32),
        "scores": np.concatenate(scores).astype(np.float32),
        "row_splits": np.cumsum(counts, dtype=np.int64),
        "sha256": np.array(sha256, np.str_),
    }
    write_shard(item.shard, arrays, stamps)
    return len(item.files)


def unmirrored(found: Detections, width: int) -> Detections:
    """Boxes of a mirrored photograph of that width, in the photograph's own pixels; landmarks are left out."""
    x1, y1, x2, y2 = found.boxes.T
    boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return Detections(boxes, found.scores, np.zeros((len(boxes), 0, 2), np.float32))


def _merged(passes: Sequence[Detections], overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """One photograph's boxes of all passes, voted into one set."""
    boxes = np.concatenate([found.boxes for found in passes])
    scores = np.concatenate([found.scores for found in passes])
    voted, kept = vote(boxes, scores, overlap)
    return voted[:MOST_FACES], kept[:MOST_FACES]
