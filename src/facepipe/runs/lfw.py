# SPDX-License-Identifier: Apache-2.0
"""LFW, CFP, or any folder with a table of pairs: photographs to verification accuracy."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facepipe.assets.lfw import locate_lfw
from facepipe.assets.workspace import open_workspace
from facepipe.backends import backend_by_name
from facepipe.catalogue import embedder
from facepipe.datasets.cfp import cfp_protocol
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import VerificationSet, is_table, read_verification_set
from facepipe.engine import Engine
from facepipe.errors import DataError, StageError
from facepipe.faces.pipeline import alignment_note
from facepipe.runs.faces_run import FacesRun, Progress, run_faces, silent
from facepipe.runs.job import RunJob, model_precisions, told_of
from facepipe.runs.score import Policies, Provenance, score_run
from facepipe.runs.score_verification import VERIFICATION_FILE
from facepipe.runs.staged_run import run_all_stages
from facepipe.store.files import lacking
from facepipe.store.provenance import ModelFile, versions
from facepipe.store.run_record import ACCURACY_FILE, WRITTEN, adding, digests_of, read_run, require_finished
from facepipe.store.stage import locked


@dataclass(frozen=True, slots=True)
class LfwJob:
    """A run over the photographs that a verification set names (or all of the folder), and the set."""

    job: RunJob
    keys: tuple[str, ...]
    pairs: VerificationSet
    policies: Policies = field(default_factory=Policies)


def lfw_folders(data: Path | None, pairs: Path | None, cfp: str | None = None) -> tuple[Path, Path]:
    """Root of the photographs and what holds the pairs: as given, else data/lfw, else the mirror's.

    Args:
        data: a folder of photographs; None: a table's own folder, or LFW's.
        pairs: a file in LFW's form, a table (`.csv`), or a folder of CFP's protocol; None: pairs.txt in `data`.
        cfp: FF or FP: `data` is CFP's root, and the pairs are those of this protocol.

    Raises:
        AssetError: nothing was given and LFW is in none of these places.
        DataError: what was given is not there, or does not go together.
    """
    if cfp is not None:
        if data is None or pairs is not None:
            raise DataError("cfp: expected CFP's root as --data, and no --pairs beside it.", "--data cfp-dataset")
        return data, cfp_protocol(data, cfp)
    if pairs is not None and not pairs.exists():
        raise DataError(f"{pairs}: no such file, expected a pairs file.", "`facepipe fetch lfw`, or --pairs FILE")
    if pairs is not None and (pairs.is_dir() or is_table(pairs)):
        root = data or (pairs.absolute().parents[2] if pairs.is_dir() else pairs.parent)
        default_pairs = pairs
    elif data is None:
        root, default_pairs = locate_lfw(open_workspace())
    elif (data / "Protocol").is_dir() and pairs is None:
        raise DataError(f"{data}: it looks like CFP's root, expected its protocol.", "--cfp FF, or --cfp FP.")
    else:
        # A mirror keeps the photographs in images/, beside the pairs; the archive unpacks them into the folder itself.
        root = data / "images" if (data / "images").is_dir() else data
        default_pairs = data / "pairs.txt"
    chosen = pairs or default_pairs
    if not root.is_dir():
        raise DataError(
            f"{root}: {lacking(root, 'folder')}, expected LFW's photographs.", "`facepipe fetch lfw`, or --data FOLDER."
        )
    if not chosen.exists():
        raise DataError(f"{chosen}: no such file, expected a pairs file.", "`facepipe fetch lfw`, or --pairs FILE")
    return root, chosen


def lfw_keys(
    root: Path, pairs_file: Path, *, every: bool = False, unread: str = "error"
) -> tuple[tuple[str, ...], VerificationSet]:
    """The photographs that the pairs name, sorted, and the pairs; with `every` all photographs of the folder too.

    Args:
        unread: what becomes of pairs with a photograph that cannot be read. Where those are an error, so is a
            photograph that is not there, now and not after hours of work.

    Raises:
        DataError: the pairs have another form, or such a photograph.
    """
    pairs = read_verification_set(pairs_file, root)
    if unread == "error":
        keys = pairs.keys()
        absent = {key for key in keys if not (root / key).is_file()}
        for pair, place in zip(pairs.pairs, pairs.places, strict=True):
            for key in (pair.first, pair.second):
                if key in absent:
                    raise DataError(
                        f"{pairs_file}: {len(absent):,} of {len(keys):,} photographs are not below {root} "
                        f"(first: {key}, {place}), expected all of them.",
                        "--data FOLDER; or --unread=different or --unread=skip, which is said beside the accuracy.",
                    )
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
    sources = named_sources(asked.pairs)
    provenance = Provenance(
        detector=job.detector,
        embedder=job.embedder,
        backend=job.backend,
        batch=job.batch,
        weights={file.model: file.weights_sha256 for file in models},
        versions=versions(),
        for_accuracy=embedder(job.embedder, job.weights).for_accuracy,
        details={
            "precision": "compiled in" if traits.compiled else job.options.precision,
            "model_precisions": model_precisions(job),
            "selection": job.selection,
            "alignment_note": alignment_note(job.detector, job.embedder, job.weights),
            "sources": digests_of(job.run, WRITTEN) | {name: digest for name, (_, digest) in sources.items()},
            **told_of(models),
        },
    )
    with adding(job.run, [ACCURACY_FILE], sources):
        return score_run(job.run, asked.pairs, asked.policies, provenance)


def named_sources(pairs: VerificationSet) -> dict[str, tuple[Path, str]]:
    """The files that a set was read from, with their digests, as run.json calls them: `pairs`, or each after its path
    in CFP's protocol: `pairs/Split/FF/01/same.txt`."""
    if len(pairs.files) == 1:
        return {"pairs": pairs.files[0]}
    root = os.path.commonpath([path.parent for path, _ in pairs.files] or [Path()])
    return {f"pairs/{path.relative_to(root).as_posix()}": (path, digest) for path, digest in pairs.files}


def require_scored(run: Path) -> None:
    """Raise StageError where `run` is not the folder of a run with an accuracy, saying what it is."""
    if (run / ACCURACY_FILE).is_file():
        return
    attempt = "`facepipe lfw --run FOLDER` scores pairs, of your own photographs too: --pairs album.csv."
    if (run / VERIFICATION_FILE).is_file():
        raise StageError(f"{run}: is of `facepipe verification`, expected a run of `facepipe lfw`.", attempt)
    require_finished(run)
    raise StageError(f"{run}: is a run without pairs and accuracy, expected one of `facepipe lfw`.", attempt)


def pairs_of(record: Mapping[str, Any]) -> Path | None:
    """What held the pairs of a scored run, of its record; to be read again by `read_verification_set`."""
    told = {name: source.get("path") for name, source in record["sources"].items() if name.partition("/")[0] == "pairs"}
    path = next((path for name, path in told.items() if name == "pairs" or name.endswith("/01/same.txt")), None)
    if not isinstance(path, str):
        return None
    return Path(path) if "pairs" in told else Path(path).parents[1]
