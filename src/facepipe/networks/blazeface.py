# SPDX-License-Identifier: Apache-2.0
"""BlazeFace, front and back: MediaPipe's detectors with six keypoints, for a square picture.

Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs". Attribute names and weights
are those of hollance/BlazeFace-PyTorch (Apache-2.0), where batch normalisation is folded into the convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

# (inputs, outputs, stride) of each block.
_FRONT_1 = (
    (24, 24, 1),
    (24, 28, 1),
    (28, 32, 2),
    (32, 36, 1),
    (36, 42, 1),
    (42, 48, 2),
    (48, 56, 1),
    (56, 64, 1),
    (64, 72, 1),
    (72, 80, 1),
    (80, 88, 1),
)
_FRONT_2 = ((88, 96, 2), *((96, 96, 1),) * 4)
_BACK = (
    *((24, 24, 1),) * 7,
    (24, 24, 2),
    *((24, 24, 1),) * 7,
    (24, 48, 2),
    *((48, 48, 1),) * 7,
    (48, 96, 2),
    *((96, 96, 1),) * 7,
)
_PRIORS = 896  # two in each of 16x16 cells, six in each of 8x8
_NUMBERS = 16  # a box of four and six keypoints


class _ZerosAround(torch.autograd.Function):
    """Zero padding whose ONNX is one Pad with constant sizes; torch's own exports a computation of them."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor, before: tuple[int, int, int], after: tuple[int, int, int]) -> torch.Tensor:
        sizes = [size for axis in (2, 1, 0) for size in (before[axis], after[axis])]
        return functional.pad(x, sizes)

    @staticmethod
    def backward(_: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        raise NotImplementedError("this network is for inference; its weights are folded")

    @staticmethod
    def symbolic(g: Any, x: Any, before: tuple[int, int, int], after: tuple[int, int, int]) -> Any:
        pads = g.op("Constant", value_t=torch.tensor([0, *before, 0, *after], dtype=torch.int64))
        return g.op("Pad", x, pads)


def _padded(x: torch.Tensor, before: tuple[int, int, int], after: tuple[int, int, int]) -> torch.Tensor:
    """[N, C, H, W] with zeros before and after its channels, rows and columns."""
    padded: torch.Tensor = _ZerosAround.apply(x, before, after)  # type: ignore[no-untyped-call]
    return padded


def _pair(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 and 1x1; at stride 2 the caller has padded."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1 if stride == 1 else 0, groups=inputs),
        nn.Conv2d(inputs, outputs, 1),
    )


class BlazeBlock(nn.Module):
    """A depthwise pair with a shortcut; new channels of the shortcut are zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.more = stride, outputs - inputs
        self.convs = _pair(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x
        if self.stride == 2:
            x = _padded(x, (0, 0, 0), (0, 2, 2))
            shortcut = functional.max_pool2d(shortcut, 2)
        if self.more:
            shortcut = _padded(shortcut, (0, 0, 0), (self.more, 0, 0))
        return torch.relu(self.convs(x) + shortcut)


class _Final(nn.Module):
    """The back model's step from the 16x16 map to the 8x8 map: a pair without a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = _pair(96, 96, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convs(_padded(x, (0, 0, 0), (0, 2, 2))))


class _BlazeFace(nn.Module):
    """The heads, which both models share; a subclass supplies the two maps."""

    def __init__(self, fine: int) -> None:
        super().__init__()
        self.classifier_8 = nn.Conv2d(fine, 2, 1)
        self.classifier_16 = nn.Conv2d(96, 6, 1)
        self.regressor_8 = nn.Conv2d(fine, 2 * _NUMBERS, 1)
        self.regressor_16 = nn.Conv2d(96, 6 * _NUMBERS, 1)

    def heads(self, fine: torch.Tensor, coarse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows of the 16x16 map, then of the 8x8 map: [N, 896, 4], [N, 896, 12], [N, 896, 1]."""
        numbers = _rows(self.regressor_8(fine), self.regressor_16(coarse), _NUMBERS)
        logits = _rows(self.classifier_8(fine), self.classifier_16(coarse), 1)
        return numbers[:, :, :4], numbers[:, :, 4:], logits


def _stem() -> tuple[nn.Module, nn.Module]:
    """After a padding of 1 above and left, 2 below and right."""
    return nn.Conv2d(3, 24, 5, 2), nn.ReLU(inplace=True)


def _rows(fine: torch.Tensor, coarse: torch.Tensor, width: int) -> torch.Tensor:
    flat = [one.permute(0, 2, 3, 1).flatten(1) for one in (fine, coarse)]
    return torch.cat(flat, dim=1).reshape(-1, _PRIORS, width)


class BlazeFaceFront(_BlazeFace):
    """For selfies: float32 [N, 3, 128, 128] to box_offsets, landmark_offsets and face_logits of 896 priors."""

    def __init__(self) -> None:
        super().__init__(fine=88)
        self.backbone1 = nn.Sequential(*_stem(), *(BlazeBlock(*block) for block in _FRONT_1))
        self.backbone2 = nn.Sequential(*(BlazeBlock(*block) for block in _FRONT_2))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.backbone1(_padded(image, (0, 1, 1), (0, 2, 2)))  # (N, 88, 16, 16)
        return self.heads(fine, self.backbone2(fine))


class BlazeFaceBack(_BlazeFace):
    """For faces up to a few metres away: float32 [N, 3, 256, 256] to the same three outputs."""

    def __init__(self) -> None:
        super().__init__(fine=96)
        self.backbone = nn.Sequential(*_stem(), *(BlazeBlock(*block) for block in _BACK))
        self.final = _Final()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.backbone(_padded(image, (0, 1, 1), (0, 2, 2)))  # (N, 96, 16, 16)
        return self.heads(fine, self.final(fine))
