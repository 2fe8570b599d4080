# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.telephone make photographs/ --megapixels 12 --count 24
python -m benchmarks.telephone make originals/ --megapixels 0
python -m benchmarks.telephone measure photographs/ --detector mtcnn --size 0 --size 1600 --size 1280

Photographs as large as a telephone's, with known faces, and what looking at them costs and finds at several working
sizes. `make`: originals of WIDER FACE with one to ten faces, alone, or four, nine or ten side by side (at 12 megapixels
the last about in their own size), with the noise of a sensor, as JPEG; truth.json has the boxes. The same arguments
make the same pixels. 0 megapixels are all originals as they are. `measure`: for each size a process of its own finds,
cuts and embeds all faces; processor time, peak memory, recall against the known boxes and boxes on none of them, recall
against what the first size found (0 is everything, so it comes first), and the cosines of the embeddings with that.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.child import ask
from facepipe.backends import AUTO, resolve_backend
from facepipe.backends.base import RuntimeOptions
from facepipe.datasets.images import read, read_size
from facepipe.detect import everyday_settings, looked_at
from facepipe.errors import DataError
from facepipe.faces.photographs import limits_for, read_photographs
from facepipe.faces.pipeline import open_pipeline
from facepipe.geometry.boxes import iou_matrix
from facepipe.results import Unread
from facepipe.store.files import write_bytes, write_text
from facepipe.terminal.program import run_module

SIZES = {12: (4032, 3024), 24: (6000, 4000), 50: (8160, 6120)}
"""Megapixels to (width, height): telephones' and cameras'."""

GRIDS, MOST_FACES = (1, 2, 3, 6), 10
LEAST_PX = 12  # of a known face in the original: smaller ones are smears that nobody can be told by
NOISE = 4.0  # standard deviation in levels of 255, of a telephone's picture indoors
QUALITY = 92
COUNTED_PX = 40  # root of the area of a face in the large photograph, from which on it counts
SAME_FACE = 0.4  # IoU with a known box: WIDER's boxes are higher than detectors'
LEAST_OVERLAP = 0.1  # below it a box is on none of the known faces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="photographs and truth.json")
    make.add_argument("folder", type=Path)
    make.add_argument("--originals", type=Path, required=True, help="folder with train.txt and train/<event>/...")
    make.add_argument("--megapixels", type=int, choices=(0, *sorted(SIZES)), default=12)
    make.add_argument("--count", type=int, default=24)
    measure = commands.add_parser("measure", help="a table")
    measure.add_argument("folder", type=Path)
    measure.add_argument("--detector", default="mtcnn")
    measure.add_argument("--embedder", default="mobilefacenet.ms1m")
    measure.add_argument("--size", type=int, action="append", help="0: everything; the first is what is compared with")
    measure.add_argument("--backend", default=AUTO)
    measure.add_argument("--weights", type=Path, default=Path("weights"))
    measure.add_argument("--against", help="another detector, whose first size is what is compared with")


def run(args: argparse.Namespace) -> int:
    if args.command == "make":
        if args.megapixels:
            made = make(args.folder, args.originals, args.megapixels, args.count)
        else:
            made = as_they_are(args.folder, args.originals)
        print(f"{args.folder}: {made} photographs")
        return 0
    truth = json.loads((args.folder / "truth.json").read_text(encoding="utf-8"))
    plan = [(args.detector, size) for size in args.size or [0]]
    if args.against:
        plan.insert(0, (args.against, 0))
    first: dict[str, Any] | None = None
    print(
        f"{'detector':<25}{'size':>6}{'cpu s':>7}{'loaded':>7}{'peak MB':>9}{'faces':>7}{'known found':>14}"
        f"{'on none':>9}{'of the first':>15}     least cosine, median"
    )
    for detector, size in plan:
        question = {
            "folder": str(args.folder),
            "keys": sorted(truth),
            "detector": detector,
            "embedder": args.embedder,
            "size": size,
            "backend": args.backend,
            "weights": str(args.weights),
        }
        found = ask([sys.executable, "-m", "benchmarks.telephone", "child"], question, threads=1)
        first = found if first is None else first
        print(_row(detector, size, found, first, truth), flush=True)
    return 0


