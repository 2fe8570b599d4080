# SPDX-License-Identifier: Apache-2.0
"""facepipe lfw --data data/lfw --batch 16 --run runs/lfw

Photographs to LFW verification accuracy: detect, crop, embed, and score the pairs by ten folds. Can be killed and run
again. Writes accuracy.json, faces.jsonl, embeddings.npy and run.json into --run. With --staged the work is done stage
by stage through files (and `.bin` batches), with the same boxes and the same accuracy. With --report also roc.png,
distances.png and report.html, the whole run as one page.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facepipe.assets.lfw import locate_lfw
from facepipe.assets.workspace import open_workspace
from facepipe.backends import backend_by_name
from facepipe.catalogue import embedder
from facepipe.cli.run_options import (
    add_model_arguments,
    add_run_arguments,
    chosen_backend,
    chosen_embedder,
    detector_settings,
    runtime_options,
    shard_size,
    worker_count,
)
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import VerificationSet, extensions_in, read_pairs
from facepipe.errors import DataError
from facepipe.reports.html_report import write_html_report
from facepipe.reports.report_plots import write_report
from facepipe.runs.faces_run import run_faces
from facepipe.runs.job import RunJob, alignment_note, made_by, model_precisions
from facepipe.runs.provenance_check import results_of, seal
from facepipe.runs.score import ACCURACY_FILE, MISSING_POLICIES, Provenance, score_run
from facepipe.runs.staged_run import run_all_stages
from facepipe.store.files import sha256_of_file
from facepipe.store.provenance import ModelFile, versions
from facepipe.store.stage import locked


@dataclass(frozen=True, slots=True)
class LfwJob:
    """A run over the photographs that a verification set names (or all of them), and the set."""

    job: RunJob
    pairs: VerificationSet
    pairs_file: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_lfw_arguments(parser)
    parser.add_argument("--staged", action="store_true", help="stage by stage through files")
    parser.add_argument("--report", action="store_true", help="draw roc.png and distances.png; write report.html")
    parser.add_argument("--json", action="store_true", help="print accuracy.json instead of the summary")


def add_lfw_arguments(parser: argparse.ArgumentParser) -> None:
    """What a run over LFW is told, whole or by stages."""
    parser.add_argument("--data", type=Path, help="folder of LFW (default: data/lfw, else the mirror's)")
    parser.add_argument("--pairs", type=Path, help="pairs file (default: pairs.txt in the folder of LFW)")
    parser.add_argument("--run", type=Path, help="folder of the results (default: named from the other options)")
    parser.add_argument(
        "--all", action="store_true", help="every photograph of the folder, not those of the pairs alone"
    )
    parser.add_argument("--missing", default="different", choices=MISSING_POLICIES, help="pairs that lack a face")
    add_model_arguments(parser, backend="onnxruntime")
    add_run_arguments(parser)


def lfw_job(args: argparse.Namespace) -> LfwJob:
    """The job that a command line asks for.

    Raises:
        AssetError: LFW is not here.
        DataError: the pairs file has another form.
    """
    root, pairs_path = lfw_folders(args.data, args.pairs)
    pairs = read_pairs(pairs_path, extensions_in(root))
    keys = tuple(sorted({*pairs.keys(), *(list_keys(root) if args.all else ())}))
    name = chosen_embedder(args)
    chosen_backend(args, name, made_by(args.run) if args.run and not args.force else None, args.run)
    run = args.run or Path("runs") / "-".join(
        ["lfw", args.detector, name, args.backend, args.precision, f"bs{args.batch}", *(["all"] if args.all else [])]
    )
    job = RunJob(
        root=root,
        keys=keys,
        run=run,
        weights=args.weights,
        detector=args.detector,
        embedder=name,
        backend=args.backend,
        options=runtime_options(args),
        batch=args.batch,
        selection=args.select,
        shard_size=shard_size(args, len(keys)),
        settings=detector_settings(args),
        max_pixels=args.max_pixels,
    )
    return LfwJob(job, pairs, pairs_path)


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


def run(args: argparse.Namespace) -> int:
    asked = lfw_job(args)
    if not embedder(asked.job.embedder).for_accuracy:
        print(SEEDED_NOTE.format(name=asked.job.embedder))
    if note := alignment_note(asked.job):
        print(f"note: {note}")
    with locked(asked.job.run):
        if args.staged:
            models = run_all_stages(asked.job, worker_count(args), force=args.force)
        else:
            models = run_faces(asked.job, worker_count(args), force=args.force).models
        accuracy = score_lfw(asked, models, args.missing)
        drawings: tuple[Path, ...] = ()
        if args.report:
            pictures = write_report(asked.job.run, asked.pairs, accuracy)
            drawings = (*pictures, write_html_report(asked.job.run, asked.pairs, asked.job.root))
    print(json.dumps(accuracy, indent=2, ensure_ascii=False) if args.json else summary(asked, accuracy))
    for path in drawings:
        print(f"drawn: {path}")
    return 0


SEEDED_NOTE = "note: {name} has seeded weights; this accuracy shows the pipeline working and nothing about the network."


def score_lfw(asked: LfwJob, models: tuple[ModelFile, ...], missing: str) -> dict[str, Any]:
    """Score a finished run; write its accuracy.json, and what that came from into run.json."""
    job = asked.job
    compiled = backend_by_name(job.backend, job.options).traits.compiled
    provenance = Provenance(
        detector=job.detector,
        embedder=job.embedder,
        backend=job.backend,
        batch=job.batch,
        weights={file.model: file.weights_sha256 for file in models},
        versions=versions(),
        for_accuracy=embedder(job.embedder).for_accuracy,
        details={
            "engines": {file.model: file.engine for file in models},
            "precision": "compiled in" if compiled else job.options.precision,
            "model_precisions": model_precisions(job),
            "selection": job.selection,
            "alignment_note": alignment_note(job),
            "sources": results_of(job.run, scored=False) | {"pairs": sha256_of_file(asked.pairs_file)},
            "models": {file.model: file.sha256 for file in models},
        },
    )
    accuracy = score_run(job.run, asked.pairs, missing, provenance)
    seal(job.run, {"pairs": asked.pairs_file})
    return accuracy


def summary(asked: LfwJob, accuracy: dict[str, Any]) -> str:
    """The result in a few lines; the count of missing pairs and their policy stand beside the number."""
    measured, pairs, images = accuracy["accuracy"], accuracy["pairs"], accuracy["images"]
    low, high = min(measured["thresholds"]), max(measured["thresholds"])
    lines = [
        f"accuracy {measured['mean']:.4f} +- {measured['std']:.4f} over {len(measured['per_fold'])} folds of "
        f"{asked.pairs.name}; {pairs['missing']:,} of {pairs['total']:,} pairs lack a face "
        f"(policy: {pairs['missing_policy']})",
        f"TAR at FAR 1e-3 {accuracy['tar_at_far_1e-3']:.4f}   AUC {accuracy['auc']:.5f}   EER {accuracy['eer']:.4f}   "
        f"thresholds {low:.2f} to {high:.2f}",
        f"{images['total']:,} photographs, {len(images['no_face']):,} without a face"
        + (f" (first: {images['no_face'][0]})" if images["no_face"] else ""),
        f"{accuracy['detector']} + {accuracy['embedder']} on {accuracy['backend']}, {accuracy['precision']}, "
        f"batch {accuracy['batch']}: {asked.job.run / ACCURACY_FILE}",
    ]
    if not accuracy["for_accuracy"]:
        lines.append(SEEDED_NOTE.format(name=accuracy["embedder"]))
    return "\n".join(lines)
