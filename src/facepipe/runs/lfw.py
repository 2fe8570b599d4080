# SPDX-License-Identifier: Apache-2.0
"""LFW, or any folder with a pairs file: photographs to verification accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facepipe.assets.lfw import locate_lfw
from facepipe.assets.workspace import open_workspace
from facepipe.backends import backend_by_name
from facepipe.catalogue import embedder
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import VerificationSet, extensions_in, read_pairs
from facepipe.engine import Engine
from facepipe.errors import DataError
from facepipe.faces.pipeline import alignment_note
from facepipe.runs.faces_run import FacesRun, Progress, run_faces, silent
from facepipe.runs.job import RunJob, model_precisions
from facepipe.runs.score import Policies, Provenance, score_run
from facepipe.runs.staged_run import run_all_stages
from facepipe.store.files import sha256_of_file
from facepipe.store.provenance import ModelFile, versions
from facepipe.store.run_record import ACCURACY_FILE, WRITTEN, adding, digests_of, read_run
from facepipe.store.stage import locked


@dataclass(frozen=True, slots=True)
class LfwJob:
    """A run over the photographs that a verification set names (or all of the folder), and the set."""

    job: RunJob
    keys: tuple[str, ...]
    pairs: VerificationSet
    pairs_file: Path
    policies: Policies = field(default_factory=Policies)


def lfw_folders(data: Path | None, pairs: Path | None) -> tuple[Path, Path]:
    """Root of the photographs and the pairs file: as given, else data/lfw, else the mirror's.

    Raises:
        AssetError: nothing was given and LFW is in none of these places.
        DataError: what was given is not there.
    """
    if data is None:
        root, default_pairs = locate_lfw(open_workspace())
    else:
        # A mirror keeps the photographs in images/, beside the pairs; the archive unpacks them into the folder itself.
        root = data / "images" if (data / "images").is_dir() else data
        default_pairs = data / "pairs.txt"
    chosen = pairs or default_pairs
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected LFW's photographs.", "`facepipe fetch lfw`")
    if not chosen.is_file():
        raise DataError(f"{chosen}: no such file, expected a pairs file.", "`facepipe fetch lfw`, or --pairs FILE")
    return root, chosen


def lfw_keys(root: Path, pairs_file: Path, *, every: bool = False) -> tuple[tuple[str, ...], VerificationSet]:
    """The photographs that the pairs name, sorted, and the pairs; with `every` all photographs of the folder too.

    Raises:
        DataError: the pairs file has another form.
    """
    pairs = read_pairs(pairs_file, extensions_in(root))
    return tuple(sorted({*pairs.keys(), *(list_keys(root) if every else ())})), pairs


def run_lfw(
    asked: LfwJob,
    engine: Engine,
    *,
    staged: bool = False,
    force: bool = False,
    progress: Callable[[str], Progress] = lambda _: silent,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run or resume, score, and write accuracy.json, faces.jsonl, embeddings.npy and run.json; accuracy.json's content.

    Args:
        staged: stage by stage through files; the boxes and the accuracy are the same.
        force: start over what was begun with other parameters.
        progress: from the name of what is done ("photographs", or a stage) to what is told of it.
        say: given the lines that a vendor's program prints.

    Raises:
        StageError: the folder belongs to another job, or a worker died.
        DataError: a pair cannot be judged and the policies allow none; see `runs.score`.
    """
    with locked(asked.job.run):
        done: FacesRun
        if staged:
            done = run_all_stages(asked.job, asked.keys, engine, force=force, progress=progress, say=say)
        else:
            done = run_faces(asked.job, asked.keys, engine, force=force, progress=progress("photographs"))
        return score_lfw(asked, done.models)


def score_lfw(asked: LfwJob, models: tuple[ModelFile, ...]) -> dict[str, Any]:
    """Score a finished run; write its accuracy.json, and what that came from into run.json.

    Raises:
        StageError: a result of the run is not the one that its record tells of.
        DataError: a pair cannot be judged and the policies allow none; see `runs.score`.
    """
    job = asked.job
    read_run(job.run)
    traits = backend_by_name(job.backend).traits
    provenance = Provenance(
        detector=job.detector,
        embedder=job.embedder,
        backend=job.backend,
        batch=job.batch,
        weights={file.model: file.weights_sha256 for file in models},
        versions=versions(),
        for_accuracy=embedder(job.embedder).for_accuracy,
        details={
            "precision": "compiled in" if traits.compiled else job.options.precision,
            "model_precisions": model_precisions(job),
            "selection": job.selection,
            "alignment_note": alignment_note(job.detector, job.embedder),
            "sources": digests_of(job.run, WRITTEN) | {"pairs": sha256_of_file(asked.pairs_file)},
            "models": {file.model: file.sha256 for file in models},
            "engines": {file.model: file.engine for file in models},
        },
    )
    with adding(job.run, [ACCURACY_FILE], {"pairs": asked.pairs_file}):
        return score_run(job.run, asked.pairs, asked.policies, provenance)
