# SPDX-License-Identifier: Apache-2.0
"""facepipe's side of a measurement, in a process of its own: `python -m benchmarks.own`, JSON in and out.

"pipeline": photographs to embeddings by the fused run. "detection": photographs to all their faces. "profile":
where the time of a run goes. "network": one model at one input shape. "limits": what the processor can do at most.
Loading models and one warm-up are not in the time; reading, decoding and writing the results are.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sides import memory_of_process
from facepipe.backends import backend_by_name
from facepipe.backends.base import Run, RuntimeOptions, model_file, open_session
from facepipe.backends.timing import time_calls
from facepipe.catalogue import embedder, model
from facepipe.datasets.images import read
from facepipe.detect import Detector, default_settings, open_detector
from facepipe.detect.mtcnn import Mtcnn
from facepipe.detect.single_shot import SingleShotDetector, SingleShotSettings
from facepipe.embed import open_embedder
from facepipe.engine import or_error
from facepipe.engine.local import Local
from facepipe.errors import BackendError
from facepipe.faces.photographs import read_photographs
from facepipe.faces.pipeline import FacePipeline, alignment_of
from facepipe.geometry.fit import Stretch
from facepipe.results import Unread
from facepipe.runs.faces_run import ShardReport, do_shard, fused_stage, open_fused
from facepipe.runs.job import RunJob, models_of
from facepipe.store.provenance import versions
from facepipe.store.shard import Shard
from facepipe.store.stage import begin, finish

Measured = tuple[int, int, ShardReport]
"""Which worker, the most memory it held so far in bytes, and its report of one shard."""

WARM = "warm-"  # and the number of the worker: a file in the run's folder


def main() -> None:
    """Answer the one question on standard input."""
    question = json.load(sys.stdin)
    measure: Callable[[dict[str, Any]], dict[str, Any]] = {
        "pipeline": pipeline,
        "detection": detection,
        "profile": profile,
        "network": network,
        "limits": limits,
    }[question["measure"]]
    json.dump(measure(question), sys.stdout)


def pipeline(question: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each repeat over the photographs, faces found, memory at its highest, and seconds by step.

    The clock starts when every worker is warm and stops when the last shard is written, as the peer's does not count
    its loading and ending either.
    """
    job = _job(question)
    models, workers = models_of(job), question["workers"]
    job = replace(job, models=models)
    seconds, memory, faces = list[float](), 0, 0
    steps: dict[str, float] = {}
    for _ in range(question["repeats"]):
        with tempfile.TemporaryDirectory(prefix="facepipe-bench-") as folder:
            one = replace(job, run=Path(folder))
            stage = fused_stage(one, question["keys"], models)
            shards, every = begin(stage, job.root.joinpath), stage.shards()
            began, ended, peaks, faces, steps = 0.0, 0.0, dict[int, int](), 0, {}
            # Warm-ups are handed out first, one to each worker: shards that are done again when their turn comes.
            warm_ups = [(True, every[worker % len(every)]) for worker in range(workers)]
            items = [*warm_ups, *((False, every[number]) for number in shards)]
            for place, answer in Local(workers).map(open_measured, (one, workers), items):
                worker, peak, report = or_error(answer)
                ended = time.perf_counter()
                began = began or ended
                peaks[worker] = max(peak, peaks.get(worker, 0))
                if place >= workers:
                    faces += report.faces
                    steps = {name: steps.get(name, 0.0) + spent for name, spent in report.seconds.items()}
            closing = time.perf_counter()
            finish(stage)
            seconds.append(ended - began + time.perf_counter() - closing)
            memory = max(memory, sum(peaks.values()) + (_peak_memory() if workers > 1 else 0))
    return {
        "photographs": len(question["keys"]),
        "faces": faces,
        "seconds": seconds,
        "step_seconds": steps,
        "peak_memory_bytes": memory,
        "versions": versions(),
    }


def _job(question: dict[str, Any]) -> RunJob:
    """The fused run that is asked about; its folder is still to be chosen."""
    return RunJob(
        root=Path(question["root"]),
        run=Path(),
        weights=Path(question["weights"]),
        detector=question["detector"],
        embedder=question["embedder"],
        backend=question["backend"],
        options=RuntimeOptions(threads=question["threads"], precision=question["precision"]),
        batch=question["batch"],
        shard_size=question["shard_size"],
        settings=default_settings(question["detector"]),
    )


@contextmanager
def open_measured(asked: tuple[RunJob, int], worker: int) -> Iterator[Callable[[tuple[bool, Shard]], Measured]]:
    """A worker of the fused run that says who it is and how much memory it took.

    A warm-up does one of the shards, which is done again when its turn comes, and ends when all that were to be warmed
    up are.
    """
    job, workers = asked

    def measured(item: tuple[bool, Shard]) -> Measured:
        is_warm_up, shard = item
        report = do(shard)
        if is_warm_up:
            (job.run / f"{WARM}{worker}").touch()
            while len(list(job.run.glob(f"{WARM}*"))) < workers:
                time.sleep(0.002)
        return worker, _peak_memory(), report

    with open_fused(job, worker) as do:
        yield measured


