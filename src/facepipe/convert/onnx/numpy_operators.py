# SPDX-License-Identifier: Apache-2.0
"""The plain networks computed by NumPy, in float64: what their graphs are judged by where there is no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class NumpyOperators:
    """`plain_networks.Operators` of arrays, with these weights by name."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = {name: array.astype(np.float64) for name, array in weights.items()}

    def convolution(self, maps: np.ndarray, name: str, stride: int = 1, pad: int = 0) -> np.ndarray:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        padded = np.pad(maps, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = sliding_window_view(padded, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]  # [N, C, h, w, i, j]
        answer = np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))) + bias  # [N, h, w, O]
        return answer.transpose(0, 3, 1, 2)

    def prelu(self, maps: np.ndarray, name: str) -> np.ndarray:
        return np.where(maps > 0, maps, self._weights[f"{name}.weight"][:, None, None] * maps)

    def prelu_of_rows(self, rows: np.ndarray, name: str) -> np.ndarray:
        return np.where(rows > 0, rows, self._weights[f"{name}.weight"] * rows)

    def relu(self, maps: np.ndarray) -> np.ndarray:
        return np.maximum(maps, 0)

    def greatest(self, maps: np.ndarray, side: int, stride: int, whole: bool = True) -> np.ndarray:
        over = [(0, -(size - side) % stride if whole else 0) for size in maps.shape[2:]]
        padded = np.pad(maps, ((0, 0), (0, 0), *over), constant_values=-np.inf)
        answer: np.ndarray = sliding_window_view(padded, (side, side), (2, 3))[:, :, ::stride, ::stride].max((4, 5))
        return answer

    def means(self, maps: np.ndarray) -> np.ndarray:
        return np.asarray(sliding_window_view(maps, (2, 2), (2, 3))[:, :, ::2, ::2].mean((4, 5)))

    def mean(self, maps: np.ndarray) -> np.ndarray:
        return np.asarray(maps.mean((2, 3)))

    def filled_up(self, maps: np.ndarray, channels: int, rows: int) -> np.ndarray:
        return np.pad(maps, ((0, 0), (0, channels), (0, rows), (0, rows)))

    def by_columns(self, maps: np.ndarray) -> np.ndarray:
        return maps.transpose(0, 3, 2, 1).reshape(len(maps), -1)

    def dense(self, rows: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(self.product(rows, name) + self._weights[f"{name}.bias"])

    def product(self, rows: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(rows @ self._weights[f"{name}.weight"].T)

    def mirrored(self, image: np.ndarray, side: int) -> np.ndarray:
        assert image.shape[3] == side, f"an image of {image.shape[3]} columns, not of {side}"
        return image[:, :, :, ::-1]

    def add(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one + other

    def half(self, rows: np.ndarray) -> np.ndarray:
        return rows / 2
