# SPDX-License-Identifier: Apache-2.0
"""facepipe detect photograph.jpg --draw boxes.jpg

Prints the faces of photographs, files and folders of them, best score first: box (x1, y1, x2, y2) in pixels of the
upright photograph, score, landmarks. `-` is a photograph from standard input. With --json one line for each photograph.

--draw writes photographs with their faces marked: one to a file, in the format that its name ends with; several into a
folder, below their own paths and in their own formats (JPEG in quality 90; what a format cannot hold becomes PNG).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.cli.run_options import (
    add_model_arguments,
    add_overwrite,
    chosen_backend,
    few_settings,
    limits,
    note_models,
    note_not_looked_at,
)
from facepipe.faces.pipeline import open_pipeline
from facepipe.reports.detected import (
    TEXT_HEADER,
    detect_photographs,
    drawing_paths,
    in_another_format,
    photographs_given,
    standard_input,
)
from facepipe.results import Unread
from facepipe.terminal.output import add_output_arguments, bar, fault, heading, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", nargs="+", type=Path, metavar="PHOTOGRAPH", help="a file, a folder, or -")
    parser.add_argument("--draw", type=Path, metavar="OUT", help="a picture; of several photographs a folder")
    add_overwrite(parser)
    add_model_arguments(parser, embeds=False)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    photographs = photographs_given(args.photographs, args.draw)
    drawings = {}
    if args.draw is not None:
        drawings = drawing_paths(args.photographs, photographs, args.draw, overwrite=args.overwrite)
        note_models(args, in_another_format(drawings))
    content = standard_input(photographs)
    backend = chosen_backend(args, None)
    settings = few_settings(args, len(photographs))
    unread = 0
    with (
        open_pipeline(args.detector, None, backend, args.weights, args.batch, settings=settings) as faces,
        bar(args, "detect", len(photographs), "photograph", hidden=len(photographs) == 1) as progress,
    ):
        heading(args, TEXT_HEADER)
        for one in detect_photographs(
            faces, photographs, args.batch, limits(args), drawings, overwrite=args.overwrite, content=content
        ):
            is_unread = isinstance(one.found, Unread)
            if is_unread and not args.json:
                fault(f"facepipe detect: {one.as_text()}")
            else:
                result(args, one.as_text(), one.as_json())
            unread += is_unread
            progress(1)
    seen = [path for path in photographs if path not in content]
    note_not_looked_at(args, Path(), [str(path) for path in seen])
    for folder in (path for path in args.photographs if path.is_dir()):
        note_not_looked_at(args, folder, (), out=args.draw or folder)
    return 1 if unread else 0
