# SPDX-License-Identifier: Apache-2.0
"""Bytes to network input."""

from __future__ import annotations

import numpy as np

from facepipe.specs import Pixels


def normalise(images: np.ndarray, pixels: Pixels) -> np.ndarray:
    """(x - mean) * scale in the channel order the network was trained with.

    Args:
        images: uint8 [N, H, W, 3], RGB.
        pixels: the network's order, mean and scale.

    Returns:
        float32 [N, 3, H, W], C-contiguous.
    """
    planes = images.transpose(0, 3, 1, 2)  # (N, 3, H, W)
    if pixels.order == "BGR":
        planes = planes[:, ::-1]
    # Turned while they are bytes: astype would keep the old order in memory, and every step after it would stride.
    return normalise_planes(np.ascontiguousarray(planes), pixels)


def normalise_planes(planes: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The same for uint8 or float32 [N, 3, H, W] whose channels are in the network's order already."""
    mean = np.array(pixels.mean, np.float32)[:, None, None]  # (3, 1, 1)
    scale = np.array(pixels.scale, np.float32)[:, None, None]
    normalised = np.subtract(planes, mean, dtype=np.float32)
    normalised *= scale
    return np.ascontiguousarray(normalised)
