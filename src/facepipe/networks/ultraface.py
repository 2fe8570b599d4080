# SPDX-License-Identifier: Apache-2.0
"""UltraFace, slim and RFB: an SSD on thirteen small layers for faces at low resolution.

Linzaer, Ultra-Light-Fast-Generic-Face-Detector-1MB (MIT): `vision/nn/mb_tiny.py`, `mb_tiny_RFB.py` and
`vision/ssd/mb_tiny_fd.py`, whose attribute names the published state dicts hold. The receptive field block is that of
Liu et al. 2018, "Receptive Field Block Net for Accurate and Fast Object Detection".
"""

from __future__ import annotations

import torch
from torch import nn

from facepipe.networks.layers import rows_of_maps

# (inputs, outputs, stride) of the depthwise blocks 1 to 12 of `base_net`; block 7 is the RFB in the larger version.
_BLOCKS = (
    (16, 32, 1),
    (32, 32, 2),
    (32, 32, 1),
    (32, 64, 2),
    (64, 64, 1),
    (64, 64, 1),
    (64, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
)
_RFB_BLOCK = 7
_SOURCES = (7, 10, 12)  # blocks of base_net that the heads look at; the fourth source is the extra layer
_HEADS = ((64, 3), (128, 2), (256, 2), (256, 3))  # (channels, priors per cell) of each source


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _depthwise(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 with biases and without batch normalisation, as heads and the extra layer have it."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1)
    )


class _Unit(nn.Module):
    """Convolution that keeps the size, batch normalisation and, unless `linear`, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, linear: bool = False) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(outputs, momentum=0.01)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return x if self.linear else torch.relu(x)


class ReceptiveFieldBlock(nn.Module):
    """Three branches that look 5, 7 and 13 pixels around, joined, with a shortcut: 64 channels to 64."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        inner = channels // 8
        self.branch0 = nn.Sequential(
            _Unit(channels, inner, 1, linear=True),
            _Unit(inner, 2 * inner, 3),
            _Unit(2 * inner, 2 * inner, 3, dilation=2, linear=True),
        )
        self.branch1 = nn.Sequential(
            _Unit(channels, inner, 1, linear=True),
            _Unit(inner, 2 * inner, 3),
            _Unit(2 * inner, 2 * inner, 3, dilation=3, linear=True),
        )
        self.branch2 = nn.Sequential(
            _Unit(channels, inner, 1, linear=True),
            _Unit(inner, inner * 3 // 2, 3),
            _Unit(inner * 3 // 2, 2 * inner, 3),
            _Unit(2 * inner, 2 * inner, 3, dilation=5, linear=True),
        )
        self.ConvLinear = _Unit(6 * inner, channels, 1, linear=True)
        self.shortcut = _Unit(channels, channels, 1, linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = torch.cat((self.branch0(x), self.branch1(x), self.branch2(x)), dim=1)
        return torch.relu(self.ConvLinear(joined) + self.shortcut(x))


class UltraFace(nn.Module):
    """Image float32 [N, 3, H, W] of any size to box_offsets [N, P, 4] and face_logits [N, P, 2] (no face, face).

    P counts the priors of H x W: 4,420 at 240x320. Decoding, softmax and suppression are the host's.
    """

    def __init__(self, *, receptive_field_block: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, 16, 2)]
        layers += [_depthwise(*block) for block in _BLOCKS]
        if receptive_field_block:
            layers[_RFB_BLOCK] = ReceptiveFieldBlock()
        self.base_net = nn.Sequential(*layers)
        self.extras = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), _separable(64, 256, stride=2), nn.ReLU())]
        )
        self.classification_headers = nn.ModuleList(_heads(2))
        self.regression_headers = nn.ModuleList(_heads(4))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sources = []
        x = image
        for index, layer in enumerate(self.base_net):
            x = layer(x)
            if index in _SOURCES:
                sources.append(x)
        sources.append(self.extras[0](x))
        boxes = [head(source) for head, source in zip(self.regression_headers, sources, strict=True)]
        logits = [head(source) for head, source in zip(self.classification_headers, sources, strict=True)]
        return rows_of_maps(boxes, 4), rows_of_maps(logits, 2)


def _heads(width: int) -> list[nn.Module]:
    *small, (channels, priors) = _HEADS
    heads: list[nn.Module] = [_separable(inputs, count * width) for inputs, count in small]
    return [*heads, nn.Conv2d(channels, priors * width, 3, padding=1)]


def ultraface_slim() -> UltraFace:
    """The slim version: 264,732 numbers in its state dict."""
    return UltraFace(receptive_field_block=False)


def ultraface_rfb() -> UltraFace:
    """The version with a receptive field block: 281,100 numbers in its state dict."""
    return UltraFace(receptive_field_block=True)
