# SPDX-License-Identifier: Apache-2.0
"""facepipe verify one.jpg other.jpg

Are two photographs of the same person? Prints the squared Euclidean distance of the two embeddings (0 to 4; smaller is
more alike), and a verdict only where the catalogue holds a threshold for the embedder, with its source.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from facepipe.catalogue import embedder
from facepipe.cli.run_options import (
    add_model_arguments,
    chosen_backend,
    chosen_embedder,
    few_settings,
    limits,
    print_note,
)
from facepipe.errors import DataError
from facepipe.faces.photographs import decoded_or_error
from facepipe.faces.pipeline import open_pipeline
from facepipe.metrics.verification import squared_distances
from facepipe.results import NoFace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    spec = embedder(chosen_embedder(args))
    backend = chosen_backend(args, spec.name)
    settings = few_settings(args, 2)
    with open_pipeline(
        args.detector, spec.name, backend, args.weights, args.batch, settings=settings, selection=args.select
    ) as faces:
        print_note(faces.note)
        rows = []
        for path in (args.first, args.second):
            (face,) = faces.main_faces([decoded_or_error(path, limits(args))])
            if isinstance(face, NoFace):
                raise DataError(f"{path}: {face.reason}, expected a face.", "--min-face with fewer pixels.")
            rows.append(face.embedding)
    distance = float(squared_distances(rows[0][None], rows[1][None])[0])
    verdict = None if spec.threshold is None else distance < spec.threshold.value
    if args.json:
        threshold = None if spec.threshold is None else spec.threshold.value
        print(json.dumps({"embedder": spec.name, "distance": distance, "threshold": threshold, "same": verdict}))
        return 0
    print(f"distance {distance:.4f} ({spec.name}, squared Euclidean, 0 to 4)")
    if spec.threshold is None or verdict is None:
        print("no verdict: the catalogue holds no threshold for this embedder.")
    else:
        words = "the same person" if verdict else "different people"
        print(f"{words} (threshold {spec.threshold.value}: {spec.threshold.source})")
    if not spec.for_accuracy:
        print("these weights are seeded: the distance says nothing about people.")
    return 0
