# SPDX-License-Identifier: Apache-2.0
"""MTCNN's box arithmetic, with the off-by-ones of its first implementation kept in this one place.

The authors wrote Matlab, where pixels count from 1 and a box holds both of its corners. The weights were trained with
that, and the published accuracies depend on it. So: PNet's cells map to 1-based corners, RNet and ONet offsets apply to
a width of x2 - x1 + 1, and a box x1..x2 covers the 0-based, half-open columns x1 - 1 up to x2.

Sources: Zhang et al. 2016; the authors' Matlab; davidsandberg/facenet and facenet-pytorch for the order of roundings.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from facepipe.geometry.pyramid import CELL

Borders = Literal["pad", "stretch"]
"""What RNet and ONet see of a box that leaves the photograph: black there, or what is left of it stretched."""

STRIDE = 2  # input pixels between neighbouring PNet outputs
FARTHEST = np.float32(2**31)  # corners are cut here before they become whole numbers; no photograph is as large

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


def pixel_regions(boxes: np.ndarray, height: int, width: int, borders: Borders) -> np.ndarray:
    """The pixels that boxes cover: int64 [N, 4], half-open top, bottom, left, right. Corners are truncated toward zero.

    Args:
        boxes: float32 [N, 4], 1-based corners of any size.
        height, width: of the photograph, in pixels.
        borders: "pad": a region may leave the photograph, by at most the photograph's own height or width on each side,
            so that no box makes a sum overflow. "stretch": it is cut at the photograph's edges.

    Returns:
        A region may hold no pixel of the photograph; its box must then be dropped together with it.
    """
    whole = np.trunc(np.fmax(np.fmin(boxes, FARTHEST), -FARTHEST)).astype(np.int64)  # of NaN: beyond the photograph
    x1, y1, x2, y2 = whole.T
    above, aside = (height, width) if borders == "pad" else (0, 0)
    rows = np.clip(np.stack([y1 - 1, y2], axis=1), -above, height + above)
    columns = np.clip(np.stack([x1 - 1, x2], axis=1), -aside, width + aside)
    return np.concatenate([rows, columns], axis=1)


def has_pixels(regions: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which regions hold a pixel of the photograph at all: bool [N]."""
    low, high = np.maximum(regions[:, ::2], 0), np.minimum(regions[:, 1::2], [height, width])
    return (high > low).all(axis=1)
