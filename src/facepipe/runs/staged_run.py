# SPDX-License-Identifier: Apache-2.0
"""The staged run: pnet, rnet, onet, crop, pack, embed, each from files to files, with the functions of the fused run.

    RUN/pnet/shard-00000.npz   proposals of each photograph            RUN/crop/images/*.png      crops as pictures
    RUN/rnet/shard-00000.npz   those that RNet believes in             RUN/crop/shard-00000.npz   the chosen faces
    RUN/onet/shard-00000.npz   faces with landmarks                    RUN/pack, RUN/embed        bins, and answers

A stage depends on the manifest of the one before it, so nothing stale is ever read.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.backends.ascend.bin_folder import FolderRunner
from facepipe.backends.ascend.om import read_sidecar
from facepipe.backends.base import Run, model_file, model_on_disk, open_session
from facepipe.catalogue import detector_models, embedder, landmark_count, model
from facepipe.datasets.crops import write_png
from facepipe.datasets.images import read
from facepipe.detect import fitted, looked_at
from facepipe.detect.mtcnn import MtcnnSettings, Photograph, locate, photograph, propose, refine
from facepipe.embed.embedder import unit_rows
from facepipe.engine import Engine
from facepipe.errors import DataError, StageError
from facepipe.faces.photographs import Photograph as Member
from facepipe.faces.photographs import read_photographs
from facepipe.faces.pipeline import CutFace, FacePipeline, alignment_of
from facepipe.geometry.kernels import kernels_by_name
from facepipe.results import Detections, Outcome, Unread, no_detections
from facepipe.runs.embed_stage import RECORD as OUTPUTS_RECORD
from facepipe.runs.embed_stage import embed_bins, embed_folder, embedded_by
from facepipe.runs.faces_run import (
    FACE_ARRAYS,
    FacesRun,
    Progress,
    collect_faces,
    definition_of,
    face_arrays,
    silent,
    write_record,
)
from facepipe.runs.job import RunJob, computed_with, detection_parameters, models_of, records_of
from facepipe.runs.lethal import (
    killed_in,
    left_unsealed,
    mark_sealed,
    mark_unsealed,
    reopen,
    survived,
    unsealed,
    with_killed,
)
from facepipe.runs.pack_stage import pack_crops
from facepipe.runs.unpack import unpack
from facepipe.store.files import read_json, sha256_of_file
from facepipe.store.provenance import ModelFile
from facepipe.store.resumable import START_OVER
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, Written, read_main_faces, write_embeddings
from facepipe.store.run_record import UNSEALED_FILE, discard_results, written_before
from facepipe.store.shard import Shard, read_shard, write_shard
from facepipe.store.stage import Stage, begin, finish, require_complete

DETECTION_ARRAYS = {
    "reasons": "<U",  # [n]: why a photograph could not be read, or how it ended its process, or ""
    "killed": "bool",  # [n]: it ended its process
    "sha256": "<U",  # [n]: of the photographs' files; "" where there was none to read
    "row_splits": "int64",  # [n + 1]: photograph i owns the rows row_splits[i] up to row_splits[i + 1]
    "boxes": "float32",  # [R, 4]
    "scores": "float32",  # [R]
    "landmarks": "float32",  # [R, K, 2], K is 0 before onet
}

CROP_ARRAYS = {**FACE_ARRAYS, "crops": "<U"}  # [F]: sha256 of each crop's pixels

_CROP_LETTERS, _CROP_DIGITS = 120, 32  # of a crop's name
_BLOCK = 4096  # rows that are normalised and written at a time
STAGES = ("pnet", "rnet", "onet", "crop")
ORDER = (*STAGES, "pack", "embed")
_BEFORE = {"rnet": "pnet", "onet": "rnet", "crop": "onet"}


class Cascade(Protocol):
    """`refine` or `locate`."""

    def __call__(
        self, photographs: Sequence[Photograph], proposals: Sequence[Detections], run: Run, settings: MtcnnSettings, /
    ) -> list[Detections]: ...


@dataclass(frozen=True, slots=True)
class StageJob:
    """What a worker of one stage is given: the run's job, the stage's name, the fingerprint of the stage before."""

    job: RunJob
    name: str
    before: str = ""


def staged_stage(name: str, job: RunJob, keys: Sequence[str]) -> Stage:
    """One stage of the job, made dependent on the complete stage before it.

    Raises:
        DataError: there is no such stage, or the detector is not a cascade.
        StageError: the stage before is not complete.
    """
    if name not in STAGES:
        raise DataError(f"stage '{name}' is not known, expected one of {', '.join(STAGES)}, pack, embed, score.")
    if name != "crop" and name not in {spec.name for spec in detector_models(job.detector, job.weights)}:
        raise DataError(
            f"stage '{name}' is MTCNN's, and the detector is {job.detector}.", "the fused run (without --staged)."
        )
    if job.limits.size or looked_at(job.detector_settings):
        raise DataError("--size: the staged run sees photographs in all their pixels.", "--size 0, or the fused run.")
    parameters = detection_parameters(job)
    if name == "crop":
        parameters = {
            "versions": computed_with(job.backend),
            "embedder": job.embedder,
            "selection": job.selection,
            **records_of([embedder(job.embedder, job.weights)]),
        }
    else:
        (file,) = (file for file in models_of(job) if file.model == name)
        parameters |= {"model": file.sha256, "engine": file.engine}
    if name in _BEFORE:
        before = job.run / _BEFORE[name]
        require_complete(before, _BEFORE[name])
        parameters["before"] = sha256_of_file(before / "manifest.json")
    return Stage(job.run / name, name, parameters, tuple(keys), job.shard_size)


def run_all_stages(
    job: RunJob,
    keys: Sequence[str],
    engine: Engine,
    *,
    force: bool = False,
    progress: Callable[[str], Progress] = lambda _: silent,
    say: Callable[[str], None] = lambda _: None,
) -> FacesRun:
    """Every stage that is not complete; then faces.jsonl and embeddings.npy. Call it while the run is locked.

    Args:
        progress: from a stage's name to what is told of it.
        say: given the lines that a vendor's program prints.
    """
    job = replace(job, models=models_of(job))
    seconds: dict[str, float] = {}
    if force:
        discard_results(job.run, [job.run / name for name in ORDER])
    for name in ORDER:
        began = time.perf_counter()
        _one_stage(name, job, keys, engine, force=force, progress=progress(name), say=say)
        seconds[name] = round(time.perf_counter() - began, 3)
    # Of this call alone, by the clock: a stage that was finished before costs nothing and shows so.
    timing = {
        "photographs": len(keys),
        "wall_seconds": round(sum(seconds.values()), 3),
        "workers": engine.workers,
        "threads": job.options.threads,
        "stage_seconds": seconds,
    }
    return collect_run(job, keys, {"timing": timing})


def run_one_stage(
    name: str,
    job: RunJob,
    keys: Sequence[str],
    engine: Engine,
    *,
    force: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """One stage of ORDER, resumed where it was.

    Raises:
        StageError: the stage before is not complete, or the folder was begun otherwise.
        UnsealedError: the stage is done, but it or one before it lacks photographs that end their process.
    """
    _one_stage(name, job, keys, engine, force=force, progress=progress, say=say)
    if killed := _killed_in_stages(job.run):
        raise unsealed(job.run, killed, len(keys))


def _killed_in_stages(run: Path) -> dict[str, str]:
    return {key: how for name in STAGES for key, how in killed_in(run / name).items()}


def _one_stage(
    name: str,
    job: RunJob,
    keys: Sequence[str],
    engine: Engine,
    *,
    force: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    # What was made from a stage that lacked photographs is not what it would be with them.
    anew = force or (job.run / UNSEALED_FILE).exists()
    if name in STAGES:
        run_stage(name, job, keys, engine, force=force, progress=progress)
    elif name == "pack":
        pack(job, keys, force=anew, progress=progress)
    else:
        embed(job, force=anew, progress=progress, say=say)


def pack(job: RunJob, keys: Sequence[str], *, force: bool = False, progress: Progress = silent) -> None:
    """Crops to `.bin` batches; photographs without a face have no row."""
    crops = staged_stage("crop", job, keys)
    require_complete(crops.folder, "crop")
    cut = list(crops_by_shard(crops))
    sha256 = {key: digest for shard in cut for key, digest in shard}
    pack_crops(
        job.run / "pack",
        [[key for key, _ in shard] for shard in cut],
        lambda key: read_crop(crops.folder, key, sha256[key]),
        embedder(job.embedder, job.weights),
        job.batch,
        {"crop": sha256_of_file(crops.folder / "manifest.json")},
        raw_bytes=_takes_bytes(job),
        force=force,
        progress=progress,
    )


def embed(job: RunJob, *, force: bool, progress: Progress, say: Callable[[str], None]) -> None:
    """Bins to the network's answers, in bins."""
    spec = embedder(job.embedder, job.weights)
    backend = backend_by_name(job.backend, job.options)
    stated = None if job.models is None else job.stated
    width = spec.outputs[0].dims[1].high

    def made_by(file: ModelFile) -> dict[str, object]:
        ran = {"model": file.sha256, "backend": job.backend, "engine": file.engine}
        return {**ran, "precision": job.options.precision, "versions": computed_with(job.backend)}

    if isinstance(backend, FolderRunner):  # a program that takes the whole folder at once
        read, file = model_on_disk(backend, spec, job.weights, job.batch, stated[spec.name] if stated else None)
        with read.copied() as copy:
            embed_folder(job.run / "pack", job.run / "embed", backend, copy, width, made_by(file), say, force=force)
        return
    path = model_file(backend, spec, job.weights, job.batch)
    with open_session(backend, spec, path, stated) as session:
        if session.fixed_batch not in (None, job.batch):
            raise StageError(
                f"embed: {path.name} is compiled for batch {session.fixed_batch}, the bins hold {job.batch}.",
                f"--batch {session.fixed_batch}",
            )
        embed_bins(
            job.run / "pack",
            job.run / "embed",
            # Bytes for a model with AIPP are no tensor of the specification: they go to the session as they are.
            (lambda batch: session.session.run((batch,))) if _takes_bytes(job) else session.run,
            width,
            made_by(session.file),
            force=force,
            progress=progress,
        )


