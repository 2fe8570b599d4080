# SPDX-License-Identifier: Apache-2.0
"""Changes of a photograph's colours as the two families of detectors have them: the same kinds and amounts, in bytes
that are cut to 0..255 after each (RetinaFace), or in float32 that is never cut (UltraFace).

Sources: Pytorch_Retinaface, `data/data_augment.py::_distort`; Ultra-Light-Fast-Generic-Face-Detector-1MB,
`vision/transforms/transforms.py::PhotometricDistort`. Both come from the SSD of Liu et al. 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.train.detection.opencv import hsv_of, rgb_of

_CHANNELS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True, slots=True)
class Colours:
    """What is done to the colours; None: not done.

    Attributes:
        contrast_first: the contrast before hue and saturation, else after them.
        brightness: added, -32 to 32.
        contrast: factor, .5 to 1.5.
        saturation: factor, .5 to 1.5.
        hue: turned by, -18 to 18: units of OpenCV's hue in bytes (two degrees, a whole number) for RetinaFace, degrees
            for UltraFace.
        channels: the order of red, green and blue at the end. UltraFace alone.
    """

    contrast_first: bool
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    hue: float | None = None
    channels: tuple[int, int, int] = (0, 1, 2)


COLOUR_DRAWS = 11


def of_retinaface(u: np.ndarray) -> Colours:
    """The colours of eleven numbers in 0..1: every change with a chance of a half."""
    return Colours(
        contrast_first=bool(u[0] < 0.5),
        brightness=_chance(u[1], -32 + 64 * u[2]),
        contrast=_chance(u[3], 0.5 + u[4]),
        saturation=_chance(u[5], 0.5 + u[6]),
        hue=_chance(u[7], int(u[8] * 37) - 18),
    )


def of_ultraface(u: np.ndarray) -> Colours:
    """The colours of eleven numbers in 0..1: every change with a chance of a half."""
    return Colours(
        contrast_first=bool(u[0] < 0.5),
        brightness=_chance(u[1], -32 + 64 * u[2]),
        contrast=_chance(u[3], 0.5 + u[4]),
        saturation=_chance(u[5], 0.5 + u[6]),
        hue=_chance(u[7], -18 + 36 * u[8]),
        channels=_CHANNELS[int(u[10] * 6)] if u[9] < 0.5 else (0, 1, 2),
    )


def changed_bytes(picture: np.ndarray, colours: Colours) -> np.ndarray:
    """RetinaFace's: uint8 [H, W, 3] RGB, a new array; every step is cut to 0..255 and to whole numbers."""
    if colours.brightness is not None:
        picture = _cut(picture, 1, colours.brightness)
    if colours.contrast_first and colours.contrast is not None:
        picture = _cut(picture, colours.contrast, 0)
    hsv = hsv_of(np.ascontiguousarray(picture))
    if colours.saturation is not None:
        hsv[:, :, 1] = _cut(hsv[:, :, 1], colours.saturation, 0)
    if colours.hue is not None:
        hsv[:, :, 0] = (hsv[:, :, 0].astype(np.int64) + int(colours.hue)) % 180
    picture = rgb_of(hsv)
    if not colours.contrast_first and colours.contrast is not None:
        picture = _cut(picture, colours.contrast, 0)
    return picture


def changed_floats(picture: np.ndarray, colours: Colours) -> np.ndarray:
    """UltraFace's: float32 [H, W, 3] RGB of a uint8 or float32 picture, a new array; nothing is cut to 0..255."""
    picture = picture.astype(np.float32)
    if colours.brightness is not None:
        picture += np.float32(colours.brightness)
    if colours.contrast_first and colours.contrast is not None:
        picture *= np.float32(colours.contrast)
    hsv = hsv_of(picture)
    if colours.saturation is not None:
        hsv[:, :, 1] *= np.float32(colours.saturation)
    if colours.hue is not None:
        hue = hsv[:, :, 0]
        hue += np.float32(colours.hue)
        hue[hue > 360] -= 360
        hue[hue < 0] += 360
    picture = rgb_of(hsv)
    if not colours.contrast_first and colours.contrast is not None:
        picture *= np.float32(colours.contrast)
    return picture[:, :, list(colours.channels)]


def _cut(samples: np.ndarray, factor: float, added: float) -> np.ndarray:
    return np.clip(samples.astype(np.float64) * factor + added, 0, 255).astype(np.uint8)


def _chance(u: float, amount: float) -> float | None:
    return float(amount) if u < 0.5 else None
