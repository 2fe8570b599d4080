# SPDX-License-Identifier: Apache-2.0
"""The fused run: photographs to faces.jsonl, embeddings.npy and run.json.

Every photograph is read once and streamed through detector, crop and recogniser. Results are written in shards; see
`store.stage`. Within a shard all crops go through the recogniser in full batches. The staged run does the same with the
same functions, file by file; a test holds the two equal.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.engine import Engine
from facepipe.errors import StageError
from facepipe.faces.photographs import read_photographs
from facepipe.faces.pipeline import CutFace, FacePipeline, alignment_note, open_pipeline
from facepipe.results import Face, FaceLine, Killed, NoFace, Outcome, Unread
from facepipe.runs.job import RunJob, detection_parameters, models_of
from facepipe.runs.lethal import killed_in, left_unsealed, mark_sealed, reopen, survived, with_killed
from facepipe.store.photograph_digests import PHOTOGRAPHS_FILE, write_digests
from facepipe.store.provenance import ModelFile, versions
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, Written, write_embeddings, write_faces
from facepipe.store.run_record import discard_results, write_run, written_before
from facepipe.store.shard import Shard, read_shard, write_shard
from facepipe.store.stage import Stage, begin, finish, locked, processors

FACE_ARRAYS = {
    "reasons": "<U",  # [n]: why there is no face, or "" where there is one
    "unread": "bool",  # [n]: the photograph could not be read, and the reason says why
    "killed": "bool",  # [n]: the photograph ended its process, and the reason says how
    "sha256": "<U",  # [n]: of the photographs' files; "" where there was none to read
    "boxes": "float32",  # [F, 4]: faces in the order of the keys
    "scores": "float32",  # [F]
    "landmarks": "float32",  # [F, K, 2]
}
"""The faces of one shard: arrays and their dtypes. The keys are those of the stage, in order."""

SHARD_ARRAYS = {**FACE_ARRAYS, "embeddings": "float32"}  # [F, D], rows of length 1

_BY_PHOTOGRAPH = ("reasons", "unread", "killed", "sha256")  # one entry for each photograph; the others: for each face

Progress = Callable[[int], None]
"""Told how many photographs were finished."""


def silent(count: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What one shard took: photographs and seconds, by step."""

    photographs: int
    faces: int
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class FacesRun:
    """A finished run: the models that it ran, and how many lines and faces it wrote."""

    models: tuple[ModelFile, ...]
    written: Written


def embed_photographs(
    job: RunJob, keys: Sequence[str], engine: Engine, *, force: bool = False, progress: Progress = silent
) -> FacesRun:
    """Run or resume the job over `keys` (sorted), alone in its folder; see `run_faces`."""
    with locked(job.run, "--out"):
        return run_faces(job, keys, engine, force=force, progress=progress)


def run_faces(
    job: RunJob, keys: Sequence[str], engine: Engine, *, force: bool = False, progress: Progress = silent
) -> FacesRun:
    """Run or resume the job; write faces.jsonl, embeddings.npy and run.json into its folder. Call it while locked.

    Args:
        keys: the photographs below the job's root, sorted.
        force: start over what was begun with other parameters.

    Raises:
        StageError: the folder belongs to another job, or processes die and no photograph is to blame.
        UnsealedError: photographs end every process that looks at them; everything else is done and written.
    """
    models = models_of(job)
    job = replace(job, models=models)
    stage = fused_stage(job, keys, models)
    seconds: Counter[str] = Counter()
    done, began = 0, time.perf_counter()
    if force:
        discard_results(job.run, [stage.folder])
    else:
        reopen(stage)
    waiting = begin(stage, job.root.joinpath, force=force, other_processor=job.other_processor)
    shards = stage.shards()
    progress(len(stage.keys) - sum(len(shards[number].keys) for number in waiting))
    with closing(survived(stage, waiting, engine, open_fused, job)) as reports:
        for report in reports:
            progress(report.photographs)
            done += report.photographs
            seconds.update(report.seconds)
    if killed := killed_in(stage.folder):
        raise left_unsealed(job.run, killed, len(keys), lambda: collect(stage, job.run))
    finish(stage)
    mark_sealed(job.run)
    made_from = {"fingerprint": stage.definition()["fingerprint"]}
    before = written_before(job.run, made_from, lambda: collect(stage, job.run))
    if before is not None:
        return FacesRun(models, before)
    written = collect(stage, job.run)
    wall = time.perf_counter() - began
    facts = definition_of(stage) | {
        # Of this call alone: what was finished before costs nothing and is not counted.
        "timing": {
            "photographs": done,
            "wall_seconds": round(wall, 3),
            "workers": engine.workers,
            "threads": job.options.threads,
            "worker_seconds": {step: round(value, 3) for step, value in sorted(seconds.items())},
        },
    }
    write_record(job, models, written, facts)
    return FacesRun(models, written)