def make(folder: Path, originals: Path, megapixels: int, count: int) -> int:
    """Write `count` photographs and truth.json into `folder`.

    Raises:
        DataError: there are too few originals.
    """
    width, height = SIZES[megapixels]
    known = {
        path: boxes
        for path, boxes in _known(originals)
        if 1 <= len(boxes) <= MOST_FACES and all(_side(box) >= LEAST_PX for box in boxes)
    }
    random = np.random.default_rng(megapixels)
    waiting = [list(known)[place] for place in random.permutation(len(known))]
    truth: dict[str, list[list[float]]] = {}
    for number in range(count):
        side = GRIDS[number % len(GRIDS)]
        order = random.permutation(side**2)
        cells = order[:MOST_FACES]  # the others of the largest grid show what is on its photographs lying on its side
        chosen: list[Path] = []
        faces = 0
        for path in list(waiting):
            rest = len(cells) - len(chosen)
            if rest and faces + len(known[path]) <= MOST_FACES - (rest - 1):
                chosen.append(path)
                waiting.remove(path)
                faces += len(known[path])
        if len(chosen) < len(cells):
            raise DataError(f"{originals}: too few photographs with 1 to {MOST_FACES} faces for {count} large ones.")
        canvas = np.full((height, width, 3), 110, np.float32)
        boxes: list[list[float]] = []
        for place, path in zip(cells.tolist(), chosen, strict=True):
            left, top = place % side * width // side, place // side * height // side
            cell = ((place % side + 1) * width // side - left, (place // side + 1) * height // side - top)
            tile = Image.fromarray(read(path))
            scale = min(cell[0] / tile.width, cell[1] / tile.height)
            size = (int(tile.width * scale), int(tile.height * scale))
            scaled = np.asarray(tile.resize(size, Image.Resampling.LANCZOS), np.float32)
            # What is left of the cell shows the photograph mirrored.
            edges = ((0, cell[1] - size[1]), (0, cell[0] - size[0]), (0, 0))
            canvas[top : top + cell[1], left : left + cell[0]] = np.pad(scaled, edges, "symmetric")
            shift = np.array([left, top, left, top])
            boxes += (np.array(known[path]) * scale + shift).round(1).tolist()
        for place, path in zip(order[MOST_FACES:].tolist(), itertools.cycle(chosen), strict=False):
            left, top = place % side * width // side, place // side * height // side
            right, bottom = (place % side + 1) * width // side, (place // side + 1) * height // side
            tile = Image.fromarray(read(path)).rotate(90, expand=True).resize((right - left, bottom - top))
            canvas[top:bottom, left:right] = np.asarray(tile, np.float32)
        canvas += random.standard_normal(canvas.shape, np.float32) * NOISE
        content = io.BytesIO()
        Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8)).save(content, "JPEG", quality=QUALITY)
        truth[f"IMG_{number:04d}.jpg"] = boxes
        write_bytes(folder / f"IMG_{number:04d}.jpg", content.getvalue(), overwrite=True)
    write_text(folder / "truth.json", json.dumps(truth), overwrite=True)
    return count


def as_they_are(folder: Path, originals: Path) -> int:
    """Copy the originals, and write truth.json with every known box; return how many there are."""
    truth = dict(_known(originals))
    for path in truth:
        write_bytes(folder / path.name, path.read_bytes(), overwrite=True)
    write_text(folder / "truth.json", json.dumps({path.name: boxes for path, boxes in truth.items()}), overwrite=True)
    return len(truth)


def _known(originals: Path) -> Iterator[tuple[Path, list[list[float]]]]:
    """File and boxes [x1, y1, x2, y2] of each photograph of train.txt that is here."""
    text = (originals / "train.txt").read_text(encoding="utf-8")
    for part in text.split("# ")[1:]:
        head, *lines = part.strip().splitlines()
        key, width, _ = head.split()
        path = (originals / "train" / key).with_suffix(".webp")
        if not path.is_file():
            continue
        scale = read_size(path)[1] / int(width)  # the copies are smaller than what the boxes are of
        yield path, [[float(value) * scale for value in line.split()[:4]] for line in lines]


