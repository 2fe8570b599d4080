# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression: of boxes that overlap too much, the best scored stays.

The readable form. `geometry.kernels` holds a compiled one that gives the same rows.
"""

from __future__ import annotations

import numpy as np

from facepipe.geometry.boxes import overlap


def nms(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, *, over: str = "union", plus_one: bool = False
) -> np.ndarray:
    """Rows of the boxes that stay, best score first; equal scores in the order given.

    Args:
        boxes: float32 [N, 4].
        scores: float32 [N].
        threshold: a box goes when its overlap with a better one that stays is above this.
        over: "union" or "minimum" (the smaller area).
        plus_one: count both corners as part of a box.

    Returns:
        intp [K], K <= N.
    """
    waiting = np.argsort(-scores, kind="stable")
    limit = np.float32(threshold)
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        waiting = waiting[overlap(boxes[best], boxes[waiting], over=over, plus_one=plus_one) <= limit]
    return np.array(kept, np.intp)


def nms_by_group(
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    threshold: float,
    *,
    over: str = "union",
    plus_one: bool = False,
) -> np.ndarray:
    """`nms` within each group, so that boxes of different images or scales never meet.

    Args:
        groups: int64 [N], which boxes compete.

    Returns:
        intp [K]: groups ascending, within one the best score first.
    """
    kept = [
        rows[nms(boxes[rows], scores[rows], threshold, over=over, plus_one=plus_one)]
        for rows in (np.flatnonzero(groups == group) for group in np.unique(groups))
    ]
    return np.concatenate(kept) if kept else np.zeros(0, np.intp)
