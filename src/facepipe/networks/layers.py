# SPDX-License-Identifier: Apache-2.0
"""Layers that more than one network uses, written so that their ONNX needs no Shape, Gather or Expand."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

SMALLEST_LENGTH = 2.0**-14
"""The least length that rows are divided by: fp16's smallest normal number. The usual 1e-12 is 0 in fp16."""


class UnitLength(nn.Module):
    """Rows [N, D] divided by their Euclidean length. A row of zeros stays zero.

    The division broadcasts; torch.nn.functional.normalize expands the lengths first, which needs the batch size.
    """

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)  # [N, 1]
        unit: torch.Tensor = rows / lengths.clamp(min=SMALLEST_LENGTH)
        return unit


class _Rows(torch.autograd.Function):
    """(N, P * width) to (N, P, width). A traced reshape reads the batch with Shape; ONNX's 0 means "as it was"."""

    @staticmethod
    def forward(_: Any, numbers: torch.Tensor, width: int) -> torch.Tensor:
        return numbers.reshape(numbers.shape[0], -1, width)

    @staticmethod
    def backward(_: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradients[0].flatten(1), None

    @staticmethod
    def symbolic(g: Any, numbers: Any, width: int) -> Any:
        shape = g.op("Constant", value_t=torch.tensor([0, -1, width], dtype=torch.int64))
        return g.op("Reshape", numbers, shape)


def rows_of_maps(maps: list[torch.Tensor], width: int) -> torch.Tensor:
    """Head outputs [N, A * width, h, w] as rows [N, P, width]: map by map, row-major by cell, then by prior.

    The order is that of `geometry.anchors.priors`.
    """
    numbers = [one.permute(0, 2, 3, 1).flatten(1) for one in maps]  # each (N, h * w * A * width)
    rows: torch.Tensor = _Rows.apply(torch.cat(numbers, dim=1), width)  # type: ignore[no-untyped-call]
    return rows
