# SPDX-License-Identifier: Apache-2.0
"""A fused run with its progress bar, from a job to faces.jsonl and embeddings.npy; shared by `embed` and `lfw`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tqdm import tqdm

from facepipe.runs.collect import collect
from facepipe.runs.fused import SHARD_ARRAYS, fused_stage, run_fused
from facepipe.runs.job import RunJob, models_of
from facepipe.runs.provenance_check import RUN_FILE, results_of
from facepipe.store.files import write_json
from facepipe.store.provenance import ModelFile, versions
from facepipe.store.run_faces import Written
from facepipe.store.stage import Stage


@dataclass(frozen=True, slots=True)
class FacesRun:
    """A finished fused run."""

    stage: Stage
    models: tuple[ModelFile, ...]
    written: Written


def run_faces(job: RunJob, workers: int, *, force: bool = False) -> FacesRun:
    """Run or resume the job; write faces.jsonl, embeddings.npy and run.json into its folder. Call it while locked.

    Raises:
        StageError: the folder belongs to another job.
    """
    models = models_of(job)
    stage = fused_stage(job, models)
    seconds: Counter[str] = Counter()
    done, began = 0, time.perf_counter()
    with tqdm(total=len(job.keys), desc="photographs", unit="", file=sys.stderr, smoothing=0.1) as bar:
        for count, report in run_fused(job, stage, workers, force=force):
            bar.update(count)
            if report is not None:
                done += count
                seconds.update(report.seconds)
    written = collect(stage, job.run, SHARD_ARRAYS)
    wall = time.perf_counter() - began
    write_record(
        job,
        models,
        written,
        stage.definition()
        | {
            # Of this call alone: what was finished before costs nothing and is not counted.
            "timing": {
                "photographs": done,
                "wall_seconds": round(wall, 3),
                "workers": workers,
                "threads": job.options.threads,
                "worker_seconds": {step: round(value, 3) for step, value in sorted(seconds.items())},
            },
        },
    )
    return FacesRun(stage, models, written)


def write_record(job: RunJob, models: tuple[ModelFile, ...], written: Written, facts: Mapping[str, object]) -> None:
    """Write run.json: what the run came from and what it left, by sha256, and further facts."""
    write_json(
        job.run / RUN_FILE,
        {
            **facts,
            "root": str(job.root.absolute()),
            "weights_folder": str(job.weights.absolute()),
            "photographs": written.images,
            "faces": written.faces,
            "models": [asdict(file) for file in models],
            "sources": {},
            "results": results_of(job.run),
            "versions": versions(),
            "kernels": job.detector_settings.kernels,
        },
    )