def _takes_bytes(job: RunJob) -> bool:
    """Whether the recogniser is compiled with AIPP, so that its bins hold bytes."""
    backend = backend_by_name(job.backend, job.options)
    if not backend.traits.compiled:
        return False
    sidecar = read_sidecar(model_file(backend, embedder(job.embedder, job.weights), job.weights, job.batch))
    return sidecar is not None and sidecar.aipp


def collect_run(job: RunJob, keys: Sequence[str], facts: Mapping[str, object] | None = None) -> FacesRun:
    """faces.jsonl, embeddings.npy and run.json (with further facts) of a run whose stages are complete.

    Faces are the crop stage's, embeddings the runner's outputs, joined by key.

    Raises:
        StageError: the keys that have an embedding are not those that have a face; or a model is another than the
            one that its stage loaded.
        UnsealedError: photographs ended their process; everything else is written.
        TensorError: an embedding has no direction.
    """
    crops = staged_stage("crop", job, keys)
    require_complete(crops.folder, "crop")
    if killed := _killed_in_stages(job.run):
        raise left_unsealed(job.run, killed, len(keys), lambda: _write_results(job, crops))
    models = models_of(job)
    _require_loaded(job, models)
    made_from = {
        "fingerprint": crops.definition()["fingerprint"],
        "outputs_sha256": sha256_of_file(job.run / "embed" / OUTPUTS_RECORD),
    }
    before = written_before(job.run, made_from, lambda: _write_results(job, crops))
    written = before or _write_results(job, crops)
    if before is None:
        write_record(job, models, written, definition_of(crops) | made_from | {"stage": "staged"} | dict(facts or {}))
    mark_sealed(job.run)
    return FacesRun(models, written)