def fused_stage(job: RunJob, keys: Sequence[str], models: tuple[ModelFile, ...]) -> Stage:
    """The job as a resumable stage. Its results depend on just these parameters: not on the number of workers."""
    parameters = {
        **detection_parameters(job),
        "embedder": job.embedder,
        "selection": job.selection,
        "models": {file.model: file.sha256 for file in models},
        "engines": {file.model: file.engine for file in models},
    }
    note = alignment_note(job.detector, job.embedder)
    if note is not None:
        parameters["alignment"] = note
    return Stage(job.run / "fused", "fused", parameters, tuple(keys), job.shard_size)


@contextmanager
def open_fused(job: RunJob, worker: int) -> Iterator[Callable[[Shard], ShardReport]]:
    """The models that the job states, loaded; yields the function that does one shard."""
    backend = backend_by_name(job.backend, job.options.of_worker(worker))
    with open_pipeline(
        job.detector,
        job.embedder,
        backend,
        job.weights,
        job.batch,
        settings=job.detector_settings,
        selection=job.selection,
        stated=job.stated,
    ) as pipeline:
        yield lambda shard: do_shard(job, shard, pipeline)


def do_shard(job: RunJob, shard: Shard, pipeline: FacePipeline) -> ShardReport:
    """One shard from files to file."""
    seconds = {"read": 0.0, "detect": 0.0, "crop": 0.0, "embed": 0.0}
    outcomes: list[Outcome] = []
    sha256: list[str] = []
    stamps: list[str] = []
    crops: list[np.ndarray] = []
    rows = backend_by_name(job.backend).traits.rows_per_call(job.batch)
    batches = read_photographs(job.root, shard.keys, rows, job.limits, undecoded=shard.killed)
    while True:
        began = time.perf_counter()
        members = next(batches, None)
        read = time.perf_counter()
        seconds["read"] += read - began
        if members is None:
            break
        sha256 += [member.sha256 for member in members]
        stamps += [member.stamp for member in members]
        found = iter(pipeline.detect([one.decoded for one in members if not isinstance(one.decoded, Unread)]))
        detected = time.perf_counter()
        seconds["detect"] += detected - read
        for member in members:
            if isinstance(member.decoded, Unread):
                outcomes.append(member.decoded)
                continue
            cut = pipeline.cut(member.decoded, next(found))
            outcomes.append(cut.face if isinstance(cut, CutFace) else cut)
            if isinstance(cut, CutFace):
                crops.append(cut.crop)
        del members, member  # a large photograph is not kept while the next one is decoded
        seconds["crop"] += time.perf_counter() - detected
    began = time.perf_counter()
    embeddings = pipeline.embed(crops)
    seconds["embed"] += time.perf_counter() - began
    assert pipeline.detector is not None, "a run looks for faces"
    arrays = face_arrays(with_killed(shard, outcomes), sha256, pipeline.detector.landmark_count)
    write_shard(shard, {**arrays, "embeddings": embeddings}, stamps)
    return ShardReport(len(shard.keys), len(crops), seconds)