def detection(question: dict[str, Any]) -> dict[str, Any]:
    """Seconds over the photographs, read and searched one after another in this process, and every face counted.

    With "size" (height, width), a detector of one network is shown inputs of that size.
    """
    options = RuntimeOptions(threads=question["threads"], precision=question["precision"])
    backend, root = backend_by_name(question["backend"], options), Path(question["root"])
    seconds, faces = list[float](), 0
    settings = default_settings(question["detector"])
    if "size" in question:
        assert isinstance(settings, SingleShotSettings), "a cascade builds its own pyramid"
        settings = replace(settings, fit=Stretch(*question["size"]))
    with open_detector(
        question["detector"], backend, Path(question["weights"]), question["batch"], settings
    ) as detector:
        detector.detect([read(root / question["keys"][0])])
        for _ in range(question["repeats"]):
            began, faces = time.perf_counter(), 0
            for members in read_photographs(root, question["keys"], question["batch"]):
                images = [member.pixels for member in members if not isinstance(member.pixels, Unread)]
                faces += sum(map(len, detector.detect(images)))
            seconds.append(time.perf_counter() - began)
    return {
        "photographs": len(question["keys"]),
        "faces": faces,
        "seconds": seconds,
        "peak_memory_bytes": _peak_memory(),
        "versions": versions(),
    }


def profile(question: dict[str, Any]) -> dict[str, Any]:
    """Where the time of a run goes: the seconds of every step in one process, and each network's calls by shape.

    The photographs are one shard of a fused run, done twice; what is told is the second time, when every shape has been
    seen.
    """
    job = _job(question)
    backend, spec = backend_by_name(job.backend, job.options), embedder(job.embedder)
    calls = list[tuple[str, tuple[int, ...], float]]()

    def timed(name: str, run: Run) -> Run:
        def call(image: np.ndarray) -> tuple[np.ndarray, ...]:
            began = time.perf_counter()
            outputs = run(image)
            calls.append((name, image.shape, time.perf_counter() - began))
            return outputs

        return call

    with (
        tempfile.TemporaryDirectory(prefix="facepipe-bench-") as folder,
        open_detector(job.detector, backend, job.weights, job.batch) as detector,
        open_embedder(spec, backend, job.weights, job.batch) as recogniser,
    ):
        detector = timed_detector(detector, timed)
        recogniser = replace(recogniser, run=timed(spec.name, recogniser.run))
        pipeline = FacePipeline(detector, recogniser, alignment_of(job.detector, job.embedder), job.selection)
        job = replace(job, run=Path(folder))
        stage = fused_stage(job, question["keys"], models_of(job))
        begin(stage, job.root.joinpath)
        for _ in range(2):
            calls.clear()
            report = do_shard(job, stage.shards()[0], pipeline)
    return {
        "photographs": len(question["keys"]),
        "step_seconds": report.seconds,
        "calls": calls,
        "versions": versions(),
    }


def timed_detector(detector: Detector, timed: Callable[[str, Run], Run]) -> Detector:
    """The same detector, each of its networks replaced by what `timed` makes of its name and itself."""
    if isinstance(detector, SingleShotDetector):
        return replace(detector, run=timed(detector.spec.name, detector.run))
    assert isinstance(detector, Mtcnn)
    return replace(
        detector,
        pnet=timed("pnet", detector.pnet),
        rnet=timed("rnet", detector.rnet),
        onet=timed("onet", detector.onet),
    )


def limits(question: dict[str, Any]) -> dict[str, Any]:
    """Operations per second of the processor's own multiply-adds, by precision, with as many threads as asked for.

    Raises:
        BackendError: there is no compiler to measure them with.
    """
    if importlib.util.find_spec("llvmlite") is None:
        raise BackendError(
            "bench: no module named 'llvmlite', which measures the processor.", "pip install 'facepipe[native]'"
        )
    from benchmarks.peak import peaks

    return peaks(question["threads"])


def network(question: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of one call at the shape asked for: the median, and how many calls it is of."""
    spec = model(question["model"])
    options = RuntimeOptions(
        threads=question["threads"],
        device=question.get("device", 0),
        precision=question["precision"],
        hint=question["hint"],
    )
    backend = backend_by_name(question["backend"], options)
    shape = tuple(question["shape"])
    with open_session(backend, spec, model_file(backend, spec, Path(question["weights"]), shape[0])) as session:
        latency = time_calls(session.run, shape)
    return {"latency_ms": latency.median_ms, "calls": latency.calls, "peak_memory_bytes": _peak_memory()}


def _peak_memory() -> int:
    return memory_of_process(os.getpid())


if __name__ == "__main__":
    main()