def _write_results(job: RunJob, crops: Stage) -> Written:
    """faces.jsonl, embeddings.npy and photographs.sha256 of complete stages."""
    spec = embedder(job.embedder, job.weights)
    embedded = unpack(job.run / "pack", job.run / "embed", width=spec.outputs[0].dims[1].high)
    written = collect_faces(crops, job.run, CROP_ARRAYS)
    with_face = [line.key for line in read_main_faces(job.run / FACES_FILE) if line.row is not None]
    rows = dict(zip(embedded.keys, range(len(embedded.keys)), strict=True))
    if rows.keys() != set(with_face):
        differing = sorted(rows.keys() ^ set(with_face))
        raise StageError(
            f"embed: {len(rows)} photographs have an embedding and {len(with_face)} a face "
            f"(first difference: {differing[0]}), expected the same ones.",
            "run the stages pack and embed again with --force.",
        )
    order = [rows[key] for key in with_face]
    starts = range(0, len(order), _BLOCK)
    blocks = (unit_rows(embedded.rows[order[start : start + _BLOCK]], spec.name) for start in starts)
    write_embeddings(job.run / EMBEDDINGS_FILE, len(order), embedded.rows.shape[1], blocks)
    return written


def _require_loaded(job: RunJob, models: Sequence[ModelFile]) -> None:
    """Refuse models that are others than those that the stages loaded: the run would be said to come from them."""
    for file in models:
        if file.model == job.embedder:
            stage, loaded = "embed", embedded_by(job.run / "embed").get("model")
        else:
            parameters = require_complete(job.run / file.model, file.model)["parameters"]
            stage, loaded = file.model, parameters.get("model") if isinstance(parameters, dict) else None
        if loaded != file.sha256:
            raise StageError(
                f"stage {stage}: it loaded a model of sha256 {str(loaded)[:12]}..., and {job.weights / file.file} is "
                f"{file.sha256[:12]}... now, expected the same.",
                f"put the model back, or `facepipe stage {stage} --force` with this one.",
            )


