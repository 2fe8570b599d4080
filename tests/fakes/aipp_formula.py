# SPDX-License-Identifier: Apache-2.0
"""What a network sees behind Ascend's AIPP, by the formula of the ATC guide."""

from __future__ import annotations

import numpy as np

from facepipe.specs import ModelSpec


def aipp_output(images: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """What the network sees behind AIPP: the documented formula, each step rounded to half precision.

    Args:
        images: uint8 [N, H, W, 3], RGB.

    Returns:
        float16 [N, 3, H, W].
    """
    planes = images.transpose(0, 3, 1, 2)  # (N, 3, H, W)
    if spec.pixels.order == "BGR":
        planes = planes[:, ::-1]
    least = np.array(spec.pixels.mean, np.float16)[:, None, None]  # (3, 1, 1)
    reciprocal = np.array(spec.pixels.scale, np.float16)[:, None, None]
    return np.ascontiguousarray((planes.astype(np.float16) - least) * reciprocal)
