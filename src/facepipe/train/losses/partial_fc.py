# SPDX-License-Identifier: Apache-2.0
"""Partial FC: class centres over all processes, the cross-entropy over them, and a sample of them for each step.

An et al. 2020, "Partial FC: Training 10 Million Identities on a Single Machine" (arXiv 2010.05222); the rules for
shards and samples are those of insightface's arcface_torch (partial_fc_v2.py), whose answers the tests compare with.

Each process has some of the classes and sees the embeddings of all; what it does not see is the others' centres:

    embeddings --gather--> all rows --x own centres--> cosines --margin--> logits --softmax over all processes--> loss

The gradient of the own centres is exact and stays here. That of the embeddings is summed over the processes, each of
which knows its classes' share of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from facepipe.errors import DataError
from facepipe.train.draws import generator
from facepipe.train.losses.margin import Margin, logits_of
from facepipe.train.processes import ALONE, Processes

Movement = Literal["v1", "v2"]
Draw = Callable[[np.ndarray, int, int, np.random.Generator], np.ndarray]

LEAST_PROBABILITY = 1e-30
"""arcface_torch's: no row adds more than 69.08 to the loss. The gradient is not bounded by it."""
SHORTEST = 1e-12
"""A vector that is shorter has no direction: its cosines are 0, and it gets no gradient."""
DRAWN_TOGETHER = 256
"""Classes whose first centres are drawn by one generator."""


def shard_of(classes: int, rank: int, world: int) -> tuple[int, int]:
    """The first class of a process and how many it has: the first `classes % world` processes have one more.

    Example:
        >>> [shard_of(37, rank, 3) for rank in range(3)]
        [(0, 13), (13, 12), (25, 12)]
    """
    return classes // world * rank + min(rank, classes % world), classes // world + (rank < classes % world)


