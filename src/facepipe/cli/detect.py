# SPDX-License-Identifier: Apache-2.0
"""facepipe detect photograph.jpg --draw boxes.png

Prints the faces of photographs, best score first: box (x1, y1, x2, y2) in pixels, score, landmarks. With --json one
line for each photograph. --draw writes the photograph with its faces marked; with several photographs it names a
folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.cli.run_options import (
    add_model_arguments,
    add_overwrite,
    chosen_backend,
    few_settings,
    photograph_or_tell,
)
from facepipe.escape import for_json, for_terminal
from facepipe.faces.pipeline import open_pipeline
from facepipe.reports.drawings import draw_detections, write_drawing
from facepipe.results import Detections
from facepipe.store.owned import require_free


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", nargs="+", type=Path, metavar="PHOTOGRAPH")
    parser.add_argument("--json", action="store_true", help="one JSON object for each photograph")
    parser.add_argument("--draw", type=Path, metavar="OUT", help="a .png; with several photographs a folder")
    add_overwrite(parser)
    add_model_arguments(parser, embeds=False)


def run(args: argparse.Namespace) -> int:
    drawings = _drawing_paths(args)
    require_free(drawings.values(), args.overwrite)
    backend = chosen_backend(args, None)
    settings = few_settings(args, len(args.photographs))
    unreadable = 0
    with open_pipeline(args.detector, None, backend, args.weights, args.batch, settings=settings) as faces:
        for path in args.photographs:
            image = photograph_or_tell(args, path, "detect")
            if image is None:
                unreadable += 1
                continue
            (found,) = faces.detect([image])
            print(_as_json(path, found) if args.json else _as_text(path, found))
            if path in drawings:
                write_drawing(
                    drawings[path], draw_detections(image.pixels, found.scaled(*image.scale)), overwrite=args.overwrite
                )
    return 1 if unreadable else 0


def _drawing_paths(args: argparse.Namespace) -> dict[Path, Path]:
    """Each photograph's drawing."""
    if args.draw is None:
        return {}
    if len(args.photographs) == 1 and args.draw.suffix:
        return {args.photographs[0]: args.draw}
    paths = {path: args.draw / f"{path.stem}.png" for path in args.photographs}
    if len(set(paths.values())) < len(paths):
        return {path: args.draw / f"{number:04d}_{path.stem}.png" for number, path in enumerate(paths)}
    return paths


def _as_json(path: Path, found: Detections) -> str:
    faces = [
        {"box": box.tolist(), "score": float(score), "landmarks": points.tolist()}
        for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True)
    ]
    return for_json({"photograph": str(path), "faces": faces})


def _as_text(path: Path, found: Detections) -> str:
    lines = [f"{for_terminal(str(path))}: {len(found)} face{'' if len(found) == 1 else 's'}"]
    for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True):
        corners = " ".join(f"{value:8.1f}" for value in box)
        marks = " ".join(f"({x:.1f}, {y:.1f})" for x, y in points)
        lines.append(f"  {corners}  {score:.4f}  {marks}")
    return "\n".join(lines)
