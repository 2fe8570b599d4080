# SPDX-License-Identifier: Apache-2.0
"""Dropout whose mask is a function of (seed, step, rank)."""

from __future__ import annotations

import torch
from torch import nn

from facepipe.train.draws import torch_generator
from facepipe.train.processes import Processes


class Dropout:
    """A hook before a layer: in training, a share of its inputs is 0 and the others are made larger in proportion.

    Source: Srivastava et al. 2014, "Dropout", section 10 (scaled in training, as torch does).
    """

    def __init__(self, share: float, seed: int, processes: Processes) -> None:
        self._share, self._seed, self._processes = share, seed, processes
        self.step = 0
        """The step whose mask is drawn next."""

    def __call__(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        rows = inputs[0]
        if not layer.training:
            return inputs
        draws = torch_generator(self._seed, "dropout", self.step, self._processes.rank, device=rows.device)
        kept = torch.rand(rows.shape, generator=draws, device=rows.device) >= self._share
        return (rows * kept / (1 - self._share), *inputs[1:])
