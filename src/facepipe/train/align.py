# SPDX-License-Identifier: Apache-2.0
"""Photographs of people to aligned faces of them, to train on: the same cut as a recogniser will get in use.

    OUT/<person>/<photograph>.png   the main face of each photograph, cut and aligned; .png is added to the name
    OUT/left_out.jsonl              a line for each photograph without one, and why
    OUT/aligned.json                sealed: of what it was made, and how many; written last
    OUT/.align/                     shards, faces.jsonl and photographs.sha256, as in the folder of a run

It is a stage like those of a run: it can be killed at any moment and goes on where it was, refuses to go on with
anything else, and survives a photograph that ends its process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from facepipe.backends import backend_by_name
from facepipe.catalogue import detector_models, landmark_count
from facepipe.datasets.crops import write_png
from facepipe.engine import Engine
from facepipe.errors import DataError
from facepipe.faces.photographs import read_photographs
from facepipe.faces.pipeline import CutFace, FacePipeline, alignment_of
from facepipe.results import Face, Killed, Outcome, Unread
from facepipe.runs.faces_run import FACE_ARRAYS, Progress, collect_faces, face_arrays, pipeline_of, silent
from facepipe.runs.job import ALIGN, RunJob, detection_parameters, files_of, records_of, told_of
from facepipe.runs.lethal import killed_in, left_unsealed, mark_sealed, reopen, survived, with_killed
from facepipe.store.files import atomic_path, sha256_of_file, write_json
from facepipe.store.owned import remove
from facepipe.store.provenance import ModelFile
from facepipe.store.run_faces import FACES_FILE, read_faces
from facepipe.store.shard import Shard, write_shard
from facepipe.store.stage import Stage, begin, finish, locked
from facepipe.train.data.folders import person_of_each

FORMAT = "facepipe.aligned.1"
LEFT_OUT_FILE, ALIGNED_FILE = "left_out.jsonl", "aligned.json"


@dataclass(frozen=True, slots=True)
class Aligned:
    """What was aligned.

    Attributes:
        left_out: (photograph, reason) of those without a face, or that could not be looked at.
        lost: people of whom no photograph has a face.
    """

    photographs: int
    faces: int
    people: int
    left_out: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]


def align_people(
    job: RunJob, keys: Sequence[str], engine: Engine, *, force: bool = False, progress: Progress = silent
) -> Aligned:
    """Align the photographs, or go on with it, alone in the folder.

    Args:
        job: `run` is the folder of faces; `embedder` the recogniser that they are for, whose weights need not be there;
            of each photograph its main face counts.
        keys: the photographs below the job's root, sorted, each in a person's folder.
        force: start over what was begun with other parameters.

    Raises:
        DataError: a photograph lies in no person's folder, two people's names are one, or no photograph has a face.
        StageError: the folder belongs to other work, or processes die and no photograph is to blame.
        UnsealedError: photographs end every process that looks at them; everything else is done and written.
    """
    people = set(person_of_each(job.root, keys))
    with locked(job.run, "--out"):
        models = files_of(job, detector_models(job.detector, job.weights))
        job = replace(job, models=models)
        stage = _stage(job, keys, models)
        if not force:
            reopen(stage)
        waiting = begin(stage, job.root.joinpath, force=force, other_processor=job.other_processor)
        if waiting:
            remove(job.run / ALIGNED_FILE)
        shards = stage.shards()
        progress(len(keys) - sum(len(shards[number].keys) for number in waiting))
        with closing(survived(stage, waiting, engine, open_align, job)) as counts:
            for count in counts:
                progress(count)
        if killed := killed_in(stage.folder):
            raise left_unsealed(job.run, killed, len(keys), lambda: _collect(stage, job.run, people))
        finish(stage)
        mark_sealed(job.run)
        aligned = _collect(stage, job.run, people)
        if not aligned.faces:
            raise DataError(f"{job.root}: no face in its {len(keys):,} photographs, expected some.")
        _write_record(stage, job.run, models, aligned)
    return aligned


def face_path(folder: Path, key: str) -> Path:
    """Where the face of a photograph lies. The photograph's own suffix stays: a.jpg and a.png are two.

    Example:
        >>> face_path(Path("faces"), "Some One/a.jpg").as_posix()
        'faces/Some One/a.jpg.png'
    """
    return folder / f"{key}.png"


@contextmanager
def open_align(job: RunJob, worker: int) -> Iterator[Callable[[Shard], int]]:
    """The detector that the job states, loaded; yields the function that aligns one shard."""
    alignment = alignment_of(job.detector, job.embedder, job.weights)
    with pipeline_of(job, worker, None) as pipeline:
        cutting = replace(pipeline, alignment=alignment)
        yield lambda shard: _align_shard(job, shard, cutting)


def _align_shard(job: RunJob, shard: Shard, pipeline: FacePipeline) -> int:
    """One shard from photographs to faces; its record is written when they are there."""
    outcomes: list[list[Outcome]] = []
    sha256: list[str] = []
    stamps: list[str] = []
    rows = backend_by_name(job.backend).traits.rows_per_call(job.batch)
    for members in read_photographs(job.root, shard.keys, rows, job.limits, undecoded=shard.killed):
        sha256 += [member.sha256 for member in members]
        stamps += [member.stamp for member in members]
        found = iter(pipeline.detect([one.decoded for one in members if not isinstance(one.decoded, Unread)]))
        for member in members:
            if isinstance(member.decoded, Unread):
                outcomes.append([member.decoded])
                continue
            cut = pipeline.cut(member.decoded, next(found))
            outcomes.append([cut.face if isinstance(cut, CutFace) else cut])
            if isinstance(cut, CutFace):
                write_png(face_path(job.run, member.key), cut.crop)
        del members, member  # large photographs are not kept while the next ones are decoded
    landmarks = landmark_count(job.detector, job.weights)
    write_shard(shard, face_arrays(with_killed(shard, outcomes), sha256, landmarks), stamps)
    return len(shard.keys)


def _stage(job: RunJob, keys: Sequence[str], models: tuple[ModelFile, ...]) -> Stage:
    """The work as a resumable stage. Its results depend on just these parameters."""
    parameters = {
        **detection_parameters(job),
        "selection": job.selection,
        "alignment": asdict(alignment_of(job.detector, job.embedder, job.weights)),
        **told_of(models),
        **records_of(detector_models(job.detector, job.weights)),
    }
    return Stage(job.run / ALIGN, "align", parameters, tuple(keys), job.shard_size)


def _collect(stage: Stage, out: Path, people: set[str]) -> Aligned:
    """Write faces.jsonl beside the shards, and the list of what was left out; count.

    Raises:
        DataError: a face that was cut is not there.
    """
    collect_faces(stage, stage.folder, FACE_ARRAYS, with_rows=False)
    left_out: list[tuple[str, str]] = []
    seen: set[str] = set()
    faces = 0
    for line in read_faces(stage.folder / FACES_FILE):
        if isinstance(line.outcome, Face):
            if not face_path(out, line.key).is_file():
                raise DataError(f"{face_path(out, line.key)}: is gone, expected the face that was cut.", "--force.")
            faces += 1
            seen.add(line.key.partition("/")[0])
        else:
            outcome = line.outcome
            left_out.append((line.key, outcome.how if isinstance(outcome, Killed) else outcome.reason))
    with atomic_path(out / LEFT_OUT_FILE) as part, part.open("w", encoding="utf-8", newline="\n") as target:
        for key, reason in left_out:
            target.write(json.dumps({"key": key, "reason": reason}, ensure_ascii=False) + "\n")
    return Aligned(len(stage.keys), faces, len(seen), tuple(left_out), tuple(sorted(people - seen)))


def _write_record(stage: Stage, out: Path, models: tuple[ModelFile, ...], aligned: Aligned) -> None:
    counts = {"photographs": aligned.photographs, "faces": aligned.faces, "people": aligned.people}
    record = {
        "format": FORMAT,
        **counts,
        "left_out": len(aligned.left_out),
        "lost": list(aligned.lost),
        "parameters": stage.definition()["parameters"],
        "fingerprint": stage.definition()["fingerprint"],
        "models": [asdict(file) for file in models],
        "results": {LEFT_OUT_FILE: sha256_of_file(out / LEFT_OUT_FILE)},
    }
    write_json(out / ALIGNED_FILE, record)