def _side(box: Sequence[float]) -> float:
    return float(np.sqrt(max(box[2] - box[0], 0) * max(box[3] - box[1], 0)))


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The child's part: all faces of the photographs, one after the other."""
    settings = replace(everyday_settings(question["detector"], question["size"]), batch=16)
    size = 0 if question["size"] == 0 else looked_at(settings)
    limits = limits_for(size, None if size else 100_000_000)
    backend = resolve_backend(question["backend"], RuntimeOptions(cache=Path(question["weights"]) / "cache"))
    boxes: dict[str, list[list[float]]] = {}
    embeddings: dict[str, list[list[float]]] = {}
    with open_pipeline(
        question["detector"], question["embedder"], backend, Path(question["weights"]), 16, settings=settings
    ) as faces:
        faces.all_faces([np.zeros((64, 64, 3), np.uint8)])  # what is compiled on first use
        loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        began = time.process_time()
        for members in read_photographs(Path(question["folder"]), question["keys"], 16, limits):
            for member in members:
                if isinstance(member.decoded, Unread):
                    raise DataError(f"{member.key}: {member.decoded.reason}")
                (picture,) = faces.all_faces([member.decoded])
                boxes[member.key] = [one.face.box.tolist() for one in picture.faces]
                embeddings[member.key] = [one.embedding.tolist() for one in picture.faces]
        seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "loaded": loaded, "peak": peak, "boxes": boxes, "embeddings": embeddings}


def _row(detector: str, size: int, found: dict[str, Any], first: dict[str, Any], truth: dict[str, Any]) -> str:
    """One line of the table."""
    known = seen = of_first = again = faces = wrong = 0
    cosines: list[float] = []
    for key, boxes in truth.items():
        wanted = np.array([box for box in boxes if _side(box) >= COUNTED_PX], np.float32).reshape(-1, 4)
        here = np.array(found["boxes"][key], np.float32).reshape(-1, 4)
        there = np.array(first["boxes"][key], np.float32).reshape(-1, 4)
        faces += len(here)
        known += len(wanted)
        seen += int(_matched(wanted, here).sum())
        wrong += len(here) - int(_matched(here, np.array(boxes, np.float32).reshape(-1, 4), LEAST_OVERLAP).sum())
        # A face that the first found and that is one: on a known face of at least COUNTED_PX.
        true = there[_matched(there, wanted)]
        rows = np.flatnonzero(_matched(there, wanted))
        of_first += len(true)
        if not len(true) or not len(here):
            continue
        overlaps = iou_matrix(true, here)
        best = overlaps.argmax(axis=1)
        same = overlaps.max(axis=1) >= SAME_FACE
        again += int(same.sum())
        ours, theirs = np.array(found["embeddings"][key]), np.array(first["embeddings"][key])
        cosines += [float(theirs[rows[k]] @ ours[best[k]]) for k in np.flatnonzero(same)]
    low, middle = (min(cosines), float(np.median(cosines))) if cosines else (0.0, 0.0)
    return (
        f"{detector:<25}{size:>6}{found['seconds'] / len(truth):>7.2f}{found['loaded'] / 1e6:>7.0f}"
        f"{found['peak'] / 1e6:>9.0f}{faces:>7}"
        f"{seen:>6} of {known:<4}{wrong:>9}{again:>6} of {of_first:<4}     {low:.4f} {middle:.4f}"
    )


def _matched(boxes: np.ndarray, others: np.ndarray, least: float = SAME_FACE) -> np.ndarray:
    """Which of `boxes` one of `others` lies on: bool [N]."""
    if not len(boxes) or not len(others):
        return np.zeros(len(boxes), np.bool_)
    return np.asarray(iou_matrix(boxes, others).max(axis=1) >= least)


def main(arguments: Sequence[str] | None = None) -> int:
    """One call; its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["child"]:
        print(json.dumps(answer(json.load(sys.stdin))))
        return 0
    return run_module(sys.modules[__name__], "python -m benchmarks.telephone", given)


if __name__ == "__main__":
    sys.exit(main())
