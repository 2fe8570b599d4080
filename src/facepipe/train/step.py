# SPDX-License-Identifier: Apache-2.0
"""One step of a training: forward, backward, clip, and both optimisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from facepipe.errors import DataError
from facepipe.specs import ModelSpec
from facepipe.train.data.face_set import FaceSet
from facepipe.train.learner import Learner
from facepipe.train.loader import Batch
from facepipe.train.losses.margin import warmed_up
from facepipe.train.precision import LossScale

_DTYPES: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Step:
    """What all processes know of a step that is done.

    Attributes:
        loss: mean over the samples that could be read.
        overflowed: the gradients were no numbers, and nothing moved (float16 alone).
        stop: one of the processes was asked to stop.
        damaged: samples that could not be read, in all processes.
    """

    loss: float
    overflowed: bool
    stop: bool
    damaged: int


def take_step(
    learner: Learner, faces: FaceSet, batch: Batch, step: int, scale: LossScale, stop: Callable[[], bool]
) -> Step:
    """One step; what all processes have to know of it goes round in one message.

    Args:
        faces: for the names of samples.
        batch: this process's slice.
        step: which one, from 0.
        scale: of the loss.
        stop: whether this process was asked to stop.

    Raises:
        DataError: the loss or a gradient is no number (the samples are named), or no sample could be read.
    """
    recipe, processes = learner.recipe, learner.processes
    learner.optimiser.zero_grad(set_to_none=True)
    margin = warmed_up(learner.margin, step, learner.margin_steps)
    if learner.dropout is not None:
        learner.dropout.step = step
    if len(batch.labels) < 2:
        raise DataError(
            f"train: {len(batch.labels)} of the {learner.slice} samples of step {step} can be read, expected 2 or "
            "more.",
            "`facepipe train-data pack SET --out FILE` leaves out what is damaged.",
        )
    with torch.autocast(processes.device.type, _DTYPES.get(recipe.precision), enabled=recipe.precision in _DTYPES):
        found = learner.parallel(network_input(batch.pictures, learner.spec, processes.device))  # [b, D]
        embeddings, labels = _padded(found.float(), batch.labels.to(processes.device), learner.slice)
        loss = learner.head(embeddings, labels, margin, step)
    (loss * scale.factor).backward()
    learned = [entry for entry in learner.network.parameters() if entry.grad is not None]
    gradients, of_centres = [entry.grad for entry in learned if entry.grad is not None], learner.head.gradient()
    for gradient in (*gradients, of_centres) if scale.moves else ():
        gradient.div_(scale.factor)
    norm = nn.utils.get_total_norm(gradients)
    value = loss.item()
    # Of each, how many processes say so: a stop, a loss that is no number, a gradient that is none, damaged samples.
    told = torch.tensor(
        [stop(), not _is_finite(value), not torch.isfinite(norm + of_centres.norm()).item(), len(batch.damaged)],
        dtype=torch.float64,
        device=processes.device,
    )
    stopped, lost, overflowed, damaged = (int(count) for count in processes.sum(told).tolist())
    if lost or (overflowed and not (scale.moves and scale.factor > 1)):
        raise _not_finite(step, value, found, batch, faces)
    if not overflowed:
        if recipe.clip:
            nn.utils.clip_grads_with_norm_(learned, recipe.clip, norm)
        rate = learner.rates.at(step)
        for group in learner.optimiser.param_groups:
            group["lr"] = rate
        learner.optimiser.step()
        learner.head.advance(rate, recipe.momentum, recipe.weight_decay)
    return Step(value, bool(overflowed), bool(stopped), damaged)


def network_input(pictures: torch.Tensor, spec: ModelSpec, device: torch.device) -> torch.Tensor:
    """uint8 [b, S, S, 3], RGB, to what the network takes: float32 [b, 3, S, S], in channels_last."""
    values = pictures.to(device, non_blocking=True).to(torch.float32)  # a quarter of the bytes go over
    if spec.pixels.order == "BGR":
        values = values.flip(3)
    mean, scale = (torch.tensor(of, dtype=torch.float32, device=device) for of in (spec.pixels.mean, spec.pixels.scale))
    return ((values - mean) * scale).permute(0, 3, 1, 2)  # its strides are those of channels_last


def _padded(embeddings: torch.Tensor, labels: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [b, D] and labels [b] to [rows, D] and [rows]: zeros, and the label -1, for what was left out."""
    absent = rows - len(labels)
    if not absent:
        return embeddings, labels
    return nn.functional.pad(embeddings, (0, 0, 0, absent)), nn.functional.pad(labels, (0, absent), value=-1)


def _not_finite(step: int, loss: float, embeddings: torch.Tensor, batch: Batch, faces: FaceSet) -> DataError:
    """The error of a loss or gradient that is no number; it names the samples of this process whose embeddings are
    none, else those of its batch."""
    bad = ~torch.isfinite(embeddings).all(dim=1).cpu()
    samples = batch.samples[bad] if bool(bad.any()) else batch.samples
    keys = [faces.keys[sample] for sample in samples.tolist()]
    shown = f"{', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
    what = "their embeddings are no numbers" if bool(bad.any()) else "the batch"
    return DataError(
        f"train: the loss is {loss:.4g} at step {step}, or its gradient is no number, expected finite ones; {what}: "
        f"{shown}.",
        "a smaller --set rate=..., a longer --set margin_warm_up=..., or look at those samples; the checkpoint before "
        "it is kept.",
    )


def _is_finite(value: float) -> bool:
    return value - value == 0
