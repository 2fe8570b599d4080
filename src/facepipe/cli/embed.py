# SPDX-License-Identifier: Apache-2.0
"""facepipe embed photographs/ --out runs/mine

One face and one embedding for each photograph of a folder. Can be killed and run again: finished shards are kept. What
cannot be read, or has no face, is listed with its reason. Writes, in the folder --out:

    faces.jsonl      one line for each photograph, sorted by key: key, box, score, landmarks, row; or key, reason
    embeddings.npy   float32 [faces, D], rows of length 1; "row" of a line is its row here
    run.json         models by sha256, settings, versions, times
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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
from facepipe.runs.faces_run import run_faces
from facepipe.runs.job import RunJob, alignment_note, made_by
from facepipe.store.stage import locked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs, in sub-folders as they are")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the results")
    add_model_arguments(parser)
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    name = chosen_embedder(args)
    keys = list_keys(args.folder)
    chosen_backend(args, name, None if args.force else made_by(args.out), args.out)
    job = RunJob(
        root=args.folder,
        keys=tuple(keys),
        run=args.out,
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
    if note := alignment_note(job):
        print(f"note: {note}", file=sys.stderr)
    with locked(args.out):
        finished = run_faces(job, worker_count(args), force=args.force)
    written = finished.written
    without = written.images - written.faces
    print(f"{written.images:,} photographs, {written.faces:,} faces, {without:,} without: {args.out}")
    if not embedder(name).for_accuracy:
        print(f"{name} has seeded weights: its embeddings say nothing about people.", file=sys.stderr)
    return 0
