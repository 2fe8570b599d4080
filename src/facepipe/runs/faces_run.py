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
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.engine import Engine
from facepipe.errors import StageError
from facepipe.faces.photographs import read_photographs
from facepipe.faces.pipeline import CutFace, FacePipeline, Image, alignment_note, open_pipeline
from facepipe.results import Detections, Face, FaceLine, Killed, NoFace, Outcome, UncutFace, Unread
from facepipe.runs.job import RunJob, detection_parameters, models_of, networks_of, records_of, told_of
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
    "row_splits": "int64",  # [n + 1]: photograph i owns the faces row_splits[i] up to row_splits[i + 1]
    "boxes": "float32",  # [F, 4]: faces in the order of the keys, and in the detector's
    "scores": "float32",  # [F]
    "landmarks": "float32",  # [F, K, 2]
    "numbers": "int64",  # [F]: the face's place in the detector's order
    "sharpness": "float32",  # [F]; 0 of a face that could not be cut out
    "uncut": "<U",  # [F]: why the face could not be cut out, or "" where it was
}
"""The faces of one shard: arrays and their dtypes. The keys are those of the stage, in order."""

SHARD_ARRAYS = {**FACE_ARRAYS, "embeddings": "float32"}  # [E, D], rows of length 1, of the faces that were cut out

_BY_PHOTOGRAPH = ("reasons", "unread", "killed", "sha256")  # one entry for each photograph
_BY_FACE = ("boxes", "scores", "landmarks", "numbers", "sharpness", "uncut")  # one entry for each face

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
        "faces": job.faces,
        "selection": job.selection if job.faces == "main" else None,
        **told_of(models),
        **records_of(networks_of(job)),
    }
    note = alignment_note(job.detector, job.embedder, job.weights)
    if note is not None:
        parameters["alignment"] = note
    return Stage(job.run / "fused", "fused", parameters, tuple(keys), job.shard_size)


def pipeline_of(job: RunJob, worker: int, embedder: str | None) -> AbstractContextManager[FacePipeline]:
    """The models that the job states, loaded for one worker.

    Args:
        embedder: the job's; None: nothing is embedded.
    """
    return open_pipeline(
        job.detector,
        embedder,
        backend_by_name(job.backend, job.options.of_worker(worker)),
        job.weights,
        job.batch,
        settings=job.detector_settings,
        selection=job.selection,
        stated=job.stated,
    )


@contextmanager
def open_fused(job: RunJob, worker: int) -> Iterator[Callable[[Shard], ShardReport]]:
    """The models that the job states, loaded; yields the function that does one shard."""
    with pipeline_of(job, worker, job.embedder) as pipeline:
        yield lambda shard: do_shard(job, shard, pipeline)


def do_shard(job: RunJob, shard: Shard, pipeline: FacePipeline) -> ShardReport:
    """One shard from files to file."""
    seconds = {"read": 0.0, "detect": 0.0, "crop": 0.0, "embed": 0.0}
    outcomes: list[list[Outcome]] = []
    sha256: list[str] = []
    stamps: list[str] = []
    rows = backend_by_name(job.backend).traits.rows_per_call(job.batch)
    batches = read_photographs(job.root, shard.keys, rows, job.limits, undecoded=shard.killed)

    def crops() -> Iterator[np.ndarray]:
        """Every crop of the shard, cut when the recogniser's next call needs it."""
        while True:
            began = time.perf_counter()
            members = next(batches, None)
            read = time.perf_counter()
            seconds["read"] += read - began
            if members is None:
                return
            sha256.extend(member.sha256 for member in members)
            stamps.extend(member.stamp for member in members)
            found = iter(pipeline.detect([one.decoded for one in members if not isinstance(one.decoded, Unread)]))
            seconds["detect"] += time.perf_counter() - read
            for member in members:
                outcomes.append([])
                if isinstance(member.decoded, Unread):
                    outcomes[-1].append(member.decoded)
                    continue
                began = time.perf_counter()
                for cut in _cut(job, pipeline, member.decoded, next(found)):
                    outcomes[-1].append(cut.face if isinstance(cut, CutFace) else cut)
                    if isinstance(cut, CutFace):
                        seconds["crop"] += time.perf_counter() - began
                        yield cut.crop
                        began = time.perf_counter()
                seconds["crop"] += time.perf_counter() - began
            del members, member  # a large photograph is not kept while the next one is decoded

    began = time.perf_counter()
    embeddings = pipeline.embed(crops())
    seconds["embed"] = time.perf_counter() - began - sum(seconds.values())
    assert pipeline.detector is not None, "a run looks for faces"
    arrays = face_arrays(with_killed(shard, outcomes), sha256, pipeline.detector.landmark_count)
    write_shard(shard, {**arrays, "embeddings": embeddings}, stamps)
    return ShardReport(len(shard.keys), len(embeddings), seconds)


