# SPDX-License-Identifier: Apache-2.0
"""RetinaFace on MobileNet 0.25 and on ResNet-50: faces with five landmarks, in one pass.

Deng et al. 2019, "RetinaFace: Single-stage Dense Face Localisation in the Wild", without the mesh branch, as
biubug6/Pytorch_Retinaface (MIT) trains it; attribute names are those of its state dicts. ResNet-50: He et al. 2015,
with torchvision's names.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from facepipe.networks.layers import rows_of_maps

_PRIORS_PER_CELL = 2
_WIDEST_LEAKY = 64  # maps up to this many channels have leaky activations, wider ones plain ReLU


class _Activation(nn.Module):
    """Leaky ReLU of a slope; 0 is ReLU."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(x, self.slope) if self.slope else torch.relu(x)


def _slope(channels: int) -> float:
    return 0.1 if channels <= _WIDEST_LEAKY else 0.0


def _unit(inputs: int, outputs: int, kernel: int, slope: float | None = None, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, where a slope is given, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([] if slope is None else [_Activation(slope)]))


def _depthwise(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        _Activation(0.1),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        _Activation(0.1),
    )


class MobileNetQuarter(nn.Module):
    """MobileNet with a quarter of the channels: maps of 64, 128 and 256 channels at strides 8, 16 and 32."""

    channels = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _unit(3, 8, 3, 0.1, stride=2),
            _depthwise(8, 16, 1),
            _depthwise(16, 32, 2),
            _depthwise(32, 32, 1),
            _depthwise(32, 64, 2),
            _depthwise(64, 64, 1),
        )
        self.stage2 = nn.Sequential(_depthwise(64, 128, 2), *(_depthwise(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(_depthwise(128, 256, 2), _depthwise(256, 256, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first = self.stage1(image)
        second = self.stage2(first)
        return first, second, self.stage3(second)


class _Bottleneck(nn.Module):
    """Narrow, filter, widen by four, with a shortcut; the stride sits in the 3x3 convolution."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * inner
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """Maps of 512, 1,024 and 2,048 channels at strides 8, 16 and 32."""

    channels = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3, stride=1)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, 6, stride=2)
        self.layer4 = _stage(1024, 512, 3, stride=2)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = torch.relu(self.bn1(self.conv1(image)))
        x = functional.max_pool2d(x, 3, 2, 1)
        first = self.layer2(self.layer1(x))
        second = self.layer3(first)
        return first, second, self.layer4(second)


def _stage(inputs: int, inner: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (_Bottleneck(4 * inner, inner, 1) for _ in range(blocks - 1))
    return nn.Sequential(_Bottleneck(inputs, inner, stride), *rest)


class FeaturePyramid(nn.Module):
    """Three maps brought to `width` channels, each receiving what the coarser one saw."""

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        slope = _slope(width)
        self.output1 = _unit(channels[0], width, 1, slope)
        self.output2 = _unit(channels[1], width, 1, slope)
        self.output3 = _unit(channels[2], width, 1, slope)
        self.merge1 = _unit(width, width, 3, slope)
        self.merge2 = _unit(width, width, 3, slope)

    def forward(self, maps: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        fine, middle, coarse = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        middle = self.merge2(middle + self._grown(coarse, middle))
        fine = self.merge1(fine + self._grown(middle, fine))
        return fine, middle, coarse

    def _grown(self, coarse: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
        """The coarse map at the size of the finer one; each number stands where it stood.

        In training any side is taken, as the authors do: 840 pixels are maps of 105, 53 and 27 cells. Elsewhere sides
        are multiples of 32 (see the catalogue), so doubling is the same, and its ONNX needs no size of another map.
        """
        if self.training:
            return functional.interpolate(coarse, size=finer.shape[2:], mode="nearest")
        return functional.interpolate(coarse, scale_factor=2.0, mode="nearest")


class ContextHead(nn.Module):
    """SSH: a 3x3, a 5x5 and a 7x7 view, the larger two as stacked 3x3 convolutions (Najibi et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        slope = _slope(width)
        self.conv3X3 = _unit(width, width // 2, 3)
        self.conv5X5_1 = _unit(width, width // 4, 3, slope)
        self.conv5X5_2 = _unit(width // 4, width // 4, 3)
        self.conv7X7_2 = _unit(width // 4, width // 4, 3, slope)
        self.conv7x7_3 = _unit(width // 4, width // 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shared = self.conv5X5_1(x)
        views = (self.conv3X3(x), self.conv5X5_2(shared), self.conv7x7_3(self.conv7X7_2(shared)))
        return torch.relu(torch.cat(views, dim=1))


class _Head(nn.Module):
    """A 1x1 convolution to `width` numbers for each prior."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(channels, _PRIORS_PER_CELL * width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv1x1(x)
        return out


class RetinaFace(nn.Module):
    """Image float32 [N, 3, H, W], sides multiples of 32 (any in training), to rows of P priors (16,800 at 640x640).

    Returns box_offsets [N, P, 4], landmark_offsets [N, P, 10] and face_logits [N, P, 2] (no face, face).
    """

    def __init__(self, body: MobileNetQuarter | ResNet50, width: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramid(body.channels, width)
        self.ssh1 = ContextHead(width)
        self.ssh2 = ContextHead(width)
        self.ssh3 = ContextHead(width)
        self.ClassHead = nn.ModuleList(_Head(width, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(_Head(width, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(_Head(width, 10) for _ in range(3))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine, middle, coarse = self.fpn(self.body(image))
        maps = (self.ssh1(fine), self.ssh2(middle), self.ssh3(coarse))
        boxes = [head(one) for head, one in zip(self.BboxHead, maps, strict=True)]
        landmarks = [head(one) for head, one in zip(self.LandmarkHead, maps, strict=True)]
        logits = [head(one) for head, one in zip(self.ClassHead, maps, strict=True)]
        return rows_of_maps(boxes, 4), rows_of_maps(landmarks, 10), rows_of_maps(logits, 2)


def retinaface_mobilenet025() -> RetinaFace:
    """The small one: 426,608 parameters."""
    return RetinaFace(MobileNetQuarter(), width=64)


def retinaface_resnet50() -> RetinaFace:
    """The large one: about 27.3 million parameters."""
    return RetinaFace(ResNet50(), width=256)