def run_stage(
    name: str, job: RunJob, keys: Sequence[str], engine: Engine, *, force: bool = False, progress: Progress = silent
) -> None:
    """Do what is not yet done of one stage of photographs.

    Raises:
        StageError: the folder belongs to other parameters, the stage before is not complete, or a worker died.
    """
    if name != "crop":
        job = replace(job, models=models_of(job))
    stage = staged_stage(name, job, keys)
    shards = stage.shards()
    force = force or _is_of_an_unsealed_stage(stage)
    if not force:
        reopen(stage)
    waiting = begin(stage, job.root.joinpath, force=force, other_processor=job.other_processor)
    progress(len(stage.keys) - sum(len(shards[number].keys) for number in waiting))
    open_stage = open_crop if name == "crop" else open_detection
    before = require_complete(job.run / _BEFORE[name], _BEFORE[name]) if name in _BEFORE else {}
    asked = StageJob(job, name, str(before.get("fingerprint", "")))
    with closing(survived(stage, waiting, engine, open_stage, asked)) as counts:
        for count in counts:
            progress(count)
    if killed := killed_in(stage.folder):
        mark_unsealed(job.run, killed)  # before the manifest, from which the next stage is begun
    finish(stage)


def _is_of_an_unsealed_stage(stage: Stage) -> bool:
    """Whether it was begun from a stage that lacked photographs and does not lack the same ones now."""
    begun = stage.folder / "begun.json"
    if not (stage.folder.parent / UNSEALED_FILE).exists() or not begun.is_file():
        return False
    return bool(read_json(begun).get("parameters", {}).get("before") != stage.parameters.get("before"))


@contextmanager
def open_detection(asked: StageJob, worker: int) -> Iterator[Callable[[Shard], int]]:
    """One network that the job states, loaded; yields the function that does one shard of pnet, rnet or onet."""
    job = asked.job
    backend = backend_by_name(job.backend, job.options.of_worker(worker))
    spec = model(asked.name)
    path = model_file(backend, spec, job.weights, job.batch)
    with open_session(backend, spec, path, job.stated) as session:
        yield lambda shard: _detect_shard(asked, shard, session.run)


