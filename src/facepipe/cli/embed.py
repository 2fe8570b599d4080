# SPDX-License-Identifier: Apache-2.0
"""facepipe embed photographs/ --out runs/mine

One embedding for each photograph of a folder, of its main face; or, with --faces all, for each face. Can be killed and
run again: finished shards are kept. What cannot be read, or has no face, is listed with its reason. Writes, in the
folder --out:

    faces.jsonl      one line for each face, sorted by key and face: key, face (its place, the best score first), box,
                     score, landmarks, sharpness, row; of a photograph without any: key and reason, unread or killed
    embeddings.npy   float32 [faces, D], rows of length 1; "row" of a line is its row here
    run.json         models by sha256, settings, versions, times
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from facepipe.catalogue import embedder
from facepipe.cli.lfw_options import run_job
from facepipe.cli.run_options import (
    add_model_arguments,
    add_run_arguments,
    chosen_backend,
    chosen_embedder,
    note_models,
    note_not_looked_at,
    worker_count,
)
from facepipe.datasets.images import list_keys
from facepipe.engine.local import Local
from facepipe.faces.pipeline import alignment_note
from facepipe.runs.faces_run import embed_photographs
from facepipe.runs.job import made_by
from facepipe.store.run_faces import unread_reasons
from facepipe.terminal.output import add_output_arguments, bars, counted, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs, in sub-folders as they are")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the results")
    parser.add_argument(
        "--faces",
        choices=["main", "all"],
        default="main",
        help="of each photograph (default: main, chosen by --select)",
    )
    add_model_arguments(parser)
    add_run_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    keys = list_keys(args.folder)
    args.embedder = chosen_embedder(args)
    chosen_backend(args, args.embedder, None if args.force else made_by(args.out), args.out)
    job = replace(run_job(args, args.folder, args.out, len(keys)), faces=args.faces)
    note_models(args, alignment_note(job.detector, job.embedder, job.weights))
    with bars(args, len(keys)) as progress:
        finished = embed_photographs(
            job, keys, Local(worker_count(args)), force=args.force, progress=progress("photographs")
        )
    written = finished.written
    note_not_looked_at(args, args.folder, keys, unread_reasons(args.out) if written.unread else (), out=args.out)
    left = f", {written.unread:,} unread" if written.unread else ""
    seen = f"{counted(written.images, 'photograph')}, {counted(written.faces, 'face')}"
    result(
        args,
        f"{seen}, {written.faceless:,} without{left}: {args.out}",
        {"run": str(args.out), "embedder": args.embedder, **asdict(written)},
    )
    if not embedder(args.embedder, args.weights).for_accuracy:
        note(args, f"{args.embedder} has seeded weights: its embeddings say nothing about people.")
    return 0
