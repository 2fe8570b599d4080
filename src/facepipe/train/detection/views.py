# SPDX-License-Identifier: Apache-2.0
"""What a detector sees of a photograph in one epoch: a cut of it, in other colours, perhaps mirrored, at its own size.

Pure functions of (picture, faces, draws): the same ones give the same bits, in any process. What was drawn stands in a
plain record (`Plan`), and what it does is geometry and pixels alone; so a plan that another program drew has that
program's results. Colours, mirror and interpolation are drawn before the cut, whose draws vary in number: switching one
off leaves the others as they are.

Sources: Pytorch_Retinaface, `data/data_augment.py`; Ultra-Light-Fast-Generic-Face-Detector-1MB,
`vision/ssd/data_preprocessing.py`. Where they are followed no further, docs/decisions/0041 says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.specs import Pixels
from facepipe.train.detection.boxed import Crop, Faces, as_shares, cropped, holds_a_face, mirrored, within
from facepipe.train.detection.colours import (
    COLOUR_DRAWS,
    Colours,
    changed_bytes,
    changed_floats,
    of_retinaface,
    of_ultraface,
)
from facepipe.train.detection.opencv import INTERPOLATIONS, Interpolation, one_thread, resized

RETINAFACE_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)
"""Sides of a cut, in shares of the photograph's shorter one."""
_TRIES = 250
_WHOLE = 0.2  # UltraFace: one of five ways to cut is not to


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to one photograph in one epoch.

    Attributes:
        crop: the cut; None: the whole photograph, which RetinaFace then pads to a square.
        colours: what is done to the colours.
        mirror: whether left is right.
        interpolation: of the resize.
    """

    crop: Crop | None
    colours: Colours
    mirror: bool
    interpolation: Interpolation = "linear"


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A network's input and the faces in it.

    Attributes:
        picture: float32 [3, height, width], as the network's `Pixels` say.
        faces: in shares of the input's sides, 0..1.
        rows: int64 [N]: which of the photograph's faces they are.
    """

    picture: np.ndarray
    faces: Faces
    rows: np.ndarray


def retinaface_plan(height: int, width: int, faces: Faces, draws: np.random.Generator) -> Plan:
    """A square cut that holds a whole face, of five sizes, among 250 tries; the whole photograph where none does.

    Of a photograph without a face any cut will do.
    """
    u = draws.random(COLOUR_DRAWS + 2)
    short, crop = min(height, width), None
    for _ in range(_TRIES):
        scale, left, top = draws.random(3)
        side = max(int(RETINAFACE_SCALES[int(scale * len(RETINAFACE_SCALES))] * short), 1)
        crop = _placed(side, side, left, top, height, width)
        if _acceptable(faces, crop):
            break
        crop = None
    return Plan(crop, of_retinaface(u), bool(u[-2] < 0.5), INTERPOLATIONS[int(u[-1] * len(INTERPOLATIONS))])


def ultraface_plan(
    height: int, width: int, faces: Faces, draws: np.random.Generator, *, crops: bool = True, aspect: float = 1.0
) -> Plan:
    """A cut that holds a whole face, of .3 to 1 of what fits, four times of five; else the whole photograph.

    Args:
        crops: False: never a cut. That is what the published training does: it waits for two random reals to be equal.
        aspect: width over height of the cut; the published code means squares, which 320x240 stretches by a third.
    """
    u = draws.random(COLOUR_DRAWS + 2)
    crop = None
    if crops and u[-1] >= _WHOLE:
        largest = min(float(height), width / aspect)
        for _ in range(_TRIES):
            share, left, top = draws.random(3)
            high = largest * (0.3 + 0.7 * share)
            crop = _placed(max(int(high * aspect), 1), max(int(high), 1), left, top, height, width)
            if _acceptable(faces, crop):
                break
            crop = None
    return Plan(crop, of_ultraface(u), bool(u[-2] < 0.5))


def retinaface_example(picture: np.ndarray, faces: Faces, side: int, pixels: Pixels, plan: Plan) -> Example:
    """A photograph as RetinaFace sees it: cut or padded to a square, and brought to `side`.

    The padding lies to the right or below and has the colour of the mean. The order is the published one: cut, colours,
    padding, mirror, size, mean.

    Args:
        picture: uint8 [H, W, 3] RGB; stays as it is.
        faces: in its pixels.
        side: pixels of the network's input.
    """
    seen, kept, rows = _cut(picture, faces, plan.crop)
    with one_thread():
        seen = changed_bytes(seen, plan.colours)
        seen = seen if plan.crop else padded(seen, pixels)
        height, width = seen.shape[:2]
        seen, kept = _mirrored(seen, kept) if plan.mirror else (seen, kept)
        seen = resized(seen, side, side, plan.interpolation)
    return Example(as_input(seen, pixels), as_shares(kept, width, height), rows)


def ultraface_example(
    picture: np.ndarray, faces: Faces, width: int, height: int, pixels: Pixels, plan: Plan
) -> Example:
    """A photograph as UltraFace sees it: cut, and stretched to width by height. Colours are never cut to 0..255.

    Args:
        picture: uint8 [H, W, 3] RGB; stays as it is.
        faces: in its pixels.
    """
    seen, kept, rows = _cut(picture, faces, plan.crop)
    high, wide = seen.shape[:2]
    with one_thread():
        seen = changed_floats(seen, plan.colours)
        seen, kept = _mirrored(seen, kept) if plan.mirror else (seen, kept)
        seen = resized(np.ascontiguousarray(seen), width, height, plan.interpolation)
    return Example(as_input(seen, pixels), as_shares(kept, wide, high), rows)


def padded(picture: np.ndarray, pixels: Pixels) -> np.ndarray:
    """A picture in the top left corner of a square of its longer side, the rest in the mean's colour."""
    height, width = picture.shape[:2]
    square = np.empty((max(height, width),) * 2 + (3,), picture.dtype)
    square[:] = pixels.mean if pixels.order == "RGB" else pixels.mean[::-1]
    square[:height, :width] = picture
    return square


def as_input(picture: np.ndarray, pixels: Pixels) -> np.ndarray:
    """RGB [H, W, 3], bytes or float32, as the network takes it: float32 [3, H, W]."""
    ordered = picture if pixels.order == "RGB" else picture[:, :, ::-1]
    samples = (ordered.astype(np.float32) - np.array(pixels.mean, np.float32)) * np.array(pixels.scale, np.float32)
    return np.ascontiguousarray(samples.transpose(2, 0, 1))


def _placed(wide: int, high: int, left: float, top: float, height: int, width: int) -> Crop:
    """A cut of that size at shares of the room there is, its edges among the places."""
    wide, high = min(wide, width), min(high, height)
    x, y = int(left * (width - wide + 1)), int(top * (height - high + 1))
    return x, y, x + wide, y + high


def _acceptable(faces: Faces, crop: Crop) -> bool:
    return not len(faces) or holds_a_face(faces.boxes, crop)


def _cut(picture: np.ndarray, faces: Faces, crop: Crop | None) -> tuple[np.ndarray, Faces, np.ndarray]:
    if crop is None:
        return picture, faces, np.arange(len(faces))
    left, top, right, bottom = crop
    return picture[top:bottom, left:right], cropped(faces, crop), np.flatnonzero(within(faces.boxes, crop))


def _mirrored(picture: np.ndarray, faces: Faces) -> tuple[np.ndarray, Faces]:
    return np.ascontiguousarray(picture[:, ::-1]), mirrored(faces, picture.shape[1])
