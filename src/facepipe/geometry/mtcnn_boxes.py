# SPDX-License-Identifier: Apache-2.0
"""MTCNN's box arithmetic, with the off-by-ones of its first implementation kept in this one place.

The authors wrote Matlab, where pixels count from 1 and a box holds both of its corners. The weights were trained with
that, and the published accuracies depend on it. So: PNet's cells map to 1-based corners, RNet and ONet offsets apply to
a width of x2 - x1 + 1, and a box x1..x2 covers the 0-based, half-open columns x1 - 1 up to x2.

Sources: Zhang et al. 2016; the authors' Matlab; davidsandberg/facenet and facenet-pytorch for the order of roundings.
"""

from __future__ import annotations

import numpy as np

from facepipe.geometry.pyramid import CELL

STRIDE = 2  # input pixels between neighbouring PNet outputs

ONE, TWO = np.float32(1), np.float32(2)


def face_probability(logits: np.ndarray) -> np.ndarray:
    """Softmax over two classes, the second of which is "face": float32 [N] from logits float32 [N, 2]."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials[:, 1] / exponentials.sum(axis=1)


def cells_above(logits: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, row, column and probability of every PNet cell whose face probability is at least `threshold`.

    Args:
        logits: float32 [N, 2, rows, columns].
        threshold: in (0, 1).

    Returns:
        intp [M], intp [M], intp [M], float32 [M], in the order of the array.
    """
    # Few cells pass, so the exponentials are taken only where the logits alone come near; the slack is far wider than
    # float32's rounding, and the comparison that decides is the one on the probability.
    near = logits[:, 1] - logits[:, 0] >= np.float32(np.log(threshold / (1 - threshold)) - 1e-3)
    image, row, column = np.nonzero(near)
    probability = face_probability(logits[image, :, row, column])
    passed = probability >= np.float32(threshold)
    return image[passed], row[passed], column[passed], probability[passed]


def boxes_of_cells(row: np.ndarray, column: np.ndarray, scale: float) -> np.ndarray:
    """The box in the photograph that each PNet cell saw: float32 [M, 4], 1-based corners, whole numbers."""
    corner = np.stack([column, row], axis=1).astype(np.float32) * TWO
    low = np.floor((corner + ONE) / np.float32(scale))
    high = np.floor((corner + np.float32(CELL)) / np.float32(scale))
    return np.concatenate([low, high], axis=1)  # (M, 4)


def apply_offsets(boxes: np.ndarray, offsets: np.ndarray, *, plus_one: bool) -> np.ndarray:
    """Corners moved by offsets, which are in units of the box's own width and height.

    Args:
        boxes, offsets: float32 [N, 4].
        plus_one: widths count both corners (RNet, ONet) or not (PNet).
    """
    extra = np.float32(1 if plus_one else 0)
    width, height = boxes[:, 2] - boxes[:, 0] + extra, boxes[:, 3] - boxes[:, 1] + extra
    return boxes + offsets * np.stack([width, height, width, height], axis=1)


def landmarks_of_offsets(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """ONet's ten numbers (five x, then five y, in units of the box) as float32 [N, 5, 2] in pixels."""
    width, height = boxes[:, 2] - boxes[:, 0] + ONE, boxes[:, 3] - boxes[:, 1] + ONE
    x = width[:, None] * offsets[:, :5] + boxes[:, :1] - ONE  # (N, 5)
    y = height[:, None] * offsets[:, 5:] + boxes[:, 1:2] - ONE
    return np.stack([x, y], axis=2)  # (N, 5, 2)


def pixel_regions(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels that boxes cover within a photograph: int64 [N, 4], half-open top, bottom, left, right.

    Corners are truncated toward zero, then clipped. A region may be empty (bottom <= top or right <= left); its box
    must then be dropped together with it.
    """
    whole = np.trunc(boxes).astype(np.int64)
    left, top = np.maximum(whole[:, 0], 1) - 1, np.maximum(whole[:, 1], 1) - 1
    right, bottom = np.minimum(whole[:, 2], width), np.minimum(whole[:, 3], height)
    return np.stack([top, bottom, left, right], axis=1)


def has_pixels(regions: np.ndarray) -> np.ndarray:
    """Which regions hold a pixel at all: bool [N]."""
    return (regions[:, 1] > regions[:, 0]) & (regions[:, 3] > regions[:, 2])
