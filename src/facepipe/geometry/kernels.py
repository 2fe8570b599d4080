# SPDX-License-Identifier: Apache-2.0
"""The inner loops of the cascade, twice: as NumPy and compiled by numba, with the same bits.

A cascade spends its host time on three things: integral images, area-resized regions, and suppression. `Kernels` is
those three as functions. `numpy_kernels` are the readable functions of `resize` and `nms`; `compiled_kernels` are loops
for numba. A property test holds the two equal bit for bit, so the choice is one of speed alone, and it is recorded.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from facepipe.errors import BackendError
from facepipe.geometry import nms as plain_nms
from facepipe.geometry import resize


@dataclass(frozen=True, slots=True)
class Kernels:
    """The inner loops of a cascade.

    Attributes:
        name: "numpy" or "compiled".
        integral: uint8 [H, W, 3] to uint32 [H + 1, W + 1, 3]; see `resize.integral`.
        regions: (sums, regions int64 [N, 4], height, width, mean float32 [3], scale float32 [3],
            out float32 [N, 3, height, width]): `resize.resize_regions`, then (x - mean) * scale, into `out`.
        suppress: (boxes, scores, groups, threshold, over_minimum, plus_one) to rows; see `nms.nms_by_group`.
    """

    name: str
    integral: Callable[[np.ndarray], np.ndarray]
    regions: Callable[[np.ndarray, np.ndarray, int, int, np.ndarray, np.ndarray, np.ndarray], None]
    suppress: Callable[[np.ndarray, np.ndarray, np.ndarray, float, bool, bool], np.ndarray]


def kernels_by_name(name: str) -> Kernels:
    """The kernels "numpy", "compiled", or "fastest": compiled where numba is installed, else NumPy (the same bits).

    Raises:
        BackendError: "compiled" was asked for and numba is not installed, or the name is another.
    """
    has_numba = importlib.util.find_spec("numba") is not None
    if name == "fastest":
        name = "compiled" if has_numba else "numpy"
    if name == "numpy":
        return numpy_kernels()
    if name != "compiled":
        raise BackendError(f"kernels '{name}' are not known, expected numpy, compiled or fastest.")
    if not has_numba:
        raise BackendError("kernels 'compiled' need numba, which is not installed.", "pip install 'facepipe[fast]'")
    return compiled_kernels()


def numpy_kernels() -> Kernels:
    """The readable functions."""
    return Kernels("numpy", resize.integral, _regions_numpy, _suppress_numpy)


def _regions_numpy(
    sums: np.ndarray,
    regions: np.ndarray,
    height: int,
    width: int,
    mean: np.ndarray,
    scale: np.ndarray,
    out: np.ndarray,
) -> None:
    resized = resize.resize_regions(sums, regions, height, width)
    np.multiply(resized - mean[:, None, None], scale[:, None, None], out=out)


def _suppress_numpy(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, threshold: float, over_minimum: bool, plus_one: bool
) -> np.ndarray:
    over = "minimum" if over_minimum else "union"
    return plain_nms.nms_by_group(boxes, scores, groups, threshold, over=over, plus_one=plus_one)


@functools.cache
def compiled_kernels() -> Kernels:
    """The loops, compiled on first use and kept on disk by numba."""
    integral_into = _compiled(_integral_into)
    regions_into = _compiled(_regions_into)
    greedy = _compiled(_greedy)

    def integral(image: np.ndarray) -> np.ndarray:
        height, width, channels = image.shape
        sums = np.empty((height + 1, width + 1, channels), np.uint32)
        integral_into(
            np.ascontiguousarray(image).reshape(height, width * channels), sums.reshape(height + 1, -1), channels
        )
        return sums

    def suppress(
        boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, threshold: float, over_minimum: bool, plus_one: bool
    ) -> np.ndarray:
        if len(boxes) == 0:
            return np.zeros(0, np.intp)
        order = np.lexsort((-scores, groups))  # stable: groups ascending, then best score, then as given
        kept = greedy(
            np.ascontiguousarray(boxes[order]), groups[order], np.float32(threshold), over_minimum, np.float32(plus_one)
        )
        return order[kept]

    return Kernels("compiled", integral, regions_into, suppress)


def _compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    # numpy's error model: a divisor is not looked at first, so that loops of divisions run several at a time.
    try:
        return cast(Callable[..., Any], numba.njit(cache=True, nogil=True, error_model="numpy")(loop))
    except RuntimeError:  # neither this package nor the user's home can be written: each process compiles for itself
        return cast(Callable[..., Any], numba.njit(nogil=True, error_model="numpy")(loop))


# The three loops are plain Python over arrays. Types are explicit where numba would widen float32 to float64, and
# indices of the innermost loops are unsigned, since a signed one might be negative and would be looked at first.


def _integral_into(image: np.ndarray, sums: np.ndarray, channels: int) -> None:
    """The integral image of rows whose channels lie side by side: uint8 [H, W * C] into uint32 [H + 1, (W + 1) * C]."""
    height, width = image.shape
    sums[0] = 0
    for y in range(height):
        above, here, row = sums[y], sums[y + 1], image[y]
        for c in range(channels):
            here[c] = 0
            total = np.uint32(0)
            for x in range(c, width, channels):
                total += np.uint32(row[np.uintp(x)])
                here[np.uintp(x + channels)] = above[np.uintp(x + channels)] + total


def _regions_into(
    sums: np.ndarray,
    regions: np.ndarray,
    height: int,
    width: int,
    mean: np.ndarray,
    scale: np.ndarray,
    out: np.ndarray,
) -> None:
    columns = np.empty(width, np.float32)
    first, last = np.empty(width, np.uintp), np.empty(width, np.uintp)
    flat = sums.reshape(len(sums), -1)  # (H + 1, (W + 1) * 3)
    image_height, image_width = len(sums) - 1, sums.shape[1] - 1
    strip = np.empty(flat.shape[1], np.uint32)
    totals = np.empty((3, width), np.float32)
    for n in range(len(regions)):
        top, bottom, left, right = regions[n, 0], regions[n, 1], regions[n, 2], regions[n, 3]
        # Windows are those of the whole region; only the places in the integral image stay within it.
        low, high = min(max(left, 0), image_width), min(max(right, 0), image_width)
        for j in range(width):
            x0 = left + j * (right - left) // width
            x1 = left - (-(j + 1) * (right - left) // width)
            columns[j] = np.float32(x1 - x0)
            x0, x1 = min(max(x0, low), high), min(max(x1, low), high)
            first[j], last[j] = np.uintp(3 * (x0 - low)), np.uintp(3 * (x1 - low))
        length = np.uintp(3 * (high - low + 1))
        for i in range(height):
            y0 = top + i * (bottom - top) // height
            y1 = top - (-(i + 1) * (bottom - top) // height)
            rows = np.float32(y1 - y0)
            y0, y1 = min(max(y0, 0), image_height), min(max(y1, 0), image_height)
            above, below = flat[y0, 3 * low :], flat[y1, 3 * low :]
            # Three passes, the first and the last of which take sixteen numbers at a time: the rows between y0 and y1
            # as one, its columns gathered, and the mean.
            for k in range(length):
                strip[k] = below[k] - above[k]
            for j in range(width):
                x0, x1 = first[j], last[j]
                for c in range(np.uintp(3)):
                    totals[c, j] = np.float32(np.uint32(strip[x1 + c] - strip[x0 + c]))
            for c in range(3):
                middle, factor = mean[c], scale[c]
                for j in range(width):
                    value = np.float32(np.float32(totals[c, j] / rows) / columns[j])
                    out[n, c, i, j] = np.float32(np.float32(value - middle) * factor)


def _greedy(
    boxes: np.ndarray, groups: np.ndarray, threshold: np.float32, over_minimum: bool, extra: np.float32
) -> np.ndarray:
    count = len(boxes)
    gone = np.zeros(count, np.bool_)
    areas = np.empty(count, np.float32)
    zero = np.float32(0)
    for i in range(count):
        areas[i] = (boxes[i, 2] - boxes[i, 0] + extra) * (boxes[i, 3] - boxes[i, 1] + extra)
    for i in range(count):
        if gone[i]:
            continue
        for j in range(i + 1, count):
            if groups[j] != groups[i]:
                break
            if gone[j]:
                continue
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0]) + extra
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1]) + extra
            shared = np.float32(max(width, zero) * max(height, zero))
            whole = min(areas[i], areas[j]) if over_minimum else np.float32(np.float32(areas[i] + areas[j]) - shared)
            if whole > zero and np.float32(shared / whole) > threshold:
                gone[j] = True
    return np.flatnonzero(~gone)
