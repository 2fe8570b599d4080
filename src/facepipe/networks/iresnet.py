# SPDX-License-Identifier: Apache-2.0
"""iResNet, ArcFace's backbone: an aligned face of 112x112 to 512 numbers, not normalised.

Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", section 3.1 and its "improved
residual unit" (batch norm, convolution, batch norm, PReLU, convolution, batch norm; nothing after the sum). Attribute
names are those of the public `backbone.pth` checkpoints, which load strictly.
"""

from __future__ import annotations

import torch
from torch import nn

DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
}
"""Units in each of the four stages."""

_WIDTHS = (64, 128, 256, 512)


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, the second with the stride; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        summed: torch.Tensor = self.bn3(self.conv2(out)) + shortcut
        return summed


class IResNet(nn.Module):
    """Image float32 [N, 3, 112, 112] to embeddings float32 [N, 512] of any length.

    Args:
        depth: 18, 34, 50 or 100. Training's dropout before `fc` has no entry in the state dict and is left out.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        first, second, third, fourth = DEPTHS[depth]
        self.layer1 = _stage(64, _WIDTHS[0], first)  # [N, 64, 56, 56]
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], second)  # [N, 128, 28, 28]
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], third)  # [N, 256, 14, 14]
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], fourth)  # [N, 512, 7, 7]
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(image)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.fc(self.bn2(x).flatten(1))  # [N, 512]
        out: torch.Tensor = self.features(x)
        return out


def _stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    """`units` residual units; the first halves height and width."""
    return nn.Sequential(
        ResidualUnit(inputs, outputs, 2), *(ResidualUnit(outputs, outputs, 1) for _ in range(units - 1))
    )
