# SPDX-License-Identifier: Apache-2.0
"""What a step of a training moves: backbone, centres and their momentum, put together from a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from facepipe.convert.onnx.checkpoint import load as load_weights
from facepipe.errors import DataError
from facepipe.networks import build
from facepipe.networks.iresnet import DEPTHS
from facepipe.specs import ModelSpec
from facepipe.train.batch_norm import set_batch_norm
from facepipe.train.draws import torch_generator
from facepipe.train.dropout import Dropout
from facepipe.train.losses.margin import Margin
from facepipe.train.losses.partial_fc import PartialFC
from facepipe.train.processes import Processes
from facepipe.train.recipe import Recipe
from facepipe.train.schedule import Schedule
from facepipe.train.state import Rows, Tensors

RESIDUAL: Final = tuple(f"iresnet{depth}" for depth in DEPTHS)
"""Networks whose last normalisation keeps the weight 1, as in arcface_torch."""


@dataclass(frozen=True, slots=True)
class Learner:
    """What moves in a step, and by which rules.

    Attributes:
        init: sha256 of the weights that it began with, as they were read; None: they were drawn.
        network: the backbone, on its device, in channels_last.
        parallel: the same with gradients averaged over the processes.
        head: the centres of this process's classes.
        optimiser: of the backbone.
        rates: the learning rate by step.
        margin: after its warm-up, which takes `margin_steps`.
        slice: samples of one process in one step.
        dropout: before the last layer; None: none.
    """

    recipe: Recipe
    spec: ModelSpec
    init: str | None
    network: nn.Module
    parallel: nn.Module
    head: PartialFC
    optimiser: torch.optim.SGD
    rates: Schedule
    margin: Margin
    margin_steps: int
    slice: int
    processes: Processes
    dropout: Dropout | None


def make_learner(
    recipe: Recipe, spec: ModelSpec, classes: int, steps_of_epoch: int, init: Path | None, processes: Processes
) -> Learner:
    """The learner before its first step.

    Args:
        init: weights that the backbone begins with; None: drawn by the recipe's seed.

    Raises:
        DataError: the recipe asks for what its network has not, or there are fewer classes than processes.
        WeightsError: the weights are another network's.
    """
    if init is None:
        network, sha256 = first_weights(spec, recipe.seed), None
    else:
        loaded = load_weights(spec, init, any_digest=True)
        network, sha256 = loaded.network.requires_grad_(True), loaded.sha256
    network = network.to(processes.device).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if spec.network in RESIDUAL:
        network.features.weight.requires_grad_(False)  # type: ignore[union-attr, operator]
    set_batch_norm(network, recipe.batch_norm, processes)
    dropout = _add_dropout(network, recipe, processes) if recipe.dropout else None
    head = PartialFC(
        classes,
        spec.outputs[0].dims[1].low,
        recipe.seed,
        rate=recipe.sample_rate,
        inter_class=recipe.inter_class or None,
        movement=recipe.centres,
        processes=processes,
    )
    parallel: nn.Module = network
    if processes.world > 1:
        parallel = DistributedDataParallel(network, [processes.device] if processes.device.type == "cuda" else None)
    optimiser = torch.optim.SGD(
        network.parameters(), recipe.rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    return Learner(
        recipe,
        spec,
        sha256,
        network,
        parallel,
        head,
        optimiser,
        recipe.rates(steps_of_epoch),
        Margin(recipe.scale, recipe.m1, recipe.m2, recipe.m3, recipe.margin_gradient),
        round(recipe.margin_warm_up * steps_of_epoch),
        recipe.batch // processes.world,
        processes,
        dropout,
    )


def momentum_of(learner: Learner) -> dict[str, torch.Tensor]:
    """The momentum of the backbone's parameters by name; none of those that do not learn."""
    kept = learner.optimiser.state
    found = {name: kept[entry].get("momentum_buffer") for name, entry in learner.network.named_parameters()}
    return {name: buffer for name, buffer in found.items() if buffer is not None}


def put_back(learner: Learner, weights: Tensors, momentum: Tensors, rows: Rows) -> None:
    """Give a learner what a checkpoint holds: weights and momentum of the backbone, and its own rows of the centres."""
    learner.network.load_state_dict(dict(weights))
    learner.head.load_rows({"weight": rows.weight, "momentum": rows.momentum})
    for name, entry in learner.network.named_parameters():
        if name in momentum:
            learner.optimiser.state[entry]["momentum_buffer"] = torch.empty_like(entry).copy_(momentum[name])


def first_weights(spec: ModelSpec, seed: int) -> nn.Module:
    """The network before its first step, drawn by the seed, layer by layer.

    Convolutions of MobileFaceNet are N(0, 2 / fan-in), as the Paddle port begins; those of iResNet N(0, .1 squared),
    and its last normalisation keeps the weight 1, as in arcface_torch. All else is as torch begins.
    """
    network = build(spec.network)
    for number, layer in enumerate(network.modules()):
        draws = torch_generator(seed, "weights", number)
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, 0, 0.1 if spec.network in RESIDUAL else (2 / fan_in) ** 0.5, generator=draws)
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, 5**0.5, generator=draws)
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.bias, -bound, bound, generator=draws)
    return network


def _add_dropout(network: nn.Module, recipe: Recipe, processes: Processes) -> Dropout:
    """Dropout before the last layer of an iResNet, which has no entry in its state dict.

    Raises:
        DataError: the network has no such layer.
    """
    last = getattr(network, "fc", None)
    if last is None:
        raise DataError(
            f"recipe: 'dropout' is {recipe.dropout}, and {recipe.model} has no layer for it.", "--set dropout=0"
        )
    dropout = Dropout(recipe.dropout, recipe.seed, processes)
    last.register_forward_pre_hook(dropout)
    return dropout
