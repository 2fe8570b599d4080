# SPDX-License-Identifier: Apache-2.0
"""PyTorch networks as somebody else writes them, by functions that build them; and functions that do not."""

from __future__ import annotations

import torch
from torch import nn


class Small(nn.Module):
    """A recogniser for 112 x 112: 64 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8), nn.AvgPool2d(8), nn.Dropout(0.5)
        )
        self.head = nn.Linear(8 * 49, 64)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(image).flatten(1))


class Two(Small):
    """Returns what stands before the head too."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        features = self.body(image)
        return self.head(features.flatten(1)), features


class Other(Small):
    """Another head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8 * 49, 64, bias=False)
        self.neck = nn.Linear(64, 64)


class Loose(Small):
    """Its sizes are read from the tensor, which leaves Shape and Gather in the ONNX."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.body(image)
        return self.head(features.view(features.shape[0], -1))


def small() -> nn.Module:
    return Small()


def two() -> nn.Module:
    return Two()


def other() -> nn.Module:
    return Other()


def loose() -> nn.Module:
    return Loose()


def needs(depth: int) -> nn.Module:
    return Small()


def text() -> str:
    return "a network"


NO_FUNCTION = 3
