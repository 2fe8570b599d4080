# SPDX-License-Identifier: Apache-2.0
"""Layers that more than one network uses, written so that their ONNX needs no Shape, Gather or Expand."""

from __future__ import annotations

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