def _detect_shard(asked: StageJob, shard: Shard, run: Run) -> int:
    job = asked.job
    traits = backend_by_name(job.backend).traits
    rows = traits.rows_per_call(job.batch)
    settings = job.detector_settings
    assert isinstance(settings, MtcnnSettings), "staged_stage refuses other detectors"
    settings = fitted(settings, traits, job.batch)
    kernels = kernels_by_name(settings.kernels)
    before = read_detections(_before(asked, shard)) if asked.name in _BEFORE else None
    shard = _without_killed(shard, before)
    reasons: list[str] = []
    sha256: list[str] = []
    stamps: list[str] = []
    found: list[Detections] = []
    for members in read_photographs(job.root, shard.keys, rows, job.limits, undecoded=shard.killed):
        low, high = len(reasons), len(reasons) + len(members)
        if before is not None:
            _require_same(asked, members, before.sha256[low:high])
        sha256 += [member.sha256 for member in members]
        stamps += [member.stamp for member in members]
        reasons += [
            shard.killed.get(member.key, member.pixels.reason) if isinstance(member.pixels, Unread) else ""
            for member in members
        ]
        images = [photograph(one.pixels, kernels) for one in members if not isinstance(one.pixels, Unread)]
        if before is None:
            detected = propose(images, run, settings)
        else:
            of_members = before.found[low:high]
            proposals = [rows for rows, reason in zip(of_members, reasons[low:], strict=True) if not reason]
            cascade: Cascade = refine if asked.name == "rnet" else locate
            detected = cascade(images, proposals, run, settings)
        rest = iter(detected)
        count = 5 if asked.name == "onet" else 0
        found += [no_detections(count) if reason else next(rest) for reason in reasons[low:]]
        del members, images  # large photographs are not kept while the next ones are decoded
    killed = [key in shard.killed for key in shard.keys]
    write_shard(shard, _detection_arrays(reasons, killed, sha256, found), stamps)
    return len(shard.keys)


@contextmanager
def open_crop(asked: StageJob, worker: int) -> Iterator[Callable[[Shard], int]]:
    """Yields the function that crops one shard."""
    job = asked.job
    pipeline = FacePipeline(None, None, alignment_of(job.detector, job.embedder, job.weights), job.selection)
    yield lambda shard: _crop_shard(asked, shard, pipeline)


def _crop_shard(asked: StageJob, shard: Shard, pipeline: FacePipeline) -> int:
    job = asked.job
    before = read_detections(_before(asked, shard))
    shard = _without_killed(shard, before)
    outcomes: list[list[Outcome]] = []
    stamps: list[str] = []
    crops: list[str] = []
    for members in read_photographs(job.root, shard.keys, job.batch, job.limits, undecoded=shard.killed):
        low = len(outcomes)
        _require_same(asked, members, before.sha256[low : low + len(members)])
        stamps += [member.stamp for member in members]
        for member, found in zip(members, before.found[low:], strict=False):
            if isinstance(member.pixels, Unread):
                outcomes.append([member.pixels])
                continue
            cut = pipeline.cut(member.pixels, found)
            outcomes.append([cut.face if isinstance(cut, CutFace) else cut])
            if isinstance(cut, CutFace):
                write_png(crop_path(job.run / asked.name, member.key), cut.crop)
                crops.append(_digest_of(cut.crop))
        del members, member
    faces = face_arrays(with_killed(shard, outcomes), before.sha256, landmark_count(job.detector, job.weights))
    write_shard(shard, {**faces, "crops": np.array(crops, np.str_)}, stamps)
    return len(shard.keys)


def crop_path(folder: Path, key: str) -> Path:
    """Where the crop stage puts the crop of a photograph: the end of its key, for a reader, and the key's digest.

    Any key has a name that the disk takes, and no two have one: a.jpg and a.png differ, and a folder a.jpg.png beside
    a.jpg is in nobody's way.

    Example:
        >>> crop_path(Path("crop"), "Some_One/a.jpg").as_posix()
        'crop/images/Some_One_a.jpg.f34efa50d66f9fefcacc9fa8b2baa8c8.png'
    """
    told = re.sub(r"[^A-Za-z0-9._-]", "_", key)[-_CROP_LETTERS:].lstrip(".")
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_CROP_DIGITS]
    return folder / "images" / f"{told or '_'}.{digest}.png"


