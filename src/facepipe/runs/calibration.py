# SPDX-License-Identifier: Apache-2.0
"""What quantised networks are calibrated with: crops for a recogniser, inputs for a detector of one network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.datasets.images import list_keys
from facepipe.detect.single_shot import SingleShotDetector
from facepipe.geometry.boxes import area
from facepipe.store.files import sha256_of_file
from facepipe.faces.photographs import EVERYDAY, Limits, read_photograph
from facepipe.faces.pipeline import FacePipeline, each_face
from facepipe.results import NoFace, Unread

PER_PHOTOGRAPH = 12  # faces at most: a crowd must not outweigh all the rest
LEAST_QUARTER = 150  # pixels of a quarter's shorter side
LEAST_SIDE = 24  # pixels: of smaller faces a crop is mostly interpolation


@dataclass(frozen=True, slots=True)
class CalibrationCrops:
    """Crops, and the photographs that gave them: name to sha256."""

    crops: np.ndarray  # uint8 [N, S, S, 3]
    photographs: dict[str, str]


def outside(root: Path, excluded: Iterable[str]) -> list[Path]:
    """The photographs below `root` whose keys are not among `excluded`."""
    names = set(excluded)
    return [root / key for key in list_keys(root) if key not in names]


def overlap(photographs: Iterable[str], test: Sequence[Path]) -> int:
    """How many of the digests are of photographs of the test set; a copy under another name counts."""
    tested = {sha256_of_file(path) for path in test}
    return len(tested & set(photographs))


def collect_crops(
    paths: Sequence[Path],
    pipeline: FacePipeline,
    wanted: int,
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> CalibrationCrops:
    """The largest faces of each photograph, cut as the recogniser wants them, until there are `wanted`.

    Args:
        paths: photographs, taken in an order that spreads over all of them.
        progress: told how many crops came with each photograph.
    """
    crops: list[np.ndarray] = []
    photographs: dict[str, str] = {}
    for path in paths:
        if len(crops) >= wanted:
            break
        photograph = read_photograph(path, limits)
        image = photograph.pixels
        if isinstance(image, Unread):
            continue
        (found,) = pipeline.detect([image])
        largest = np.argsort(-area(found.boxes), kind="stable")[:PER_PHOTOGRAPH]
        taken = 0
        for face in each_face(found.take(largest)):
            side = float(min(face.box[2] - face.box[0], face.box[3] - face.box[1]))
            crop = pipeline.crop(image, face) if side >= LEAST_SIDE else NoFace("too small")
            if not isinstance(crop, NoFace) and len(crops) < wanted:
                crops.append(crop)
                taken += 1
        if taken:
            photographs[path.name] = photograph.sha256
        progress(taken)
    stacked = np.stack(crops) if crops else np.zeros((0, 1, 1, 3), np.uint8)
    return CalibrationCrops(stacked, photographs)


@dataclass(frozen=True, slots=True)
class CalibrationInputs:
    """Inputs of a detector, float32 [1, 3, H, W] each, and the photographs that gave them: name to sha256."""

    inputs: list[np.ndarray]
    photographs: dict[str, str]


def collect_inputs(
    paths: Sequence[Path], detector: SingleShotDetector, limits: Limits = EVERYDAY
) -> CalibrationInputs:
    """Each photograph as the detector sees it, and its quarters too where it is large, so that faces vary in size.

    What cannot be read is passed over.
    """
    inputs: list[np.ndarray] = []
    photographs: dict[str, str] = {}
    for path in paths:
        photograph = read_photograph(path, limits)
        image = photograph.pixels
        if isinstance(image, Unread):
            continue
        parts = [image]
        height, width = image.shape[0] // 2, image.shape[1] // 2
        if min(height, width) >= LEAST_QUARTER:
            parts += [image[y : y + height, x : x + width] for y in (0, height) for x in (0, width)]
        inputs += [detector.inputs_of(part) for part in parts]
        photographs[path.name] = photograph.sha256
    return CalibrationInputs(inputs, photographs)
