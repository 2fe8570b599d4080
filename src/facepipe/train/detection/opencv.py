# SPDX-License-Identifier: Apache-2.0
"""What OpenCV does for detectors: five interpolations and HSV. They are part of the published recipes, and no other
library has the same bits; so nothing stands in for it where it is not installed. Only this file imports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np

from facepipe.errors import BackendError

Interpolation = Literal["linear", "cubic", "area", "nearest", "lanczos4"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)


def library() -> Any:
    """OpenCV.

    Raises:
        BackendError: it is not installed.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise BackendError(
            "training of detectors needs the module 'cv2' (OpenCV), which is not installed; nothing replaces it.",
            "pip install 'facepipe[train]'.",
        ) from error
    return cv2


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV on one thread within the block, and as it was after it: loaders are processes, and the caller may use
    OpenCV for something of their own. The number is the process's, so two threads of Python must not both be here."""
    cv2 = library()
    before = cv2.getNumThreads()
    if before == 1:  # so that a loader which is set to one thread pays nothing
        yield
        return
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def resized(picture: np.ndarray, width: int, height: int, interpolation: Interpolation = "linear") -> np.ndarray:
    """A picture stretched to a size: [height, width, 3], uint8 or float32 as it was."""
    cv2 = library()
    flag = {
        "linear": cv2.INTER_LINEAR,
        "cubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "nearest": cv2.INTER_NEAREST,
        "lanczos4": cv2.INTER_LANCZOS4,
    }[interpolation]
    return cv2.resize(picture, (width, height), interpolation=flag)


def hsv_of(picture: np.ndarray) -> np.ndarray:
    """RGB to HSV, a new array. uint8: hue 0..179 (two degrees each), the rest 0..255. float32: hue 0..360 degrees,
    saturation 0..1, value as large as the picture's."""
    cv2 = library()
    return cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)


def rgb_of(hsv: np.ndarray) -> np.ndarray:
    """HSV as `hsv_of` gives it to RGB, a new array."""
    cv2 = library()
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
