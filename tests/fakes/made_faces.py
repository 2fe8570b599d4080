# SPDX-License-Identifier: Apache-2.0
"""A set of made faces, and a network that is small enough to learn them in a test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from facepipe.errors import DataError

SIDE = 112


class MadeFaces:
    """`each` noisy copies of one pattern for each of `people`; the samples of `damaged` cannot be read."""

    def __init__(self, people: int, each: int, damaged: Sequence[int] = (), digest: str = "made") -> None:
        self.labels = np.repeat(np.arange(people), each).astype(np.int64)
        self.classes = [f"person {number}" for number in range(people)]
        self.keys = [f"person {label}/{index}.png" for index, label in enumerate(self.labels)]
        self.digest, self.side = digest, SIDE
        self._damaged = frozenset(damaged)
        self._patterns = np.random.default_rng(1).integers(0, 256, (people, 14, 14, 3)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def picture(self, index: int) -> np.ndarray:
        if index in self._damaged:
            raise DataError(f"{self.keys[index]}: is damaged.")
        pattern = np.kron(self._patterns[self.labels[index]], np.ones((8, 8, 1), np.int64))
        noise = np.random.default_rng(index).integers(-40, 41, pattern.shape)
        return np.clip(pattern + noise, 0, 255).astype(np.uint8)


class SmallNetwork(nn.Module):
    """float32 [N, 3, 112, 112] to [N, D], with what the real ones have: normalisation, slopes, a last layer `fc`."""

    def __init__(self, dimension: int = 128) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, 8, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.prelu = nn.PReLU(8)
        self.fc = nn.Linear(8 * 14 * 14, dimension)
        self.features = nn.BatchNorm1d(dimension)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.features(self.fc(self.prelu(self.bn(self.conv(image))).flatten(1)))
        return found
