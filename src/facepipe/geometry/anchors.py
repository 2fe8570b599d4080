# SPDX-License-Identifier: Apache-2.0
"""Priors of single-shot detectors, and what a network's numbers make of them. Everything is in units of the input.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", section 2.2; the layouts are the catalogue's.
"""

from __future__ import annotations

import numpy as np

from facepipe.specs import BoxCode, PriorLayout

MOST_LOGIT = 80.0
"""Logits are cut to this before the sigmoid: exp(88.8) is infinite in float32. (BlazeFace's own code cuts at 100 and
relies on infinity; both give 0 and 1 to the last bit that matters.)"""


def priors(layout: PriorLayout, height: int, width: int) -> np.ndarray:
    """The priors of an input of height x width pixels, in the order of the network's rows.

    Returns:
        float32 [P, 4]: centre x, centre y, width, height, in units of the input's sides. Map by map; within one,
        row-major by cell; within a cell, in the order of `layout.sides`.

    Source:
        A map has ceil(side / stride) cells. Computed in float64 and rounded once, as the trainers of the published
        weights did.
    """
    parts = []
    for stride, sides in zip(layout.strides, layout.sides, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        step_y, step_x = (height / rows, width / columns) if layout.even else (stride, stride)
        inside = 0 if layout.corner else 0.5
        centre_y = (np.arange(rows) + inside) * step_y / height
        centre_x = (np.arange(columns) + inside) * step_x / width
        side = np.array(sides, np.float64)
        part = np.empty((rows, columns, len(sides), 4), np.float64)
        part[..., 0] = centre_x[None, :, None]
        part[..., 1] = centre_y[:, None, None]
        part[..., 2] = side / width
        part[..., 3] = side / height
        parts.append(part.reshape(-1, 4))  # (rows * columns * sides, 4)
    whole = np.concatenate(parts)
    return (np.clip(whole, 0, 1) if layout.clipped else whole).astype(np.float32)


def decode_boxes(offsets: np.ndarray, priors: np.ndarray, code: BoxCode) -> np.ndarray:
    """Corner boxes float32 [P, 4], in units of the input, from offsets float32 [P, 4] and their priors."""
    if code.distances:
        away = offsets * np.tile(priors[:, 2:], 2)
        return np.concatenate([priors[:, :2] - away[:, :2], priors[:, :2] + away[:, 2:]], axis=1)
    centre = priors[:, :2] + offsets[:, :2] * np.float32(code.centre) * priors[:, 2:]
    scaled = offsets[:, 2:] * np.float32(code.size)
    half = priors[:, 2:] * (np.exp(scaled) if code.exponential else scaled) / np.float32(2)
    return np.concatenate([centre - half, centre + half], axis=1)


def encode_boxes(boxes: np.ndarray, priors: np.ndarray, code: BoxCode) -> np.ndarray:
    """The offsets float32 [P, 4] that `decode_boxes` turns into these corner boxes; boxes need an area above 0."""
    if code.distances:
        away = np.concatenate([priors[:, :2] - boxes[:, :2], boxes[:, 2:] - priors[:, :2]], axis=1)
        return away / np.tile(priors[:, 2:], 2)
    centre = (boxes[:, :2] + boxes[:, 2:]) / np.float32(2)
    side = (boxes[:, 2:] - boxes[:, :2]) / priors[:, 2:]
    moved = (centre - priors[:, :2]) / (np.float32(code.centre) * priors[:, 2:])
    return np.concatenate([moved, (np.log(side) if code.exponential else side) / np.float32(code.size)], axis=1)


def decode_landmarks(offsets: np.ndarray, priors: np.ndarray, code: BoxCode) -> np.ndarray:
    """Points float32 [P, K, 2], in units of the input, from offsets float32 [P, 2 K]."""
    points = offsets.reshape(len(offsets), offsets.shape[1] // 2, 2)  # (P, K, 2)
    return priors[:, None, :2] + points * np.float32(code.centre) * priors[:, None, 2:]


def encode_landmarks(points: np.ndarray, priors: np.ndarray, code: BoxCode) -> np.ndarray:
    """The offsets float32 [P, 2 K] that `decode_landmarks` turns into these points, float32 [P, K, 2]."""
    moved = (points - priors[:, None, :2]) / (np.float32(code.centre) * priors[:, None, 2:])
    return moved.reshape(len(points), 2 * points.shape[1])


def face_scores(logits: np.ndarray) -> np.ndarray:
    """Face probability float32 [..., P] of logits [..., P, 2] (no face, face: softmax) or [..., P, 1] (sigmoid)."""
    logit = logits[..., -1] if logits.shape[-1] == 1 else logits[..., 1] - logits[..., 0]
    return np.float32(1) / (np.float32(1) + np.exp(-np.clip(logit, -MOST_LOGIT, MOST_LOGIT)))
