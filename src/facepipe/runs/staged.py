# SPDX-License-Identifier: Apache-2.0
"""The staged run: pnet, rnet, onet, crop, each from files to files, with the functions of the fused run.

    RUN/pnet/shard-00000.npz   proposals of each photograph            RUN/crop/images/<key>.png   crops as pictures
    RUN/rnet/shard-00000.npz   those that RNet believes in             RUN/crop/shard-00000.npz    the chosen faces
    RUN/onet/shard-00000.npz   faces with landmarks

`pack`, `embed` and `score` follow; they are `runs.pack_stage`, `runs.embed_stage` and `runs.score`.
A stage depends on the manifest of the one before it, so nothing stale is ever read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.backends.base import Run, model_file, open_session
from facepipe.catalogue import detector_models, embedder, model
from facepipe.datasets.images import read
from facepipe.datasets.png import write_png
from facepipe.detect import fitted
from facepipe.detect.mtcnn import MtcnnSettings, Photograph, locate, photograph, propose, refine
from facepipe.engine.local import work
from facepipe.errors import DataError, StageError
from facepipe.faces.photographs import Batch, crop_or_reason, digests, read_batches
from facepipe.faces.select import choose
from facepipe.geometry.kernels import kernels_by_name
from facepipe.results import Detections, Face, NoFace, no_detections
from facepipe.runs.job import RunJob, detection_parameters, models_of
from facepipe.store.files import read_arrays, sha256_of_file, write_arrays
from facepipe.store.stage import Stage, begin, finish, require_complete

DETECTION_ARRAYS = {
    "reasons": "<U",  # [n]: why a photograph could not be read, or ""
    "sha256": "<U",  # [n]: of the photographs' files; "" where there was none to read
    "row_splits": "int64",  # [n + 1]: photograph i owns the rows row_splits[i] up to row_splits[i + 1]
    "boxes": "float32",  # [R, 4]
    "scores": "float32",  # [R]
    "landmarks": "float32",  # [R, K, 2], K is 0 before onet
}
FACE_ARRAYS = {  # rows: faces; reasons and digests: photographs
    "reasons": "<U",
    "sha256": "<U",
    "boxes": "float32",
    "scores": "float32",
    "landmarks": "float32",
}

STAGES = ("pnet", "rnet", "onet", "crop")
_BEFORE = {"rnet": "pnet", "onet": "rnet", "crop": "onet"}


class Cascade(Protocol):
    """`refine` or `locate`."""

    def __call__(
        self, photographs: Sequence[Photograph], proposals: Sequence[Detections], run: Run, settings: MtcnnSettings, /
    ) -> list[Detections]: ...


@dataclass(frozen=True, slots=True)
class StageItem:
    """What a worker of one stage is given."""

    job: RunJob
    stage: Stage


def staged_stage(name: str, job: RunJob) -> Stage:
    """One stage of the job, made dependent on the complete stage before it.

    Raises:
        DataError: there is no such stage, or the detector is not a cascade.
        StageError: the stage before is not complete.
    """
    if name not in STAGES:
        raise DataError(f"stage '{name}' is not known, expected one of {', '.join(STAGES)}, pack, embed, score.")
    if name != "crop" and name not in {spec.name for spec in detector_models(job.detector)}:
        raise DataError(
            f"stage '{name}' is MTCNN's, and the detector is {job.detector}.", "the fused run (without --staged)."
        )
    parameters = detection_parameters(job)
    if name == "crop":
        parameters = {"embedder": job.embedder, "selection": job.selection}
    else:
        (file,) = (file for file in models_of(job) if file.model == name)
        parameters |= {"model": file.sha256, "engine": file.engine}
    if name in _BEFORE:
        before = job.run / _BEFORE[name]
        require_complete(before, _BEFORE[name])
        parameters["before"] = sha256_of_file(before / "manifest.json")
    return Stage(job.run / name, name, parameters, job.keys, job.shard_size)


def run_stage(name: str, job: RunJob, workers: int, *, force: bool = False) -> Iterator[int]:
    """Do what is not yet done of one stage; yield each shard's number of photographs as it gets ready.

    Raises:
        StageError: the folder belongs to other parameters, the stage before is not complete, or a worker died.
    """
    stage = staged_stage(name, job)
    waiting = begin(stage, force=force)
    for shard in sorted(set(range(stage.shard_count)) - set(waiting)):
        yield len(stage.shard_keys(shard))
    open_stage = open_crop if name == "crop" else open_detection
    for _, count in work(open_stage, StageItem(job, stage), waiting, workers):
        yield count
    finish(stage)


@contextmanager
def open_detection(item: StageItem, worker: int) -> Iterator[Callable[[int], int]]:
    """One network loaded; yields the function that does one shard of pnet, rnet or onet."""
    job, stage = item.job, item.stage
    backend = backend_by_name(job.backend, job.options.of_worker(worker))
    spec = model(stage.name)
    with open_session(backend, spec, model_file(backend, spec, job.weights, job.batch)) as session:
        yield lambda shard: _detect_shard(job, stage, shard, session.run)


def _detect_shard(job: RunJob, stage: Stage, shard: int, run: Run) -> int:
    traits = backend_by_name(job.backend).traits
    rows = traits.rows_per_call(job.batch)
    settings = job.detector_settings
    assert isinstance(settings, MtcnnSettings), "staged_stage refuses other detectors"
    settings = fitted(settings, traits, job.batch)
    kernels = kernels_by_name(settings.kernels)
    keys = stage.shard_keys(shard)
    before = _BEFORE.get(stage.name)
    earlier = read_detections(job.run / before / stage.shard_path(shard).name, len(keys))[1] if before else None
    sha256 = _digests_as_before(job, stage, shard)
    reasons: list[str] = []
    found: list[Detections] = []
    for members in read_batches(job.root, keys, rows, job.max_pixels):
        low = len(reasons)
        reasons += [image.reason if isinstance(image, NoFace) else "" for _, image in members]
        images = [photograph(image, kernels) for _, image in members if not isinstance(image, NoFace)]
        if earlier is None:
            detected = propose(images, run, settings)
        else:
            of_members = earlier[low : low + len(members)]
            proposals = [rows for rows, reason in zip(of_members, reasons[low:], strict=True) if not reason]
            cascade: Cascade = refine if stage.name == "rnet" else locate
            detected = cascade(images, proposals, run, settings)
        rest = iter(detected)
        count = 5 if stage.name == "onet" else 0
        found += [no_detections(count) if reason else next(rest) for reason in reasons[low:]]
        del members, images  # large photographs are not kept while the next ones are decoded
    _write_detections(stage.shard_path(shard), reasons, sha256, found)
    return len(keys)


@contextmanager
def open_crop(item: StageItem, worker: int) -> Iterator[Callable[[int], int]]:
    """Yields the function that crops one shard."""
    yield lambda shard: _crop_shard(item.job, item.stage, shard)


def _crop_shard(job: RunJob, stage: Stage, shard: int) -> int:
    keys = stage.shard_keys(shard)
    alignment = embedder(job.embedder).alignment
    assert alignment is not None, job.embedder
    sha256 = _digests_as_before(job, stage, shard)
    reasons, found = read_detections(job.run / "onet" / stage.shard_path(shard).name, len(keys))
    faces: list[Face] = []
    for start, members in _numbered(read_batches(job.root, keys, job.batch, job.max_pixels)):
        for row, (key, image) in enumerate(members, start):
            if isinstance(image, NoFace):
                reasons[row] = image.reason
                continue
            outcome = choose(found[row], image.shape[0], image.shape[1], job.selection)
            crop = outcome if isinstance(outcome, NoFace) else crop_or_reason(image, outcome, alignment)
            if isinstance(outcome, NoFace):
                reasons[row] = outcome.reason
            elif isinstance(crop, NoFace):
                reasons[row] = crop.reason
            else:
                write_png(crop_path(stage.folder, key), crop)
                faces.append(outcome)
    write_arrays(
        stage.shard_path(shard),
        {
            "reasons": np.array(reasons, np.str_),
            "sha256": sha256,
            "boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),  # (F, 4)
            "scores": np.array([face.score for face in faces], np.float32),
            "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(len(faces), -1, 2),
        },
    )
    return len(keys)


def crop_path(folder: Path, key: str) -> Path:
    """Where the crop stage puts the crop of a photograph. The whole key stays in the name: a.jpg and a.png differ."""
    return folder / "images" / f"{key}.png"


def read_crop(folder: Path, key: str) -> np.ndarray:
    """The crop of one photograph: uint8 [S, S, 3]."""
    return read(crop_path(folder, key))


def faces_by_shard(stage: Stage) -> Iterator[list[tuple[str, Face]]]:
    """The photographs that have a face, with it, shard by shard of the complete crop stage."""
    for shard in range(stage.shard_count):
        arrays = read_arrays(stage.shard_path(shard), FACE_ARRAYS)
        keys = [key for key, reason in zip(stage.shard_keys(shard), arrays["reasons"], strict=True) if not reason]
        faces = map(Face, arrays["boxes"], arrays["scores"].tolist(), arrays["landmarks"])
        yield list(zip(keys, faces, strict=True))


def read_detections(path: Path, count: int) -> tuple[list[str], list[Detections]]:
    """One shard of pnet, rnet or onet: reasons and detections of `count` photographs.

    Raises:
        StageError: the file cannot be read.
        DataError: it is of another number of photographs.
    """
    arrays = read_arrays(path, DETECTION_ARRAYS)
    splits = arrays["row_splits"]
    if len(splits) != count + 1 or len(arrays["reasons"]) != count or splits[-1] != len(arrays["boxes"]):
        raise DataError(
            f"{path}: is of {len(splits) - 1} photographs, expected {count}.", "delete it and run its stage again."
        )
    whole = Detections(arrays["boxes"], arrays["scores"], arrays["landmarks"])
    rows = [whole.take(np.arange(low, high)) for low, high in pairwise(splits)]
    return arrays["reasons"].tolist(), rows


def _digests_as_before(job: RunJob, stage: Stage, shard: int) -> np.ndarray:
    """The digests of a shard's photographs: text [n].

    Raises:
        StageError: a photograph is another than the one that the stage before saw, or is gone.
    """
    keys = stage.shard_keys(shard)
    now = digests(job.root, keys)
    if stage.name not in _BEFORE:
        return now
    before = _BEFORE[stage.name]
    then = read_arrays(job.run / before / stage.shard_path(shard).name, DETECTION_ARRAYS)["sha256"]
    for key, old, new in zip(keys, then.tolist(), now.tolist(), strict=True):
        if old != new:
            what = "gone" if not new else "there now" if not old else f"another file (sha256 {new[:12]}...)"
            raise StageError(
                f"stage {stage.name}: the photograph {job.root / key} is {what}, expected it as stage {before} saw it"
                f"{f' (sha256 {old[:12]}...)' if old else ''}.",
                "put it back, or --force to start the run over with the photographs as they are.",
            )
    return now


def _write_detections(path: Path, reasons: list[str], sha256: np.ndarray, found: list[Detections]) -> None:
    write_arrays(
        path,
        {
            "reasons": np.array(reasons, np.str_),
            "sha256": sha256,
            "row_splits": np.cumsum([0, *map(len, found)], dtype=np.int64),
            "boxes": np.concatenate([rows.boxes for rows in found]),
            "scores": np.concatenate([rows.scores for rows in found]),
            "landmarks": np.concatenate([rows.landmarks for rows in found]),
        },
    )


def _numbered(batches: Iterator[Batch]) -> Iterator[tuple[int, Batch]]:
    """Each batch with the position of its first member."""
    start = 0
    for members in batches:
        yield start, members
        start += len(members)
