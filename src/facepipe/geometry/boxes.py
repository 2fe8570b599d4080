# SPDX-License-Identifier: Apache-2.0
"""Corner boxes: float32 [N, 4], x1, y1, x2, y2 in pixels."""

from __future__ import annotations

import numpy as np


def area(boxes: np.ndarray, *, plus_one: bool = False) -> np.ndarray:
    """Areas in square pixels, float32 [N]; with `plus_one` both corners count as part of the box (Matlab's habit)."""
    extra = np.float32(1 if plus_one else 0)
    return (boxes[:, 2] - boxes[:, 0] + extra) * (boxes[:, 3] - boxes[:, 1] + extra)


def overlap(one: np.ndarray, many: np.ndarray, *, over: str = "union", plus_one: bool = False) -> np.ndarray:
    """Intersection of `one` box with each of `many` over their union (IoU) or over the smaller area.

    Args:
        one: float32 [4].
        many: float32 [N, 4].
        over: "union" or "minimum".
        plus_one: count both corners as part of the box.

    Returns:
        float32 [N]. 0 where both areas are 0.
    """
    extra = np.float32(1 if plus_one else 0)
    width = np.minimum(one[2], many[:, 2]) - np.maximum(one[0], many[:, 0]) + extra
    height = np.minimum(one[3], many[:, 3]) - np.maximum(one[1], many[:, 1]) + extra
    intersection = np.maximum(width, np.float32(0)) * np.maximum(height, np.float32(0))
    of_one, of_many = area(one[None], plus_one=plus_one), area(many, plus_one=plus_one)
    whole = np.minimum(of_one, of_many) if over == "minimum" else of_one + of_many - intersection
    return np.divide(intersection, whole, out=np.zeros_like(intersection), where=whole > 0)


def iou_matrix(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of every box with every other: float32 [N, M], in [0, 1]."""
    if len(boxes) == 0:
        return np.zeros((0, len(others)), np.float32)
    return np.stack([overlap(box, others) for box in boxes])


def clip(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes cut to the image: x within 0..width, y within 0..height."""
    limit = np.array([width, height, width, height], boxes.dtype)
    return np.clip(boxes, 0, limit)


def square(boxes: np.ndarray) -> np.ndarray:
    """Boxes widened or heightened about their centre until both sides equal the longer one."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.maximum(width, height)
    half = np.float32(0.5)
    x1 = boxes[:, 0] + width * half - side * half
    y1 = boxes[:, 1] + height * half - side * half
    return np.stack([x1, y1, x1 + side, y1 + side], axis=1)
