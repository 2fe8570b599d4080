# SPDX-License-Identifier: Apache-2.0
"""Training steps of MobileFaceNet_128 with ArcFace on made pictures, for ranks that shall do what one process does."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from ranks import by_processes
from seeded_weights import seeded_state
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.sgd import sgd

from facepipe.networks import build
from facepipe.train.batch_norm import Kind, set_batch_norm
from facepipe.train.draws import generator
from facepipe.train.losses.margin import ARCFACE
from facepipe.train.losses.partial_fc import PartialFC
from facepipe.train.processes import Processes

NETWORK, CLASSES, DIMENSION, RATE = "mobilefacenet_prelu", 500, 128, 1e-3


class Trained(NamedTuple):
    """Of one rank: the loss of every step, the last step's gradients, and what came out of all steps.

    `gradients` and `network` are by the name of a parameter or buffer; centres are this rank's rows.
    """

    losses: list[float]
    gradients: dict[str, np.ndarray]
    centres_gradient: np.ndarray
    network: dict[str, np.ndarray]
    centres: np.ndarray


def train(
    processes: Processes, kind: Kind, batch: int, steps: int, dtype: torch.dtype = torch.float32, smooth: bool = False
) -> Trained:
    """Steps of SGD from seeded weights on a global batch, each step with other pictures of other people.

    Args:
        smooth: begin with slopes of 1, so that no activation bends. Where it does, a value that rounding moves past 0
            gets another slope, and gradients in float32 differ by far more than its precision.
    """
    network = build(NETWORK).train()
    network.load_state_dict(seeded_state(NETWORK))
    for module in network.modules():
        if smooth and isinstance(module, nn.PReLU):
            nn.init.ones_(module.weight)
    set_batch_norm(network.to(dtype), kind, processes)
    model = network if processes.world == 1 else DistributedDataParallel(network, forward_sync_buffers=False)
    head = PartialFC(CLASSES, DIMENSION, 5, processes=processes).to(dtype)
    parameters = dict(network.named_parameters())
    momenta: list[torch.Tensor | None] = [None] * len(parameters)
    own, losses = batch // processes.world, []
    for step in range(steps):
        draws = generator(5, "pictures", step)
        pictures = draws.standard_normal((batch, 3, 112, 112), dtype=np.float32)
        labels = draws.integers(0, CLASSES, batch)
        here = slice(own * processes.rank, own * processes.rank + own)
        network.zero_grad()
        loss = head(model(torch.tensor(pictures[here], dtype=dtype)), torch.tensor(labels[here]), ARCFACE, step)
        loss.backward()
        losses.append(loss.item())
        gradients = [value.grad for value in parameters.values()]
        last = head.gradient().numpy().copy()
        with torch.no_grad():
            sgd(
                list(parameters.values()), gradients, momenta, foreach=False,
                lr=RATE, momentum=0.9, weight_decay=5e-4, dampening=0, nesterov=False, maximize=False,
            )  # fmt: skip
        head.advance(RATE, 0.9, 5e-4)
    return Trained(
        losses,
        {name: value.numpy().copy() for name, value in zip(parameters, gradients, strict=True)},
        last,
        {name: value.numpy().copy() for name, value in network.state_dict().items()},
        head.rows_state()["weight"].numpy(),
    )


class Apart(NamedTuple):
    """How far two processes are from one: as shares of the largest entry of all gradients, weights or centres."""

    losses: list[float]
    gradients: float
    centres_gradient: float
    network: float
    centres: float


def two_and_one(
    executor: Executor, kind: Kind, batch: int, steps: int, dtype: torch.dtype = torch.float32, smooth: bool = False
) -> Apart:
    """Train with two processes and with one, on the same pictures.

    Raises:
        AssertionError: the two processes did not end with the same network.
    """
    (one,) = by_processes(executor, 1, train, kind, batch, steps, dtype, smooth)
    first, second = by_processes(executor, 2, train, kind, batch, steps, dtype, smooth)
    for name in one.network:
        assert np.array_equal(first.network[name], second.network[name]), f"{name}: the processes part"
    centres = (np.concatenate([first.centres, second.centres]), one.centres)
    return Apart(
        [abs(found / expected - 1) for found, expected in zip(first.losses, one.losses, strict=True)],
        _apart(first.gradients, one.gradients),
        _apart({"": np.concatenate([first.centres_gradient, second.centres_gradient])}, {"": one.centres_gradient}),
        _apart(first.network, one.network),
        _apart({"": centres[0]}, {"": centres[1]}),
    )


def rounding(executor: Executor, kind: Kind, batch: int) -> float:
    """How far the first step's gradients in float32 are from those in float64, on one process."""
    single, double = (
        by_processes(executor, 1, train, kind, batch, 1, dtype)[0] for dtype in (torch.float32, torch.float64)
    )
    return _apart(single.gradients, double.gradients)


def _apart(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    largest = max(float(np.abs(value).max()) for value in expected.values())
    return max(float(np.abs(found[name] - value).max()) for name, value in expected.items()) / largest
