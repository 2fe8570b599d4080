# SPDX-License-Identifier: Apache-2.0
"""The staged run with its progress bars: every stage from files to files, down to faces.jsonl and embeddings.npy."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from facepipe.backends import backend_by_name
from facepipe.backends.ascend.bin_folder import FolderRunner
from facepipe.backends.ascend.om import read_sidecar
from facepipe.backends.base import model_file, open_session
from facepipe.backends.by_model import engine_of
from facepipe.catalogue import embedder
from facepipe.errors import StageError
from facepipe.runs.collect import collect_staged
from facepipe.runs.embed_stage import embed_bins, embed_folder
from facepipe.runs.faces_run import write_record
from facepipe.runs.job import RunJob, models_of
from facepipe.runs.pack_stage import pack_crops
from facepipe.runs.staged import FACE_ARRAYS, STAGES, faces_by_shard, read_crop, run_stage, staged_stage
from facepipe.runs.unpack import unpack
from facepipe.store.files import sha256_of_file
from facepipe.store.provenance import ModelFile
from facepipe.store.run_faces import Written
from facepipe.store.stage import require_complete

ORDER = (*STAGES, "pack", "embed")


def run_all_stages(job: RunJob, workers: int, *, force: bool = False) -> tuple[ModelFile, ...]:
    """Every stage that is not complete; then faces.jsonl and embeddings.npy. Call it while the run is locked."""
    models = models_of(job)
    seconds: dict[str, float] = {}
    for name in ORDER:
        began = time.perf_counter()
        run_one_stage(name, job, workers, force=force)
        seconds[name] = round(time.perf_counter() - began, 3)
    # Of this call alone, by the clock: a stage that was finished before costs nothing and shows so.
    timing = {
        "photographs": len(job.keys),
        "wall_seconds": round(sum(seconds.values()), 3),
        "workers": workers,
        "threads": job.options.threads,
        "stage_seconds": seconds,
    }
    collect_run(job, {"timing": timing})
    return models


def run_one_stage(name: str, job: RunJob, workers: int, *, force: bool = False) -> None:
    """One stage, resumed where it was.

    Raises:
        StageError: the stage before is not complete, or the folder was begun otherwise.
    """
    with tqdm(total=len(job.keys), desc=f"{name:<5}", unit="", file=sys.stderr) as bar:
        if name in STAGES:
            for count in run_stage(name, job, workers, force=force):
                bar.update(count)
        elif name == "pack":
            pack(job, bar, force=force)
        else:
            embed(job, bar, force=force)
        bar.total = bar.n
        bar.refresh()


def pack(job: RunJob, bar: tqdm, *, force: bool = False) -> None:
    """Crops to `.bin` batches; photographs without a face have no row."""
    crops = staged_stage("crop", job)
    require_complete(crops.folder, "crop")
    pack_crops(
        job.run / "pack",
        [[key for key, _ in shard] for shard in faces_by_shard(crops)],
        lambda key: read_crop(crops.folder, key),
        embedder(job.embedder),
        job.batch,
        {"crop": sha256_of_file(crops.folder / "manifest.json")},
        raw_bytes=_takes_bytes(job),
        force=force,
        progress=bar.update,
    )


def embed(job: RunJob, bar: tqdm, *, force: bool = False) -> None:
    """Bins to the network's answers, in bins."""
    spec = embedder(job.embedder)
    backend = backend_by_name(job.backend, job.options)
    path = model_file(backend, spec, job.weights, job.batch)
    made_by = {
        "model": sha256_of_file(path),
        "backend": job.backend,
        "engine": engine_of(backend, spec, path),
        "precision": job.options.precision,
    }
    width = spec.outputs[0].dims[1].high
    if isinstance(backend, FolderRunner):  # a program that takes the whole folder at once
        embed_folder(job.run / "pack", job.run / "embed", backend, path, width, made_by, bar.write, force=force)
        return
    with open_session(backend, spec, path) as session:
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
            made_by,
            force=force,
            progress=bar.update,
        )


def _takes_bytes(job: RunJob) -> bool:
    """Whether the recogniser is compiled with AIPP, so that its bins hold bytes."""
    backend = backend_by_name(job.backend, job.options)
    if not backend.traits.compiled:
        return False
    sidecar = read_sidecar(model_file(backend, embedder(job.embedder), job.weights, job.batch))
    return sidecar is not None and sidecar.aipp


def collect_run(job: RunJob, facts: Mapping[str, object] | None = None) -> Written:
    """faces.jsonl, embeddings.npy and run.json (with further facts) of a run whose stages are complete."""
    crops = staged_stage("crop", job)
    require_complete(crops.folder, "crop")
    spec = embedder(job.embedder)
    embedded = unpack(job.run / "pack", job.run / "embed", width=spec.outputs[0].dims[1].high)
    written = collect_staged(crops, job.run, FACE_ARRAYS, embedded, spec.name)
    write_record(job, models_of(job), written, crops.definition() | {"stage": "staged"} | dict(facts or {}))
    return written
