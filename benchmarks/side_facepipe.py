# SPDX-License-Identifier: Apache-2.0
"""One worker of facepipe's side: `python -m benchmarks.side_facepipe`, in lines as `benchmarks.sides` tells.

It is a worker of the fused run, as the engine opens one, and may be that of another checkout, whose sources stand first
in PYTHONPATH: what is imported here has to be in both. In older checkouts rooms have other names, and the keys travel
in the job instead of by shard.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any


def main() -> None:
    """Load, say so, then do one shard for each line."""
    settings = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    facepipe, fused = importlib.import_module("facepipe"), _room("runs.faces_run", "preprocess.fused")
    sources = str(Path(facepipe.__path__[0]).resolve())
    if settings["sources"] not in (None, sources):
        sys.exit(f"facepipe was imported from {sources}, expected {settings['sources']}")
    jobs, stages = _room("runs.job", "preprocess.job"), _room("store.stage", "pipeline.stage")
    provenance = _room("store.provenance", "pipeline.provenance")
    job = _job(settings, jobs, with_keys=not hasattr(stages, "Shard"))
    with tempfile.TemporaryDirectory(prefix="facepipe-bench-") as folder:
        job = replace(job, run=Path(folder))
        by_shard, models = hasattr(stages, "Shard"), jobs.models_of(job)
        if hasattr(job, "models"):  # older commits loaded what lay there
            job = replace(job, models=models)
        stage = fused.fused_stage(job, *([tuple(settings["keys"])] if by_shard else []), models)
        asks_for_photographs = "path_of" in inspect.signature(stages.begin).parameters
        stages.begin(stage, *([job.root.joinpath] if asks_for_photographs else []))
        items = stage.shards() if by_shard else range(stage.shard_count)
        with fused.open_fused(job if by_shard else (job, stage), settings["worker"]) as do:
            say({"versions": provenance.versions()})
            for line in sys.stdin:
                say({"faces": do(items[json.loads(line)["shard"]]).faces})


def _room(*names: str) -> ModuleType:
    """The first of these modules of facepipe that there is; later names are those of older commits."""
    for name in names[:-1]:
        room = f"facepipe.{name.partition('.')[0]}"
        if importlib.util.find_spec(room) is not None and importlib.util.find_spec(f"facepipe.{name}") is not None:
            return importlib.import_module(f"facepipe.{name}")
    return importlib.import_module(f"facepipe.{names[-1]}")


def _job(settings: dict[str, Any], jobs: ModuleType, *, with_keys: bool) -> Any:
    """The run that is asked for; its folder is still to be chosen."""
    options = importlib.import_module("facepipe.backends.base").RuntimeOptions
    detect = importlib.import_module("facepipe.detect")
    return jobs.RunJob(
        root=Path(settings["root"]),
        **({"keys": tuple(settings["keys"])} if with_keys else {}),
        run=Path(),
        weights=Path(settings["weights"]),
        detector=settings["detector"],
        embedder=settings["embedder"],
        backend=settings["backend"],
        options=options(threads=settings["threads"], precision=settings["precision"]),
        batch=settings["batch"],
        shard_size=settings["shard_size"],
        settings=detect.default_settings(settings["detector"]),
    )


if __name__ == "__main__":
    main()
