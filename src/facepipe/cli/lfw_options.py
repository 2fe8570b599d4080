# SPDX-License-Identifier: Apache-2.0
"""What the commands over LFW share: their options, the job that these ask for, and the result in a few lines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facepipe.catalogue import embedder
from facepipe.cli.run_options import (
    add_model_arguments,
    add_run_arguments,
    chosen_backend,
    chosen_embedder,
    detector_settings,
    limits,
    note_models,
    runtime_options,
    shard_size,
)
from facepipe.datasets.lfw import IN_ORDER
from facepipe.faces.pipeline import alignment_note
from facepipe.runs.job import RunJob, made_by
from facepipe.runs.lfw import LfwJob, lfw_folders, lfw_keys
from facepipe.runs.score import MISSING_POLICIES, UNREAD_POLICIES, Policies
from facepipe.store.run_record import ACCURACY_FILE
from facepipe.terminal.output import add_output_arguments, note

SEEDED_NOTE = "note: {name} has seeded weights; this accuracy shows the pipeline working and nothing about the network."


def add_lfw_arguments(parser: argparse.ArgumentParser) -> None:
    """What a run over LFW is told, whole or by stages."""
    text = "photographs (default: a table's folder, or data/lfw, or the mirror's)"
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=text)
    text = "LFW's pairs file, or a .csv (default: pairs.txt in --data)"
    parser.add_argument("--pairs", type=Path, metavar="FILE", help=text)
    parser.add_argument("--cfp", choices=["FF", "FP"], help="--data is CFP's root: frontal against frontal, or profile")
    text = "folder of the results (default: named from the other options)"
    parser.add_argument("--run", type=Path, metavar="FOLDER", help=text)
    parser.add_argument(
        "--all", action="store_true", help="every photograph of the folder, not those of the pairs alone"
    )
    parser.add_argument("--missing", default="different", choices=MISSING_POLICIES, help="pairs that lack a face")
    parser.add_argument(
        "--unread", default="error", choices=UNREAD_POLICIES, help="pairs whose photograph cannot be read"
    )
    add_model_arguments(parser, backend="onnxruntime", everyday=False)
    add_run_arguments(parser)
    add_output_arguments(parser)


def run_job(args: argparse.Namespace, root: Path, run: Path, photographs: int) -> RunJob:
    """The run over so many photographs of `root` that a command line asks for."""
    return RunJob(
        root=root,
        run=run,
        weights=args.weights,
        detector=args.detector,
        embedder=args.embedder,
        backend=args.backend,
        options=runtime_options(args),
        batch=args.batch,
        selection=args.select,
        shard_size=shard_size(args, photographs),
        settings=detector_settings(args),
        limits=limits(args),
        other_processor=args.other_processor,
    )


def lfw_job(args: argparse.Namespace) -> LfwJob:
    """The job that a command line asks for; names its embedder where it named none.

    Raises:
        AssetError: LFW is not here.
        DataError: the pairs file has another form.
    """
    root, pairs_path = lfw_folders(args.data, args.pairs, args.cfp)
    keys, pairs = lfw_keys(root, pairs_path, every=args.all, unread=args.unread)
    args.embedder = chosen_embedder(args)
    chosen_backend(args, args.embedder, made_by(args.run) if args.run and not args.force else None, args.run)
    told = "lfw" if pairs_path.suffix == ".txt" else pairs.name
    named = [told, args.detector, args.embedder, args.backend, args.precision, f"bs{args.batch}"]
    run = args.run or Path("runs") / "-".join([*named, *(["all"] if args.all else [])])
    job = run_job(args, root, run, len(keys))
    return LfwJob(job, keys, pairs, Policies(args.missing, args.unread))


def tell_notes(args: argparse.Namespace, job: RunJob) -> None:
    """What a user has to know before a run."""
    if not embedder(job.embedder, job.weights).for_accuracy:
        note(args, SEEDED_NOTE.format(name=job.embedder))
    note_models(args, alignment_note(job.detector, job.embedder, job.weights))


def summary(asked: LfwJob, accuracy: dict[str, Any]) -> str:
    """The result in a few lines; the count of missing pairs and their policy stand beside the number."""
    measured, pairs, images = accuracy["accuracy"], accuracy["pairs"], accuracy["images"]
    low, high = min(measured["thresholds"]), max(measured["thresholds"])
    rule = "" if asked.pairs.rule == IN_ORDER else f" ({asked.pairs.rule})"
    lines = [
        f"accuracy {measured['mean']:.4f} +- {measured['std']:.4f} over {len(measured['per_fold'])} folds of "
        f"{asked.pairs.name}{rule}; {pairs['missing']:,} of {pairs['total']:,} pairs lack a face "
        f"(policy: {pairs['missing_policy']})"
        + (f", {pairs['unread']:,} cannot be read (policy: {pairs['unread_policy']})" if pairs["unread"] else ""),
        f"TAR at FAR 1e-3 {accuracy['tar_at_far_1e-3']:.4f}   AUC {accuracy['auc']:.5f}   EER {accuracy['eer']:.4f}   "
        f"thresholds {low:.2f} to {high:.2f}",
        f"{images['total']:,} photographs, {len(images['no_face']):,} without a face"
        + (f" (first: {images['no_face'][0]})" if images["no_face"] else "")
        + (f", {len(images['unread']):,} unread (first: {images['unread'][0]})" if images["unread"] else ""),
        f"{accuracy['detector']} + {accuracy['embedder']} on {accuracy['backend']}, {accuracy['precision']}, "
        f"batch {accuracy['batch']}: {asked.job.run / ACCURACY_FILE}",
    ]
    if not accuracy["for_accuracy"]:
        lines.append(SEEDED_NOTE.format(name=accuracy["embedder"]))
    return "\n".join(lines)