def _cut(
    job: RunJob, pipeline: FacePipeline, image: Image, found: Detections
) -> Iterator[CutFace | UncutFace | NoFace]:
    """The faces of a photograph that go on, each cut when it is asked for; or why there is none."""
    if job.faces == "main":
        yield pipeline.cut(image, found)
    else:
        yield from pipeline.cut_each(image, found)


def face_arrays(
    outcomes: Sequence[Sequence[Outcome]], sha256: Sequence[str], landmark_count: int
) -> dict[str, np.ndarray]:
    """What became of a shard's photographs as FACE_ARRAYS, of the right rank also where there is no face.

    Args:
        outcomes: of each photograph its faces, or why it has none.
    """
    found = [[one for one in own if isinstance(one, Face | UncutFace)] for own in outcomes]
    faces = [one.face if isinstance(one, UncutFace) else one for own in found for one in own]
    uncut = [one.reason if isinstance(one, UncutFace) else "" for own in found for one in own]
    first = [own[0] for own in outcomes]
    return {
        "row_splits": np.cumsum([0, *map(len, found)], dtype=np.int64),
        "boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),  # (F, 4)
        "scores": np.array([face.score for face in faces], np.float32),
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(len(faces), landmark_count, 2),
        "numbers": np.array([face.number for face in faces], np.int64),
        "sharpness": np.array([face.sharpness or 0 for face in faces], np.float32),
        "uncut": np.array(uncut, np.str_),
        "reasons": np.array([_reason(one) for one in first], np.str_),
        "unread": np.array([isinstance(one, Unread) for one in first], np.bool_),
        "killed": np.array([isinstance(one, Killed) for one in first], np.bool_),
        "sha256": np.array(sha256, np.str_),
    }


def _reason(outcome: Outcome) -> str:
    """Why a photograph has no face; "" where it has."""
    if isinstance(outcome, Face | UncutFace):
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


def collect_faces(stage: Stage, run: Path, arrays: Mapping[str, str], *, with_rows: bool = True) -> Written:
    """Write `run`/faces.jsonl and `run`/photographs.sha256 alone.

    Args:
        stage: a finished stage whose shards hold FACE_ARRAYS.
        arrays: names and dtypes of all of a shard's arrays.
        with_rows: faces are rows of embeddings.npy.

    Raises:
        StageError: a shard's arrays do not fit its keys.
    """
    written = write_faces(run / FACES_FILE, _lines(stage, arrays), with_rows)
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
    """The lines of each key, in order."""
    for shard in stage.shards():
        content = read_shard(shard, arrays)
        splits, reasons = content["row_splits"], content["reasons"]
        faces, cut = int(splits[-1]) if len(splits) else 0, int((content["uncut"] == "").sum())
        wanted = {
            **dict.fromkeys(_BY_PHOTOGRAPH, len(shard.keys)),
            "row_splits": len(shard.keys) + 1,
            **dict.fromkeys(_BY_FACE, faces),
            **{name: cut for name in arrays if name not in FACE_ARRAYS},
        }
        lengths = {name: len(content[name]) for name in arrays}
        if lengths != wanted or splits[0] != 0 or not np.array_equal(np.diff(splits) > 0, reasons == ""):
            raise StageError(
                f"{shard.path}: {len(reasons)} photographs with {faces} faces and rows {lengths}, "
                f"expected {len(shard.keys)} photographs and one row for each face.",
                "delete it and run the same command again.",
            )
        yield from _of_shard(shard.keys, content)


def _of_shard(keys: tuple[str, ...], content: Mapping[str, np.ndarray]) -> Iterator[FaceLine]:
    by_key = (content[name].tolist() for name in ("reasons", "unread", "killed"))
    for key, reason, unread, killed, (low, high) in zip(keys, *by_key, pairwise(content["row_splits"]), strict=True):
        if reason:
            yield FaceLine(key, Killed(reason) if killed else Unread(reason) if unread else NoFace(reason))
        for row in range(low, high):
            yield FaceLine(key, _face(content, row))


def _face(content: Mapping[str, np.ndarray], row: int) -> Face | UncutFace:
    uncut = str(content["uncut"][row])
    face = Face(
        content["boxes"][row],
        float(content["scores"][row]),
        content["landmarks"][row],
        int(content["numbers"][row]),
        None if uncut else float(content["sharpness"][row]),
    )
    return UncutFace(face, uncut) if uncut else face
