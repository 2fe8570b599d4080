# SPDX-License-Identifier: Apache-2.0
"""From photographs of any size to a network's input: which size, and two bilinear ways to get there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Resample = Literal["smooth", "sampled"]
"""What bilinear means when a photograph shrinks: "smooth" weighs every pixel that an output pixel covers (Pillow's),
"sampled" only the four that are nearest to its centre (OpenCV's INTER_LINEAR). They are the same where it grows."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """To exactly height x width; the aspect is not kept."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Inside:
    """The aspect is kept: as large as fits into height x width; `grow` also enlarges."""

    height: int
    width: int
    grow: bool


@dataclass(frozen=True, slots=True)
class ShortSide:
    """The aspect is kept: the shorter side becomes `side`, unless the longer one would exceed `most`."""

    side: int
    most: int


@dataclass(frozen=True, slots=True)
class Original:
    """As it is."""


Fit = Stretch | Inside | ShortSide | Original


def fitted(fit: Fit, height: int, width: int) -> tuple[int, int]:
    """(height, width) that a photograph of height x width gets; at least one pixel each."""
    if isinstance(fit, Stretch):
        return fit.height, fit.width
    if isinstance(fit, Original):
        return height, width
    if isinstance(fit, ShortSide):
        scale = min(fit.side / min(height, width), fit.most / max(height, width))
    else:
        scale = min(fit.height / height, fit.width / width)
        scale = scale if fit.grow else min(scale, 1.0)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def inside(image: np.ndarray, size: int) -> np.ndarray:
    """A copy whose longer side has `size` pixels, the aspect kept; the image itself where it has no more."""
    height, width = image.shape[:2]
    return stretch(image, *fitted(Inside(size, size, grow=False), height, width), "smooth")


def filled_up(side: int, multiple: int) -> int:
    """The least multiple of `multiple` that is at least `side`."""
    return -(-side // multiple) * multiple


def stretch(image: np.ndarray, height: int, width: int, resample: Resample) -> np.ndarray:
    """A uint8 [H, W, 3] image as uint8 [height, width, 3], bilinear; see `Resample`."""
    if image.shape[:2] == (height, width):
        return image
    if resample == "smooth":
        whole = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR))
    top, bottom, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    down, across = down[:, None, None], across[None, :, None]
    upper, lower = image[top], image[bottom]  # (height, W, 3)
    above = upper[:, left] * (1 - across) + upper[:, right] * across  # (height, width, 3), float32
    below = lower[:, left] * (1 - across) + lower[:, right] * across
    return np.rint(above * (1 - down) + below * down).astype(np.uint8)


def _neighbours(length: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `count` samples over `length` pixels: the pixels on both sides, and how far it is to the second."""
    position = np.clip((np.arange(count) + 0.5) * (length / count) - 0.5, 0, length - 1)
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, length - 1), (position - first).astype(np.float32)
