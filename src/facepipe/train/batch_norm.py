# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation with statistics of one process, of all processes together, or frozen ones.

torch's own SyncBatchNorm runs on CUDA alone. This one is a sum over the processes that gradients go through, and the
formula (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1); so it runs wherever torch.distributed does, with any
number of rows on each process, none included.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from facepipe.errors import DataError
from facepipe.train.processes import Processes

Kind = Literal["local", "synchronised", "frozen"]


def set_batch_norm(network: nn.Module, kind: Kind, processes: Processes) -> int:
    """Give every batch normalisation of a network statistics of the asked kind, in place.

    Parameters, buffers and their names in the state dict stay the same objects. In eval mode all kinds are the same.

    Args:
        network: with torch's own layers of batch normalisation, in training or not.
        kind: "local": as torch does, statistics of the rows that this process has. "synchronised": of the rows of all
            processes, as if there were one. "frozen": the running ones, which stay as they are; weights and biases
            are trained all the same.
        processes: who trains together.

    Returns:
        How many layers there are.

    Raises:
        DataError: there is no such kind.
    """
    if kind not in get_args(Kind):
        raise DataError(f"batch normalisation: '{kind}', expected one of {', '.join(get_args(Kind))}.")
    layers = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, _BatchNorm)
    ]
    for parent, name, layer in layers:
        setattr(parent, name, _adopted(layer, kind, processes))
    return len(layers)


def _adopted(layer: _BatchNorm, kind: Kind, processes: Processes) -> _BatchNorm:
    """A layer of the kind that has the parameters and buffers of another."""
    new: _BatchNorm
    if kind == "synchronised":
        new = _Synchronised(layer.num_features, layer.eps, layer.momentum, processes)
    else:
        new = {"local": _Local, "frozen": _Frozen}[kind](layer.num_features, layer.eps, layer.momentum)
    new.weight, new.bias = layer.weight, layer.bias
    for name, buffer in layer.named_buffers():
        setattr(new, name, buffer)
    return new.train(layer.training)


class _SumOverProcesses(torch.autograd.Function):
    """y = sum of x over the processes; so the gradient of x is the sum of y's gradients over the processes."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, processes: Processes) -> torch.Tensor:
        ctx.processes = processes
        return processes.sum(x.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.processes.sum(gradient.clone()), None


class _Local(_BatchNorm):
    """[N, C, ...] to the same, by the statistics of these rows: torch's own."""

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Any shape that has channels second."""


class _Frozen(_Local):
    """[N, C, ...] to the same, by the running statistics, in training too."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _by_running_statistics(self, input)


class _Synchronised(_Local):
    """[N, C, ...] to the same, by the statistics of the rows of all processes; each may have another N, 0 too."""

    def __init__(self, channels: int, eps: float, momentum: float | None, processes: Processes) -> None:
        super().__init__(channels, eps, momentum)
        self.processes = processes

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return _by_running_statistics(self, input)
        x = input.to(self.running_mean.dtype)  # half precision is summed in float32
        axes = [0, *range(2, x.dim())]
        wide = [1, -1, *[1] * (x.dim() - 2)]
        here = x.new_full((1,), x.numel() // x.shape[1])  # values of a channel
        sums = self._over_processes(torch.cat([x.sum(axes), here]))
        count = sums[-1].detach().clamp_min(1)
        mean = sums[:-1] / count
        centred = x - mean.view(wide)
        variance = self._over_processes(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach(), count)
        factor = (variance + self.eps).rsqrt()
        factor = factor if self.weight is None else factor * self.weight
        result = centred * factor.view(wide)
        return (result if self.bias is None else result + self.bias.view(wide)).to(input.dtype)

    def _over_processes(self, x: torch.Tensor) -> torch.Tensor:
        return _SumOverProcesses.apply(x, self.processes)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        """Move the running statistics; one value or none says nothing of a variance, and moves nothing."""
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        share = (count > 1).to(mean.dtype) * share
        self.running_mean.add_((mean - self.running_mean) * share)
        self.running_var.add_((variance * count / (count - 1).clamp_min(1) - self.running_var) * share)


def _by_running_statistics(layer: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, training=False, eps=layer.eps
    )
