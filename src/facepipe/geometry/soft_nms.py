# SPDX-License-Identifier: Apache-2.0
"""Soft suppression: a box that overlaps a better one is believed less, instead of being dropped."""

from __future__ import annotations

import numpy as np

from facepipe.geometry.boxes import overlap


def soft_nms(
    boxes: np.ndarray, scores: np.ndarray, sigma: float, least: float, *, plus_one: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stay, best lowered score first, and those scores.

    The best box stays; every other one's score is multiplied by exp(-IoU^2 / sigma); then the best of the rest, until
    none is above `least`.

    Args:
        boxes: float32 [N, 4].
        scores: float32 [N].
        sigma: the smaller, the harder.
        least: a score at or below this ends it.

    Returns:
        intp [K] and float32 [K].

    Source:
        Bodla et al. 2017, "Soft-NMS: Improving Object Detection With One Line of Code", equation 3 (Gaussian).
    """
    believed = scores.astype(np.float32, copy=True)
    waiting = np.arange(len(boxes))
    kept: list[int] = []
    kept_scores: list[np.float32] = []
    while len(waiting):
        best = waiting[int(np.argmax(believed[waiting]))]
        if believed[best] <= least:
            break
        kept.append(int(best))
        kept_scores.append(believed[best])
        waiting = waiting[waiting != best]
        shared = overlap(boxes[best], boxes[waiting], plus_one=plus_one)
        believed[waiting] *= np.exp(-(shared**2) / np.float32(sigma))
        waiting = waiting[believed[waiting] > least]
    return np.array(kept, np.intp), np.array(kept_scores, np.float32)
