# SPDX-License-Identifier: Apache-2.0
"""Changes of a face that keep who it is: mirrored, smaller and back, blurred, other colours, moved by pixels.

Pure functions: the same picture and the same draws give the same bits. `augmented` takes all its numbers at once, so
that a change which is switched off leaves the draws of the others as they are.

Source: the kinds, their order, amounts and probabilities of `arcface_torch`'s DALI option (insightface,
`recognition/arcface_torch/dataset.py`); its HSV is DALI's linear form of it, a turn and a stretch about the grey axis
of YIQ. Arithmetic is float64, without matrix products whose bits and threads a library chooses, and is rounded once;
DALI's own bits are not reproduced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_DRAWS = 12
# FCC's YIQ to four digits, so that grey has no colour at all; the first row is BT.601's grey.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How likely each change is, 0 to 1.

    Attributes:
        flip: mirrored.
        resize: brought to a side of 56 to 88 of 112 pixels, and back.
        blur: by a Gaussian window of 3 or 5 pixels.
        colour: hue turned by 0 to 20 degrees, saturation 1 to 1.2 times.
        grey: without colour.
        shift: moved by up to `shift_pixels` to any side; black where nothing was.
    """

    flip: float = 0.5
    resize: float = 0.0
    blur: float = 0.0
    colour: float = 0.0
    grey: float = 0.0
    shift: float = 0.0
    shift_pixels: int = 4


FLIP_ONLY = Augmentation()
ARCFACE_TORCH = Augmentation(flip=0.5, resize=0.1, blur=0.2, colour=0.2, grey=0.1)


def augmented(picture: np.ndarray, chances: Augmentation, draws: np.random.Generator) -> np.ndarray:
    """The face as it is trained on in one epoch: uint8 [S, S, 3] RGB, a new array; the given one stays.

    Args:
        picture: uint8 [S, S, 3] RGB.
        draws: of this sample in this epoch; twelve numbers are taken.
    """
    u = draws.random(_DRAWS)
    side = len(picture)
    if u[0] < chances.resize:
        picture = resized_and_back(picture, int((0.5 + 0.3 * u[1]) * side))
    if u[2] < chances.blur:
        picture = blurred(picture, 3 if u[3] < 0.5 else 5)
    if u[4] < chances.colour:
        picture = turned_in_colour(picture, 20 * u[5], 1 + 0.2 * u[6])
    if u[7] < chances.grey:
        picture = turned_in_colour(picture, 0, 0)
    if u[8] < chances.shift:
        span = 2 * chances.shift_pixels + 1
        picture = shifted(picture, int(u[9] * span) - chances.shift_pixels, int(u[10] * span) - chances.shift_pixels)
    return mirrored(picture) if u[11] < chances.flip else picture.copy()


def mirrored(picture: np.ndarray) -> np.ndarray:
    """Left is right."""
    return np.ascontiguousarray(picture[:, ::-1])


def resized_and_back(picture: np.ndarray, small: int) -> np.ndarray:
    """Brought to a side of `small` pixels, each the mean of what it covers, and back, bilinear between centres."""
    side = len(picture)
    reduced = _means(_means(picture.astype(np.float64), small).swapaxes(0, 1), small)
    return _rounded(_bilinear(_bilinear(reduced, side).swapaxes(0, 1), side))


def blurred(picture: np.ndarray, window: int) -> np.ndarray:
    """Blurred by a Gaussian of an odd window, sigma .3 ((window - 1) / 2 - 1) + .8; edges count as repeated."""
    samples = picture.astype(np.float64)
    return _rounded(_gaussian(_gaussian(samples, window).swapaxes(0, 1), window).swapaxes(0, 1))


def turned_in_colour(picture: np.ndarray, degrees: float, saturation: float) -> np.ndarray:
    """Hue turned (red towards yellow) and saturation multiplied, about the grey axis of YIQ; grey stays as it is."""
    across, along = (saturation * part(math.radians(degrees)) for part in (math.cos, math.sin))
    channels = np.moveaxis(picture.astype(np.float64), 2, 0)
    grey, i, q = (red * channels[0] + green * channels[1] + blue * channels[2] for red, green, blue in _YIQ)
    i, q = across * i + along * q, across * q - along * i
    return _rounded(np.stack([grey + of_i * i + of_q * q for _, of_i, of_q in _RGB], axis=2))


def shifted(picture: np.ndarray, right: int, down: int) -> np.ndarray:
    """Moved by whole pixels; black where nothing was."""
    side = len(picture)
    moved = np.zeros_like(picture)
    rows, columns = (slice(max(by, 0), side + min(by, 0)) for by in (down, right))
    from_rows, from_columns = (slice(max(-by, 0), side + min(-by, 0)) for by in (down, right))
    moved[rows, columns] = picture[from_rows, from_columns]
    return moved


def _means(rows: np.ndarray, small: int) -> np.ndarray:
    """[S, ...] to [small, ...]: row i is the mean of the stretch from i to i + 1, in units of S / small."""
    side = len(rows)
    edges = np.arange(small + 1) * side / small
    whole = np.minimum(edges.astype(int), side - 1)
    sums = np.concatenate([np.zeros_like(rows[:1]), np.cumsum(rows, axis=0)])
    up_to = sums[whole] + (edges - whole)[:, None, None] * rows[whole]
    return np.diff(up_to, axis=0) * (small / side)


def _bilinear(rows: np.ndarray, side: int) -> np.ndarray:
    """[small, ...] to [side, ...], between the middles of rows; the outermost are repeated."""
    small = len(rows)
    place = np.clip((np.arange(side) + 0.5) * small / side - 0.5, 0, small - 1)
    low = np.minimum(place.astype(int), small - 2)
    share = (place - low)[:, None, None]
    return (1 - share) * rows[low] + share * rows[low + 1]


def _gaussian(rows: np.ndarray, window: int) -> np.ndarray:
    """[S, ...] blurred along the first axis."""
    sigma, half, side = 0.3 * ((window - 1) / 2 - 1) + 0.8, window // 2, len(rows)
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sigma**2))
    padded = np.concatenate([rows[:1]] * half + [rows] + [rows[-1:]] * half)
    return sum(weight * padded[at : at + side] for at, weight in enumerate(weights / weights.sum()))  # type: ignore[return-value]


def _rounded(samples: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.clip(np.rint(samples), 0, 255).astype(np.uint8))
