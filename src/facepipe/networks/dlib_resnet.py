# SPDX-License-Identifier: Apache-2.0
"""dlib's recogniser: an aligned face of 150x150 to 128 numbers of any length.

King 2017, dlib's `dnn_face_recognition_ex.cpp`: a residual network of 29 convolutions after He et al. 2015, with half
of the usual filters. dlib follows each convolution by one factor and one offset for each channel, which are part of the
convolution here. What is dlib's own is the sum of unlike sizes: the smaller is filled up with zeros at its end. All
those fillings are fixed by the input's size, so they are written as constants.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from facepipe.catalogue.dlib_layers import BLOCKS, EMBEDDING, FIRST, SIDE, block_sizes


class _FilledUp(torch.autograd.Function):
    """Zeros at the end of channels, rows and columns; torch's own padding is exported as a dozen operators."""

    @staticmethod
    def forward(_: Any, maps: torch.Tensor, channels: int, rows: int, columns: int) -> torch.Tensor:
        return functional.pad(maps, (0, columns, 0, rows, 0, channels))

    @staticmethod
    def backward(_: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        raise NotImplementedError("this network is for inference")

    @staticmethod
    def symbolic(g: Any, maps: Any, channels: int, rows: int, columns: int) -> Any:
        pads = torch.tensor([0, 0, 0, 0, 0, channels, rows, columns], dtype=torch.int64)
        return g.op("Pad", maps, g.op("Constant", value_t=pads), mode_s="constant")


class Block(nn.Module):
    """Two 3x3 convolutions, added to the input; when `halved`, to the means of 2x2 of it.

    Args:
        inputs, outputs: channels.
        halved: whether the maps become half as large.
        missing: rows, and columns, by which the halved convolutions end up smaller than the means.
    """

    def __init__(self, inputs: int, outputs: int, halved: bool, missing: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 2 if halved else 1, 0 if halved else 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.halved, self.missing, self.more = halved, missing, outputs - inputs

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        added = self.second(torch.relu(self.first(maps)))
        if self.halved:
            maps = functional.avg_pool2d(maps, 2)
        if self.more:
            maps = _FilledUp.apply(maps, self.more, 0, 0)  # type: ignore[no-untyped-call]
        if self.missing:
            added = _FilledUp.apply(added, 0, self.missing, self.missing)  # type: ignore[no-untyped-call]
        return torch.relu(maps + added)


class DlibResNet(nn.Module):
    """Image float32 [N, 3, 150, 150] to embeddings float32 [N, 128] of any length: the mean of dlib's for the image and
    for its mirror image.

    dlib's own accuracy is that of the mean over jittered copies of a face; mirroring is the one of these that needs no
    chance. It is a product with a reversed identity: exact, and an operator that every compiler has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, FIRST, 7, 2)
        self.pool = nn.MaxPool2d(3, 2)
        self.blocks = nn.Sequential(
            *(
                Block(inputs, outputs, halved, missing)
                for (outputs, halved), (inputs, _, missing) in zip(BLOCKS, block_sizes(), strict=True)
            )
        )
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.embedding = nn.Linear(BLOCKS[-1][0], EMBEDDING, bias=False)
        self.register_buffer("reversal", torch.eye(SIDE).flip(0), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mirrored = torch.matmul(image, self.reversal)  # type: ignore[arg-type]
        return 0.5 * (self.one(image) + self.one(mirrored))

    def one(self, image: torch.Tensor) -> torch.Tensor:
        """What dlib answers for the image alone, float32 [N, 128]."""
        maps = self.pool(torch.relu(self.stem(image)))  # [N, 32, 35, 35]
        maps = self.mean(self.blocks(maps))  # [N, 256, 2, 2] to [N, 256, 1, 1]
        embedding: torch.Tensor = self.embedding(maps.flatten(1))
        return embedding
