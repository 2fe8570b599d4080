# SPDX-License-Identifier: Apache-2.0
"""MobileFaceNet with PReLU: an aligned face of 112x112 to 128 numbers, not normalised; 1,003,136 parameters.

Chen et al. 2018, "MobileFaceNets: Efficient CNNs for Accurate Real-time Face Verification on Mobile Devices", table 1,
with the attribute names of the Paddle port's MobileFaceNet_128.

How it differs from `mobilefacenet.MobileFaceNetReLU6`: one learned slope for each channel wherever that one has ReLU6
or ReLU; `dw_conv1` is one depthwise 3x3 where that one adds a 1x1; no bias before the last batch normalisation;
other names. The weights of one cannot be loaded into the other.
"""

from __future__ import annotations

import torch
from torch import nn

# (expansion, channels, repeats, stride of the first), table 1 of the paper.
_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class ConvBlock(nn.Module):
    """Convolution without bias, batch normalisation and, unless `linear`, PReLU with a slope for each channel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = None if linear else nn.PReLU(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return x if self.prelu is None else self.prelu(x)


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow; with a shortcut where input and output have one shape."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return x + out if self.shortcut else out


class MobileFaceNetPReLU(nn.Module):
    """Image float32 [N, 3, 112, 112] to embeddings float32 [N, 128] of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, 64, 3, 2, 1)
        self.dw_conv1 = ConvBlock(64, 64, 3, 1, 1, groups=64)
        blocks: list[nn.Module] = []
        channels = 64
        for expansion, outputs, repeats, stride in _BOTTLENECKS:
            for repeat in range(repeats):
                blocks.append(Bottleneck(channels, outputs, stride if repeat == 0 else 1, expansion))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = ConvBlock(128, 512, 1, 1, 0)
        self.linear7 = ConvBlock(512, 512, 7, 1, 0, groups=512, linear=True)
        self.linear1 = ConvBlock(512, 128, 1, 1, 0, linear=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.dw_conv1(self.conv1(image))  # [N, 64, 56, 56]
        x = self.conv2(self.blocks(x))  # [N, 512, 7, 7]
        out: torch.Tensor = self.linear1(self.linear7(x))  # [N, 128, 1, 1]
        return out.flatten(1)
