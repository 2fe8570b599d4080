# SPDX-License-Identifier: Apache-2.0
"""Learning rate and margin as functions of the step: nothing of them is kept, so nothing has to be saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Shape = Literal["polynomial", "marks", "cosine", "constant"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the learning rate moves over a run.

    Attributes:
        rate: after the warm-up.
        steps: of the whole run.
        warm_up: steps in which the rate rises in a straight line.
        shape: of what follows. "polynomial": to 0 by (1 - x) ** power, x the share of what follows that is done;
            "cosine": to 0 by (1 + cos(pi x)) / 2; "marks": times `factor` from each mark on; "constant".
        marks: steps, ascending.
    """

    rate: float
    steps: int
    warm_up: int = 0
    shape: Shape = "polynomial"
    power: float = 1.0
    marks: Sequence[int] = ()
    factor: float = 0.1

    def at(self, step: int) -> float:
        """The rate of the step of that number, from 0.

        In a warm-up of w steps it is rate * step / w, as arcface_torch's PolynomialLRWarmup has it, whose very first
        step however is taken at the full rate; here that one has the second's.

        Source: arcface_torch, lr_scheduler.py (deepinsight/insightface @ 7fadd42).

        Example:
            >>> schedule = Schedule(0.1, steps=20, warm_up=4)
            >>> [round(schedule.at(step), 5) for step in (0, 1, 4, 5, 20)]
            [0.025, 0.025, 0.1, 0.09375, 0.0]
        """
        if step < self.warm_up:
            return self.rate * max(step, 1) / self.warm_up
        if self.shape == "marks":
            return self.rate * self.factor ** sum(step >= mark for mark in self.marks)
        if self.shape == "constant":
            return self.rate
        done = min((step - self.warm_up) / max(self.steps - self.warm_up, 1), 1.0)
        fall = (1 - done) ** self.power if self.shape == "polynomial" else (1 + math.cos(math.pi * done)) / 2
        return self.rate * fall
