# SPDX-License-Identifier: Apache-2.0
"""facepipe cluster photographs/ --out people/

Groups the unnamed faces of a folder into people: a contact sheet for each (person-0001.png is the one with most
faces), and clusters.json with every face, its photograph and its group. A run of `facepipe embed` or `facepipe lfw`
can be given in place of the folder; its embeddings are used as they are. --truth also says how well the groups agree
with the folders' names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.catalogue import embedder
from facepipe.cli._bar import bar
from facepipe.cli.run_options import (
    add_model_arguments,
    chosen_backend,
    chosen_embedder,
    detector_settings,
    limits,
    print_left_out,
    print_note,
    print_notes_of,
)
from facepipe.escape import for_terminal
from facepipe.faces.photographs import photographs_of
from facepipe.faces.pipeline import open_pipeline
from facepipe.gallery.clusters import agreement, cluster_faces, faces_of_run
from facepipe.gallery.faces import FolderFaces, folder_faces
from facepipe.reports.contact_sheets import write_sheets
from facepipe.store.files import write_json
from facepipe.store.owned import claim
from facepipe.store.run_faces import FACES_FILE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("photographs", type=Path, metavar="PHOTOGRAPHS", help="a folder, or a finished run")
    add("--out", type=Path, required=True, metavar="FOLDER", help="gets the sheets and clusters.json")
    # On LFW's 7,700 faces with mobilefacenet.ms1m: B-cubed F 0.979 at 0.5, 0.935 at 0.45, 0.973 at 0.55.
    add("--similarity", type=float, default=0.5, help="cosine of two faces of one person (default: %(default)s)")
    add("--truth", action="store_true", help="the first sub-folder is the person: print precision and recall")
    add("--no-sheets", action="store_true", help="write clusters.json alone")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    claim(args.out, "--out with another folder.")
    is_run = (args.photographs / FACES_FILE).is_file()
    name, root, found = faces_of_run(args.photographs) if is_run else _of_folder(args)
    print_left_out(root, found.left_out)
    groups = cluster_faces(found.embeddings, args.similarity)
    names = [f"person-{group + 1:04d}" if group >= 0 else "alone" for group in groups.tolist()]
    content: dict[str, object] = {
        "format": 1,
        "embedder": name,
        "similarity": args.similarity,
        "root": str(root),
        "faces": [
            {"key": key, "box": [round(value, 2) for value in face.box.tolist()], "group": group}
            for (key, face), group in zip(found.faces, names, strict=True)
        ],
    }
    people, alone = int(groups.max(initial=-1)) + 1, int((groups < 0).sum())
    print(f"{len(names):,} faces: {people:,} people with two or more, {alone:,} faces alone")
    if args.truth:
        agreed = agreement(groups, found)
        print(
            f"B-cubed against {agreed.people:,} folders: precision {agreed.precision:.4f}, "
            f"recall {agreed.recall:.4f}, F {agreed.f:.4f}"
        )
        content["b_cubed"] = {"precision": agreed.precision, "recall": agreed.recall, "f": agreed.f}
    write_json(args.out / "clusters.json", content)
    if not args.no_sheets and names:
        sheets = {
            group: [entry for entry, own in zip(found.faces, names, strict=True) if own == group]
            for group in sorted(set(names), key=lambda group: (group == "alone", group))
        }
        with bar("sheets", len(sheets), "sheet") as progress:
            write_sheets(args.out, root, dict(sheets), embedder(name), limits(args), progress)
    print(for_terminal(f"{args.out}: clusters.json{'' if args.no_sheets else ' and a sheet for each person'}"))
    return 0


def _of_folder(args: argparse.Namespace) -> tuple[str, Path, FolderFaces]:
    name, root = chosen_embedder(args), args.photographs
    keys = photographs_of(root, args.out)
    backend = chosen_backend(args, name)
    settings = detector_settings(args)
    with (
        open_pipeline(args.detector, name, backend, args.weights, args.batch, settings=settings) as faces,
        bar("faces", len(keys), "photograph") as progress,
    ):
        print_note(faces.note)
        found = folder_faces(root, keys, faces, batch=args.batch, limits=limits(args), progress=progress)
    print_notes_of(root, keys, out=args.out)
    return name, root, found
