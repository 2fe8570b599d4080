# SPDX-License-Identifier: Apache-2.0
"""MobileFaceNet with ReLU6: an aligned face of 112x112 to 128 numbers, not normalised.

Chen et al. 2018, "MobileFaceNets: Efficient CNNs for Accurate Real-time Face Verification on Mobile Devices", table 1;
attribute names and activations are those of foamliu/MobileFaceNet's published state dict, whose first depthwise pair
has a plain ReLU and whose last 1x1 convolution has a bias.
"""

from __future__ import annotations

import torch
from torch import nn

# (expansion, channels, repeats, stride of the first), table 1 of the paper.
_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size at stride 1, batch normalisation, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class DepthwiseSeparable(nn.Module):
    """Depthwise 3x3 and 1x1 convolution on `channels`, each with batch normalisation and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(self.bn2(self.pointwise(x)))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; with a shortcut where input and output have one shape."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            _unit(inputs, wide, 1),
            _unit(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return x + out if self.shortcut else out


class GlobalDepthwise(nn.Module):
    """One 7x7 filter for each channel, over the whole map: [N, C, 7, 7] to [N, C, 1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.bn(self.depthwise(x))
        return out


class MobileFaceNetReLU6(nn.Module):
    """Image float32 [N, 3, 112, 112] to embeddings float32 [N, 128] of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _unit(3, 64, 3, stride=2)
        self.dw_conv = DepthwiseSeparable(64)
        blocks: list[nn.Module] = []
        channels = 64
        for expansion, outputs, repeats, stride in _BOTTLENECKS:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, stride if repeat == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*blocks)
        self.conv2 = _unit(128, 512, 1)
        self.gdconv = GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.dw_conv(self.conv1(image))  # [N, 64, 56, 56]
        x = self.conv2(self.features(x))  # [N, 512, 7, 7]
        embedding: torch.Tensor = self.bn(self.conv3(self.gdconv(x))).flatten(1)  # [N, 128, 1, 1] to [N, 128]
        return embedding
