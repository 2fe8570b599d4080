# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.poor_faces runs/cfp --until p100

What an embedder says of faces that are small, or out of focus: the faces of a run over <person>/<photograph> are made
smaller, or blurred, and embedded again. For each size and blur: their sharpness, and the shares of pairs of two people
and of pairs of one that are similar enough to be linked. From these the limits of `facepipe cluster` were chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from facepipe.backends import resolve_backend
from facepipe.catalogue import embedder
from facepipe.faces.photographs import decoded_or_error
from facepipe.faces.pipeline import FacePipeline, open_pipeline
from facepipe.gallery.cluster_folder import Pile, pile_of_run
from facepipe.gallery.clusters import similarity_of
from facepipe.geometry.align import sharpness
from facepipe.results import Face

SIDES = (12, 16, 20, 24, 28, 32, 40, 64)
"""Pixels of a box's shorter side, as near as whole pixels of the photograph allow."""
BLURS = (1, 2, 3, 4, 6)
"""Of a Gaussian, in hundredths of the box's shorter side."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poor_faces", description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run over people's folders")
    parser.add_argument("--until", default="\U0010ffff", metavar="NAME", help="people up to this name")
    parser.add_argument("--each", type=int, default=2, help="photographs of each person (default: 2)")
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    args = parser.parse_args(words)
    pile = pile_of_run(args.run)
    chosen = chosen_faces(pile, args.until, args.each)
    people, similarity = np.array([key.partition("/")[0] for key, _ in chosen]), similarity_of(embedder(pile.embedder))
    with open_pipeline("mtcnn", pile.embedder, resolve_backend("auto"), args.weights, 16) as pipeline:
        print(f"{len(chosen)} faces of {len(set(people.tolist()))} people; linked at {similarity:g}")
        for name, crops in {
            **{f"side {side}": smaller(pile.root, chosen, side, pipeline) for side in SIDES},
            **{f"blur {blur} %": blurred(pile.root, chosen, blur / 100, pipeline) for blur in BLURS},
        }.items():
            held = list(crops)
            measured = np.median([sharpness(crop) for crop in held])
            near = (rows := pipeline.embed(held)) @ rows.T >= similarity
            same, upper = people[:, None] == people, np.triu(np.ones(near.shape, bool), 1)
            told = " ".join(f"{near[upper & kind].mean():.4f}" for kind in (~same, same))
            print(f"{name:10} sharpness {measured:6.0f}; linked of two people, of one: {told}", flush=True)
    return 0


def chosen_faces(pile: Pile, until: str, each: int) -> list[tuple[str, Face]]:
    """The first faces of each person."""
    counts: dict[str, int] = {}
    chosen = []
    for key, face in pile.found.faces:
        person = key.partition("/")[0]
        counts[person] = counts.get(person, 0) + 1
        if person <= until and counts[person] <= each:
            chosen.append((key, face))
    return chosen


def smaller(root: Path, chosen: Sequence[tuple[str, Face]], side: int, pipeline: FacePipeline) -> Iterator[np.ndarray]:
    """Crops from photographs that are made so small that the face has this side."""
    for key, face in chosen:
        image = Image.fromarray(decoded_or_error(root / key).pixels)
        factor = side / float(min(face.box[2:] - face.box[:2]))
        width, height = (max(1, round(length * factor)) for length in image.size)
        by = np.array([width / image.width, height / image.height], np.float32)
        small = Face(face.box * np.tile(by, 2), face.score, face.landmarks * by)
        yield _crop(np.asarray(image.resize((width, height), Image.Resampling.BOX)), small, pipeline)


def blurred(
    root: Path, chosen: Sequence[tuple[str, Face]], share: float, pipeline: FacePipeline
) -> Iterator[np.ndarray]:
    """Crops from photographs out of focus."""
    for key, face in chosen:
        radius = share * float(min(face.box[2:] - face.box[:2]))
        image = Image.fromarray(decoded_or_error(root / key).pixels).filter(ImageFilter.GaussianBlur(radius))
        yield _crop(np.asarray(image), face, pipeline)


def _crop(image: np.ndarray, face: Face, pipeline: FacePipeline) -> np.ndarray:
    crop = pipeline.crop(image, face)
    assert isinstance(crop, np.ndarray), "the faces of a run can be cut out"
    return crop


if __name__ == "__main__":
    sys.exit(main())