def read_crop(folder: Path, key: str, sha256: str) -> np.ndarray:
    """The crop of one photograph: uint8 [S, S, 3].

    Args:
        sha256: of its pixels, as the crop stage cut them.

    Raises:
        StageError: the picture has other pixels.
        DataError: it cannot be read.
    """
    path = crop_path(folder, key)
    crop = read(path)
    if _digest_of(crop) != sha256:
        raise StageError(f"{path}: has other pixels than the crop stage cut, expected those.", START_OVER)
    return crop


def crops_by_shard(stage: Stage) -> Iterator[list[tuple[str, str]]]:
    """The photographs that have a face, with the sha256 of their crop, shard by shard of the complete crop stage."""
    for shard in stage.shards():
        arrays = read_shard(shard, CROP_ARRAYS)
        keys = [key for key, reason in zip(shard.keys, arrays["reasons"].tolist(), strict=True) if not reason]
        yield list(zip(keys, arrays["crops"].tolist(), strict=True))


def _digest_of(crop: np.ndarray) -> str:
    """sha256 of a crop's pixels, rows from the top, RGB: the same whatever packed them into a file."""
    return hashlib.sha256(crop.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class ShardDetections:
    """One shard of pnet, rnet or onet, photograph by photograph: why it could not be read, whether that was since it
    ended its process, its digest, its boxes."""

    reasons: list[str]
    killed: list[bool]
    sha256: list[str]
    found: list[Detections]


def read_detections(shard: Shard) -> ShardDetections:
    """One shard of pnet, rnet or onet.

    Raises:
        StageError: it cannot be read, or is not what was written.
        DataError: it is of another number of photographs.
    """
    path, count = shard.path, len(shard.keys)
    arrays = read_shard(shard, DETECTION_ARRAYS)
    splits = arrays["row_splits"]
    by_photograph = {len(arrays["reasons"]), len(arrays["killed"]), len(arrays["sha256"]), len(splits) - 1}
    if by_photograph != {count} or splits[-1] != len(arrays["boxes"]):
        raise DataError(
            f"{path}: is of {len(splits) - 1} photographs, expected {count}.", "delete it and run its stage again."
        )
    whole = Detections(arrays["boxes"], arrays["scores"], arrays["landmarks"])
    rows = [whole.take(np.arange(low, high)) for low, high in pairwise(splits)]
    return ShardDetections(arrays["reasons"].tolist(), arrays["killed"].tolist(), arrays["sha256"].tolist(), rows)


def _before(asked: StageJob, shard: Shard) -> Shard:
    """The same shard of the stage before."""
    return replace(shard, path=asked.job.run / _BEFORE[asked.name] / shard.path.name, fingerprint=asked.before)


def _without_killed(shard: Shard, before: ShardDetections | None) -> Shard:
    """The shard, which looks at no photograph that ended its process in the stage before."""
    if before is None:
        return shard
    columns = zip(shard.keys, before.reasons, before.killed, strict=True)
    return replace(shard, killed={**shard.killed, **{key: reason for key, reason, killed in columns if killed}})


def _require_same(asked: StageJob, members: Sequence[Member], then: Sequence[str]) -> None:
    """Refuse a photograph that is another than the one that the stage before saw, or is gone."""
    for member, old in zip(members, then, strict=True):
        new = member.sha256
        if old != new:
            what = "gone" if not new else "there now" if not old else f"another file (sha256 {new[:12]}...)"
            raise StageError(
                f"stage {asked.name}: the photograph {asked.job.root / member.key} is {what}, expected it as stage "
                f"{_BEFORE[asked.name]} saw it{f' (sha256 {old[:12]}...)' if old else ''}.",
                "put it back, or --force to start the run over with the photographs as they are.",
            )


def _detection_arrays(
    reasons: list[str], killed: list[bool], sha256: list[str], found: list[Detections]
) -> dict[str, np.ndarray]:
    return {
        "reasons": np.array(reasons, np.str_),
        "killed": np.array(killed, np.bool_),
        "sha256": np.array(sha256, np.str_),
        "row_splits": np.cumsum([0, *map(len, found)], dtype=np.int64),
        "boxes": np.concatenate([rows.boxes for rows in found]),
        "scores": np.concatenate([rows.scores for rows in found]),
        "landmarks": np.concatenate([rows.landmarks for rows in found]),
    }
