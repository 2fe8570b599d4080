# SPDX-License-Identifier: Apache-2.0
"""SCRFD's and YuNet's outputs read slowly and literally, as their formats are described: no code of facepipe's."""

from __future__ import annotations

import math

import numpy as np

STRIDES = (8, 16, 32)
Face = tuple[float, list[float], list[tuple[float, float]]]


def scrfd_by_hand(outputs: list[np.ndarray], height: int, width: int) -> list[Face]:
    """Stride by stride, row by row, cell by cell, twice in each: pixels of the input."""
    faces = []
    for level, stride in enumerate(STRIDES):
        row = 0
        for y in range(height // stride):
            for x in range(width // stride):
                for _ in range(2):
                    left, top, right, bottom = (float(value) * stride for value in outputs[3 + level][row])
                    box = [x * stride - left, y * stride - top, x * stride + right, y * stride + bottom]
                    away = [float(value) * stride for value in outputs[6 + level][row]]
                    points = [(x * stride + away[2 * n], y * stride + away[2 * n + 1]) for n in range(5)]
                    faces.append((float(outputs[level][row, 0]), box, points))
                    row += 1
    return faces


def yunet_by_hand(outputs: list[np.ndarray], height: int, width: int) -> list[Face]:
    """The same of YuNet, with one prior in each cell."""
    faces = []
    for level, stride in enumerate(STRIDES):
        for y in range(height // stride):
            for x in range(width // stride):
                row = y * (width // stride) + x
                one, other = (min(max(float(outputs[part + level][row, 0]), 0.0), 1.0) for part in (0, 3))
                dx, dy, log_w, log_h = (float(value) for value in outputs[6 + level][row])
                middle_x, middle_y = (x + dx) * stride, (y + dy) * stride
                w, h = math.exp(log_w) * stride, math.exp(log_h) * stride
                box = [middle_x - w / 2, middle_y - h / 2, middle_x + w / 2, middle_y + h / 2]
                away = [float(value) for value in outputs[9 + level][row]]
                points = [((away[2 * n] + x) * stride, (away[2 * n + 1] + y) * stride) for n in range(5)]
                faces.append((math.sqrt(one * other), box, points))
    return faces
