# SPDX-License-Identifier: Apache-2.0
"""facepipe cluster photographs/ --out people/

Groups the unnamed faces of a folder into people: a contact sheet for each (person-0001.png is the one with most faces;
below each face stand its photograph, its number there, its box and score), and the faces with their groups and
embeddings (faces.jsonl, embeddings.npy, clusters.json). A run of `facepipe embed`, with --faces all or without, can be
given in place of the folder; its embeddings are used as they are. Then the people get their names:

  facepipe gallery build people/ --out family.gallery --names person-0001=Ann person-0007=Bob
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from facepipe.backends.base import MadeBy
from facepipe.catalogue import embedder
from facepipe.cli.run_options import (
    add_model_arguments,
    chosen_backend,
    chosen_embedder,
    detector_settings,
    limits,
    note_left_out,
    note_models,
    note_not_looked_at,
)
from facepipe.errors import DataError
from facepipe.escape import for_terminal
from facepipe.faces.photographs import photographs_of
from facepipe.gallery.cluster_folder import Pile, pile_of_run, remove_sheets, write_clusters
from facepipe.gallery.clusters import Linking, group_faces, similarity_of
from facepipe.gallery.faces import folder_faces, open_recogniser
from facepipe.reports.contact_sheets import write_sheets
from facepipe.store.owned import claim
from facepipe.store.run_faces import FACES_FILE
from facepipe.store.run_record import RUN_FILE
from facepipe.terminal.output import add_output_arguments, bar, result

_LINKING = {
    "similarity": "mean cosine down to which two groups are one person",
    "side": "pixels; a face of less links nobody",
    "sharpness": "variance of the Laplacian; a face of less links nobody",
    "score": "of the detector; a face of less links nobody",
}


_RESULT = ("embedder", "faces", "people", "alone", "weak", "truth")  # of clusters.json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("photographs", type=Path, metavar="PHOTOGRAPHS", help="a folder, or a finished run")
    add("--out", type=Path, required=True, metavar="FOLDER", help="gets the sheets, the faces and clusters.json")
    for field in fields(Linking):
        option = "--similarity" if field.name == "similarity" else f"--link-{field.name}"
        default = None if field.name == "similarity" else field.default
        told = "the recogniser's" if default is None else default
        add(
            option,
            dest=field.name,
            type=float,
            default=default,
            metavar="X",
            help=f"{_LINKING[field.name]} (default: {told})",
        )
    add("--truth", action="store_true", help="the first sub-folder is the person: print precision and recall")
    add("--no-sheets", action="store_true", help="draw nothing")
    add_model_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    claim(args.out, "--out with another folder.")
    if (args.out / RUN_FILE).is_file():
        raise DataError(f"{args.out}: is a run, whose files stay, expected a folder.", "--out with another folder.")
    pile = pile_of_run(args.photographs) if (args.photographs / FACES_FILE).is_file() else _of_folder(args)
    note_left_out(args, pile.root, pile.found.left_out)
    linking = _linking(args, pile.embedder)
    grouped = group_faces(pile.found.faces, pile.found.embeddings, linking)
    remove_sheets(args.out)
    told = write_clusters(args.out, pile, grouped, linking, truth=args.truth)
    lines = [
        f"{told['faces']:,} faces: {told['people']:,} people with two or more, {told['alone']:,} faces alone; "
        f"{told['weak']:,} faces too small, blurred or unsure to link others"
    ]
    for name, rates in told.get("truth", {}).items():
        if name != "folders":
            lines.append(f"{name}: " + ", ".join(f"{rate} {value:.4f}" for rate, value in rates.items()))
    if not args.no_sheets:
        with bar(args, "sheets", len(set(grouped.names)), "sheet") as progress:
            write_sheets(
                args.out,
                pile.root,
                pile.found.faces,
                grouped.names,
                grouped.weak,
                embedder(pile.embedder, args.weights),
                limits(args),
                progress,
            )
    lines.append(f"{args.out}: clusters.json{'' if args.no_sheets else ' and a sheet for each person'}")
    record = {"out": str(args.out), **{name: value for name, value in told.items() if name in _RESULT}}
    result(args, "\n".join(map(for_terminal, lines)), record)
    return 0


def _of_folder(args: argparse.Namespace) -> Pile:
    root = args.photographs
    keys = photographs_of(root, args.out)
    name = chosen_embedder(args)
    _linking(args, name)  # what is refused is refused before the work
    backend = chosen_backend(args, name)
    settings = detector_settings(args)
    with (
        open_recogniser(args.detector, name, backend, args.weights, args.batch, settings=settings) as recogniser,
        bar(args, "faces", len(keys), "photograph") as progress,
    ):
        faces = recogniser.pipeline
        note_models(args, faces.note)
        found = folder_faces(root, keys, faces, batch=args.batch, limits=limits(args), progress=progress)
        note_not_looked_at(args, root, keys, out=args.out)
        return Pile(root, name, recogniser.weights_sha256, MadeBy(args.backend, args.precision), found, faces.note)


def _linking(args: argparse.Namespace, name: str) -> Linking:
    similarity = similarity_of(embedder(name, args.weights)) if args.similarity is None else args.similarity
    return Linking(similarity, args.side, args.sharpness, args.score)
