# SPDX-License-Identifier: Apache-2.0
"""InceptionResnetV1: the network of FaceNet, a face of 160x160 to 512 numbers of length 1.

Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", in the
variant of davidsandberg/facenet; attribute names are those of facenet-pytorch's published state dicts. Those also
hold a classifier (`logits`) that training needs and an embedding does not: it is not part of this network.
"""

from __future__ import annotations

import torch
from torch import nn

from facepipe.networks.layers import UnitLength


class ConvUnit(nn.Module):
    """Convolution without bias, batch normalisation (eps 0.001), ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Block35(nn.Module):
    """Residual block on 256 channels, [N, 256, 17, 17]."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.branch0 = ConvUnit(256, 32, 1)
        self.branch1 = nn.Sequential(ConvUnit(256, 32, 1), ConvUnit(32, 32, 3, padding=1))
        self.branch2 = nn.Sequential(
            ConvUnit(256, 32, 1), ConvUnit(32, 32, 3, padding=1), ConvUnit(32, 32, 3, padding=1)
        )
        self.conv2d = nn.Conv2d(96, 256, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.cat((self.branch0(x), self.branch1(x), self.branch2(x)), 1)  # [N, 96, 17, 17]
        return torch.relu(x + self.conv2d(mixed) * self.scale)


class Block17(nn.Module):
    """Residual block on 896 channels, [N, 896, 8, 8]."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.branch0 = ConvUnit(896, 128, 1)
        self.branch1 = nn.Sequential(
            ConvUnit(896, 128, 1),
            ConvUnit(128, 128, (1, 7), padding=(0, 3)),
            ConvUnit(128, 128, (7, 1), padding=(3, 0)),
        )
        self.conv2d = nn.Conv2d(256, 896, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.cat((self.branch0(x), self.branch1(x)), 1)  # [N, 256, 8, 8]
        return torch.relu(x + self.conv2d(mixed) * self.scale)


class Block8(nn.Module):
    """Residual block on 1792 channels, [N, 1792, 3, 3]; the last one of the network has no ReLU."""

    def __init__(self, scale: float, relu: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.relu = relu
        self.branch0 = ConvUnit(1792, 192, 1)
        self.branch1 = nn.Sequential(
            ConvUnit(1792, 192, 1),
            ConvUnit(192, 192, (1, 3), padding=(0, 1)),
            ConvUnit(192, 192, (3, 1), padding=(1, 0)),
        )
        self.conv2d = nn.Conv2d(384, 1792, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.cat((self.branch0(x), self.branch1(x)), 1)  # [N, 384, 3, 3]
        out: torch.Tensor = x + self.conv2d(mixed) * self.scale
        return torch.relu(out) if self.relu else out


class Mixed6a(nn.Module):
    """[N, 256, 17, 17] to [N, 896, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = ConvUnit(256, 384, 3, stride=2)
        self.branch1 = nn.Sequential(
            ConvUnit(256, 192, 1), ConvUnit(192, 192, 3, padding=1), ConvUnit(192, 256, 3, stride=2)
        )
        self.branch2 = nn.MaxPool2d(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.branch0(x), self.branch1(x), self.branch2(x)), 1)


class Mixed7a(nn.Module):
    """[N, 896, 8, 8] to [N, 1792, 3, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = nn.Sequential(ConvUnit(896, 256, 1), ConvUnit(256, 384, 3, stride=2))
        self.branch1 = nn.Sequential(ConvUnit(896, 256, 1), ConvUnit(256, 256, 3, stride=2))
        self.branch2 = nn.Sequential(
            ConvUnit(896, 256, 1), ConvUnit(256, 256, 3, padding=1), ConvUnit(256, 256, 3, stride=2)
        )
        self.branch3 = nn.MaxPool2d(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)), 1)


class InceptionResnetV1(nn.Module):
    """Image float32 [N, 3, 160, 160] to embeddings float32 [N, 512], rows of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = ConvUnit(3, 32, 3, stride=2)
        self.conv2d_2a = ConvUnit(32, 32, 3)
        self.conv2d_2b = ConvUnit(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = ConvUnit(64, 80, 1)
        self.conv2d_4a = ConvUnit(80, 192, 3)
        self.conv2d_4b = ConvUnit(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(Block35(0.17) for _ in range(5)))
        self.mixed_6a = Mixed6a()
        self.repeat_2 = nn.Sequential(*(Block17(0.10) for _ in range(10)))
        self.mixed_7a = Mixed7a()
        self.repeat_3 = nn.Sequential(*(Block8(0.20) for _ in range(5)))
        self.block8 = Block8(1.0, relu=False)
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.6)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=0.001)
        self.unit_length = UnitLength()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(image)))  # [N, 64, 77, 77]
        x = self.conv2d_3b(self.maxpool_3a(x))  # [N, 80, 38, 38]
        x = self.conv2d_4b(self.conv2d_4a(x))  # [N, 256, 17, 17]
        x = self.mixed_6a(self.repeat_1(x))  # [N, 896, 8, 8]
        x = self.mixed_7a(self.repeat_2(x))  # [N, 1792, 3, 3]
        x = self.block8(self.repeat_3(x))
        x = self.dropout(self.avgpool_1a(x)).flatten(1)  # [N, 1792]
        embedding: torch.Tensor = self.unit_length(self.last_bn(self.last_linear(x)))
        return embedding