def face_arrays(outcomes: Sequence[Outcome], sha256: Sequence[str], landmark_count: int) -> dict[str, np.ndarray]:
    """What became of a shard's photographs as FACE_ARRAYS, of the right rank also where there is no face."""
    faces = [outcome for outcome in outcomes if isinstance(outcome, Face)]
    return {
        "boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),  # (F, 4)
        "scores": np.array([face.score for face in faces], np.float32),
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(len(faces), landmark_count, 2),
        "reasons": np.array([_reason(one) for one in outcomes], np.str_),
        "unread": np.array([isinstance(one, Unread) for one in outcomes], np.bool_),
        "killed": np.array([isinstance(one, Killed) for one in outcomes], np.bool_),
        "sha256": np.array(sha256, np.str_),
    }


def _reason(outcome: Outcome) -> str:
    if isinstance(outcome, Face):
        return ""
    return outcome.how if isinstance(outcome, Killed) else outcome.reason


def collect(stage: Stage, run: Path) -> Written:
    """Write `run`/faces.jsonl, `run`/embeddings.npy and `run`/photographs.sha256; memory holds one shard.

    Raises:
        StageError: a shard's arrays do not fit its keys.
    """
    written = collect_faces(stage, run, SHARD_ARRAYS)
    shards = stage.shards()
    first = read_shard(shards[0], SHARD_ARRAYS)["embeddings"]
    blocks = (read_shard(shard, SHARD_ARRAYS)["embeddings"] for shard in shards)
    write_embeddings(run / EMBEDDINGS_FILE, written.faces, first.shape[1], blocks)
    return written


def collect_faces(stage: Stage, run: Path, arrays: Mapping[str, str]) -> Written:
    """Write `run`/faces.jsonl and `run`/photographs.sha256 alone.

    Args:
        stage: a finished stage whose shards hold FACE_ARRAYS.
        arrays: names and dtypes of all of a shard's arrays.

    Raises:
        StageError: a shard's arrays do not fit its keys.
    """
    written = write_faces(run / FACES_FILE, _lines(stage, arrays))
    write_digests(run / PHOTOGRAPHS_FILE, _digests(stage))
    return written


def write_record(job: RunJob, models: tuple[ModelFile, ...], written: Written, facts: Mapping[str, object]) -> None:
    """Write run.json: what the run came from and what it left, by sha256, and further facts."""
    made_by = {
        "root": str(job.root.absolute()),
        "weights_folder": str(job.weights.absolute()),
        "models": [asdict(file) for file in models],
        "versions": versions(),
        "kernels": job.detector_settings.kernels,
    }
    write_run(job.run, {**facts, **made_by}, written)


def definition_of(stage: Stage) -> dict[str, object]:
    """What `run.json` says of a complete stage: what it was begun with, and how many shards each processor made."""
    return {**stage.definition(), "processors": processors(stage)}


def _digests(stage: Stage) -> Iterator[tuple[str, str]]:
    """Key and sha256 of every photograph, in order; "" where there was no file to read."""
    for shard in stage.shards():
        yield from zip(shard.keys, read_shard(shard, {"sha256": "<U"})["sha256"].tolist(), strict=True)


def _lines(stage: Stage, arrays: Mapping[str, str]) -> Iterator[FaceLine]:
    """One line for each key, in order."""
    for shard in stage.shards():
        content = read_shard(shard, arrays)
        reasons = content["reasons"]
        faces = int((reasons == "").sum())
        rows = {name: len(content[name]) for name in arrays if name not in _BY_PHOTOGRAPH}
        if any(len(content[name]) != len(shard.keys) for name in _BY_PHOTOGRAPH) or set(rows.values()) != {faces}:
            raise StageError(
                f"{shard.path}: {len(reasons)} photographs with {faces} faces and rows {rows}, "
                f"expected {len(shard.keys)} photographs and one row for each face.",
                "delete it and run the same command again.",
            )
        yield from _of_shard(shard.keys, content)


def _of_shard(keys: tuple[str, ...], content: Mapping[str, np.ndarray]) -> Iterator[FaceLine]:
    row = 0
    by_key = (content[name].tolist() for name in ("reasons", "unread", "killed"))
    for key, reason, unread, killed in zip(keys, *by_key, strict=True):
        if reason:
            yield FaceLine(key, Killed(reason) if killed else Unread(reason) if unread else NoFace(reason))
            continue
        yield FaceLine(key, Face(content["boxes"][row], float(content["scores"][row]), content["landmarks"][row]))
        row += 1
