# SPDX-License-Identifier: Apache-2.0
"""facepipe verify one.jpg other.jpg

Are two photographs of the same person? Prints the cosine of the two embeddings (-1 to 1; higher is more alike), their
squared distance (2 - 2 cosine), and a verdict: by the threshold that was measured for the embedder, with the rate that
it stands for, or by --threshold. Without either it says that there is none. The exit status is 0 whatever the verdict
is (--json has it as `same`: true, false or null), and 1 where a photograph cannot be read or shows no face.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from facepipe.catalogue import embedder
from facepipe.cli.run_options import (
    add_model_arguments,
    chosen_backend,
    chosen_embedder,
    cosine,
    few_settings,
    limits,
    note_models,
)
from facepipe.errors import DataError
from facepipe.faces.photographs import decoded_or_error
from facepipe.faces.pipeline import open_pipeline
from facepipe.faces.verdict import in_words, verdict
from facepipe.results import NoFace
from facepipe.terminal.output import add_output_arguments, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("first", "second"):
        parser.add_argument(name, type=Path, metavar="PHOTOGRAPH", help="a file")
    parser.add_argument("--threshold", type=cosine, metavar="COSINE", help="of one's own (default: the catalogue's)")
    add_model_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    spec = embedder(chosen_embedder(args), args.weights)
    backend = chosen_backend(args, spec.name)
    settings = few_settings(args, 2)
    with open_pipeline(
        args.detector, spec.name, backend, args.weights, args.batch, settings=settings, selection=args.select
    ) as faces:
        note_models(args, faces.note)
        rows = []
        for path in (args.first, args.second):
            (face,) = faces.main_faces([decoded_or_error(path, limits(args))])
            if isinstance(face, NoFace):
                raise DataError(f"{path}: {face.reason}, expected a face.", "--min-face with fewer pixels.")
            rows.append(face.embedding)
    found = verdict(rows[0], rows[1], spec, faces.note, args.threshold)
    measured = f"distance {found.distance:.4f}, cosine {found.similarity:.4f} ({spec.name}; squared Euclidean, 0 to 4)"
    result(args, f"{measured}\n{in_words(found)}", {"embedder": spec.name, **asdict(found)})
    if not spec.for_accuracy:
        note(args, "these weights are seeded: the distance says nothing about people.")
    return 0