def first_centres(seed: int, first: int, rows: int, dimension: int) -> np.ndarray:
    """Centres before the first step, float32 [rows, dimension], from N(0, .01).

    A class's centre depends on the seed and the class, not on how many classes or processes there are.
    """
    blocks = [
        generator(seed, "centres", block).standard_normal((DRAWN_TOGETHER, dimension), dtype=np.float32)
        for block in range(first // DRAWN_TOGETHER, (first + rows - 1) // DRAWN_TOGETHER + 1)
    ]
    start = first % DRAWN_TOGETHER
    return np.concatenate(blocks)[start : start + rows] * np.float32(0.01)


def draw_classes(positives: np.ndarray, rows: int, count: int, draws: np.random.Generator) -> np.ndarray:
    """Which of a process's classes take part in a step: those that the batch has, and others by lot up to `count`.

    Args:
        positives: int64, ascending: classes of this process that the batch has, numbered from 0.
        rows: how many classes this process has.
        count: how many shall take part; more do where the batch has more.
        draws: what the lot is drawn with.

    Returns:
        int64, ascending.
    """
    if len(positives) >= count:
        return positives
    absent = np.ones(rows, dtype=bool)
    absent[positives] = False
    drawn = draws.choice(np.flatnonzero(absent), count - len(positives), replace=False, shuffle=False)
    return np.sort(np.concatenate([positives, drawn]))


class PartialFC(nn.Module):
    """The last layer of a recogniser in training: a centre for each class, this process's share of them, and the loss.

    No optimiser has the centres: `advance` moves them, since those that took no part must be able to stand still.

        loss = head(embeddings, labels, margin, step)
        loss.backward()
        head.gradient()  # to be looked at, scaled or clipped in place
        head.advance(rate, momentum, weight_decay)

    Args:
        classes: of all processes together.
        dimension: numbers of an embedding.
        seed: of the first centres, and of the samples.
        rate: the share of a process's classes that takes part in a step, above 0 to 1.
        inter_class: cosines with other classes above it count as 0, with no gradient: against labels that are wrong
            (arcface_torch's interclass_filtering_threshold). None: no filter.
        movement: "v1": classes that take no part stand still, their momentum too, as in arcface_torch before 2022 and
            the paper. "v2": they go on by their momentum and shrink by weight decay at every step, as in today's.
        processes: who trains together.
        draw: chooses the classes of a step.

    Attributes:
        first, rows: this process has the classes [first, first + rows).
        weight: float32 [rows, dimension], the centres. It has no gradient itself: see `gradient`.
        momentum: float32 [rows, dimension].

    Raises:
        DataError: a rate outside of its range, an unknown movement, fewer classes than processes.
    """

    weight: nn.Parameter
    momentum: torch.Tensor

    def __init__(
        self,
        classes: int,
        dimension: int,
        seed: int,
        *,
        rate: float = 1.0,
        inter_class: float | None = None,
        movement: Movement = "v1",
        processes: Processes = ALONE,
        draw: Draw = draw_classes,
    ) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise DataError(f"centres: the sampled share is {rate}, expected above 0 to 1.")
        if movement not in get_args(Movement):
            raise DataError(f"centres: movement is '{movement}', expected one of {', '.join(get_args(Movement))}.")
        if classes < processes.world:
            raise DataError(
                f"centres: {classes} classes on {processes.world} processes, expected a class for each at least.",
                f"{max(classes, 1)} processes, or a data set with more people.",
            )
        self.classes, self.seed, self.rate, self.inter_class = classes, seed, rate, inter_class
        self.movement, self.processes, self.draw = movement, processes, draw
        self.first, self.rows = shard_of(classes, processes.rank, processes.world)
        centres = torch.from_numpy(first_centres(seed, self.first, self.rows, dimension)).to(processes.device)
        self.weight = nn.Parameter(centres, requires_grad=False)
        self.register_buffer("momentum", torch.zeros_like(centres))
        self._taken: torch.Tensor | None = None
        self._centres: torch.Tensor | None = None

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, margin: Margin, step: int) -> torch.Tensor:
        """The mean loss over the rows of all processes that have a label; the same number on each.

        The product of embeddings and centres is in the caller's autocast, all else in the centres' dtype.

        Args:
            embeddings: float [B, dimension], of any length; the same B on all processes. The gradient that it gets is
                `world` times that of the loss, since DistributedDataParallel takes the mean over the processes.
            labels: int64 [B], the class; -1 for a row that is padding: it adds nothing and gets the gradient 0.
            margin: this step's.
            step: which one, from 0: samples are drawn by (seed, step, rank).

        Returns:
            float32 []; 0, with gradients of 0, where no row has a label.

        Raises:
            DataError: labels are not int64, or one is no class: all processes raise alike.
        """
        if labels.dtype != torch.int64:
            raise DataError(f"labels: dtype {labels.dtype}, expected torch.int64.")
        labels = self.processes.gather(labels)  # [B] to [world * B]
        self._check(labels)
        rows = self._gathered(embeddings.to(self.weight.dtype))  # [B, D] to [world * B, D]
        here = (labels >= self.first) & (labels < self.first + self.rows)
        columns = torch.where(here, labels - self.first, -1)
        self._taken = self._drawn(columns, step)
        if self._taken is not None:
            columns = torch.where(here, torch.searchsorted(self._taken, columns), -1)
        centres = self.weight.detach() if self._taken is None else self.weight.detach()[self._taken]
        self._centres = centres.requires_grad_()
        with torch.autocast(self.weight.device.type, enabled=False):
            pair = _directions(rows), _directions(self._centres)
        cosines = nn.functional.linear(*pair).to(self.weight.dtype)  # [world * B, K]
        with torch.autocast(self.weight.device.type, enabled=False):
            cosines = cosines.clamp(-1, 1)
            if self.inter_class is not None:
                cosines = _without_near(cosines, columns, self.inter_class)
            return self._loss(logits_of(cosines, columns, margin), columns, labels >= 0)

    def gradient(self) -> torch.Tensor:
        """Of the last loss by the centres that took part, float32 [k, dimension]: itself, so that it can be scaled."""
        assert self._centres is not None and self._centres.grad is not None, "no loss went backward since `advance`"
        return self._centres.grad

    @torch.no_grad()
    def advance(self, rate: float, momentum: float, weight_decay: float) -> None:
        """One step of SGD, as torch.optim.SGD takes it, on the centres: v1 moves those that took part, v2 all.

        Args:
            rate: the learning rate.
            momentum: the share of the last step's movement that stays.
            weight_decay: the share of a centre that is added to its gradient.
        """
        gradient, taken = self.gradient(), self._taken
        if taken is None or self.movement == "v2":
            self.momentum.mul_(momentum).add_(self.weight, alpha=weight_decay)
            if taken is None:
                self.momentum.add_(gradient)
            else:
                self.momentum.index_add_(0, taken, gradient)
            self.weight.sub_(self.momentum, alpha=rate)
        else:
            centres = self.weight[taken]
            moved = self.momentum[taken].mul_(momentum).add_(centres, alpha=weight_decay).add_(gradient)
            self.momentum.index_copy_(0, taken, moved)
            self.weight.index_copy_(0, taken, centres.sub_(moved, alpha=rate))
        self._taken = self._centres = None

    def rows_state(self) -> dict[str, torch.Tensor]:
        """What must be saved of this process's classes: float32 [rows, dimension] by name."""
        return {"weight": self.weight.detach(), "momentum": self.momentum}

    @torch.no_grad()
    def load_rows(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take `rows_state` of exactly this process's classes.

        Raises:
            DataError: other classes, another dimension.
        """
        for name, own in self.rows_state().items():
            if state[name].shape != own.shape:
                raise DataError(f"centres: {name} is {list(state[name].shape)}, expected {list(own.shape)}.")
            own.copy_(state[name])

    def _gathered(self, rows: torch.Tensor) -> torch.Tensor:
        return _Gathered.apply(rows, self.processes)  # type: ignore[no-untyped-call]

    def _loss(self, logits: torch.Tensor, columns: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        return _CrossEntropy.apply(logits, columns, counted, self.processes)  # type: ignore[no-untyped-call]

    def _check(self, labels: torch.Tensor) -> None:
        for label in (int(labels.min()), int(labels.max())):
            if not -1 <= label < self.classes:
                raise DataError(
                    f"labels: {label} is no class, expected 0 to {self.classes - 1}, or -1 for a row of padding.",
                    "the class list that the samples were numbered by.",
                )

    def _drawn(self, columns: torch.Tensor, step: int) -> torch.Tensor | None:
        """Classes that take part in a step, int64 [k], ascending; None: all."""
        if self.rate == 1:
            return None
        positives = np.unique(columns[columns >= 0].cpu().numpy())
        draws = generator(self.seed, "classes", step, self.processes.rank)
        taken = self.draw(positives, self.rows, max(1, int(self.rate * self.rows)), draws)
        return torch.from_numpy(taken).to(columns.device)


def _directions(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors [N, D] at length 1; 0 where there is no direction."""
    lengths = vectors.norm(dim=1, keepdim=True)
    return vectors / lengths.clamp_min(SHORTEST) * (lengths > SHORTEST)


def _without_near(cosines: torch.Tensor, columns: torch.Tensor, threshold: float) -> torch.Tensor:
    """Cosines [N, K] with 0 for those above the threshold that are not their row's target."""
    rows = (columns >= 0).nonzero().flatten()
    near = cosines.detach() > threshold
    near[rows, columns[rows]] = False
    return cosines.masked_fill(near, 0)


class _Gathered(torch.autograd.Function):
    """Rows of all processes; back goes the sum of what each process says of the own rows, times their number."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, processes: Processes) -> torch.Tensor:
        ctx.processes, ctx.count = processes, len(rows)
        return processes.gather(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        processes: Processes = ctx.processes
        whole = processes.sum(gradient.clone(memory_format=torch.contiguous_format))
        return whole[processes.rank * ctx.count :][: ctx.count] * processes.world, None


class _CrossEntropy(torch.autograd.Function):
    """Mean of -log(softmax at the target) over the rows that count, where each process has some of the columns.

    Of a row, all learn the largest logit, the sum of powers and the target's logit: two all-reduces of [N] and [2, N].
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, columns: torch.Tensor, counted: torch.Tensor, processes: Processes
    ) -> torch.Tensor:
        rows = (columns >= 0).nonzero().flatten()
        largest = processes.max(logits.amax(dim=1))
        powers = (logits - largest[:, None]).exp_()
        targets = torch.zeros_like(largest)
        targets[rows] = logits[rows, columns[rows]] - largest[rows]
        sums, targets = processes.sum(torch.stack([powers.sum(dim=1), targets]))
        share = counted.to(logits.dtype) / counted.sum().clamp_min(1)  # of a row in the mean
        ctx.save_for_backward(powers.div_(sums[:, None]), columns, share)
        losses = (sums.log() - targets).clamp_max(-math.log(LEAST_PROBABILITY))
        return losses[counted] @ share[counted]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        probabilities, columns, share = ctx.saved_tensors
        share = share * gradient
        rows = (columns >= 0).nonzero().flatten()
        result = probabilities * share[:, None]
        result[rows, columns[rows]] -= share[rows]
        return result, None, None, None
