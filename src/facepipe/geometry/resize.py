# SPDX-License-Identifier: Apache-2.0
"""Area resizing: every output pixel is the mean of the input pixels that it covers, wholly or in part.

This is what torch calls `interpolate(mode="area")`, which is adaptive average pooling: output pixel i of n covers the
inputs floor(i * N / n) up to, but not including, ceil((i + 1) * N / n). MTCNN's thresholds were found with it, so the
sums here are exact: bytes are added as integers in an integral image, and rounded once, by the division.

Readable forms; `geometry.kernels` holds compiled ones that give the same bits.
"""

from __future__ import annotations

import numpy as np


def integral(image: np.ndarray) -> np.ndarray:
    """Sums of all pixels above and to the left: uint32 [H + 1, W + 1, 3] of a uint8 [H, W, 3] image.

    The sums wrap at 2**32; a difference of them is still exact while one window's sum is below 2**32
    (16 million pixels).
    """
    height, width, channels = image.shape
    sums = np.zeros((height + 1, width + 1, channels), np.uint32)
    np.cumsum(image, axis=0, dtype=np.uint32, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


def windows(low: np.ndarray, high: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last input index of each of `count` output pixels that share low..high.

    Args:
        low, high: int64 [N], the half-open input range of each row of work.

    Returns:
        Two int64 [N, count].
    """
    length = (high - low)[:, None]
    index = np.arange(count, dtype=np.int64)[None]
    return low[:, None] + index * length // count, low[:, None] - (-(index + 1) * length // count)


def resize_regions(sums: np.ndarray, regions: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each region of one image, area-resized to height x width; what lies outside the image is black.

    Args:
        sums: uint32 [H + 1, W + 1, 3], from `integral`.
        regions: int64 [N, 4], half-open and non-empty: top, bottom, left, right, in pixels. They may leave the image:
            a window is divided by all of its pixels, and only those inside are summed.

    Returns:
        float32 [N, 3, height, width], in 0..255.
    """
    tops, bottoms = windows(regions[:, 0], regions[:, 1], height)
    lefts, rights = windows(regions[:, 2], regions[:, 3], width)
    rows, ends = (np.clip(edge, 0, len(sums) - 1)[:, :, None] for edge in (tops, bottoms))  # (N, height, 1)
    columns, stops = (np.clip(edge, 0, sums.shape[1] - 1)[:, None, :] for edge in (lefts, rights))  # (N, 1, width)
    total = sums[ends, stops] - sums[rows, stops] - sums[ends, columns] + sums[rows, columns]  # (N, height, width, 3)
    mean = total.astype(np.float32) / (bottoms - tops)[:, :, None, None].astype(np.float32)
    mean /= (rights - lefts)[:, None, :, None].astype(np.float32)
    return np.ascontiguousarray(mean.transpose(0, 3, 1, 2))  # (N, 3, height, width)
