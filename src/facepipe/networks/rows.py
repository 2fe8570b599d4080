# SPDX-License-Identifier: Apache-2.0
"""One row for each prior of a single-shot detector, in an ONNX that fixes neither the batch nor the image size."""

from __future__ import annotations

from typing import Any

import torch


class _Rows(torch.autograd.Function):
    """Reshape to (N, -1, width). A traced torch reshape reads the batch with Shape; ONNX's 0 means "as it was"."""

    @staticmethod
    def forward(_: Any, numbers: torch.Tensor, width: int) -> torch.Tensor:
        return numbers.reshape(numbers.shape[0], -1, width)

    @staticmethod
    def backward(_: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        raise NotImplementedError("these networks are for inference; training needs its own head")

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
