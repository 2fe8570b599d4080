# SPDX-License-Identifier: Apache-2.0
"""Sides that take turns on one machine, and what can be said of their ratio.

A machine that others share is not as fast now as it was a minute ago. So sides run in short rounds, each once in every
round, and what counts is the ratio within a round: whatever slows a round slows both its sides. The figure is the
median of those ratios, and its interval assumes nothing of how they are distributed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from facepipe.errors import DataError

CONFIDENCE = 0.95
LEAST_ROUNDS = 6  # with five, the least and the greatest hold the median between them in 94 % of all cases


@dataclass(frozen=True, slots=True)
class Spent:
    """What one side took for one round: seconds on the wall, and of all processors together (user and system)."""

    seconds: float
    cpu_seconds: float


class Side(Protocol):
    """Something that does a piece of work again and again."""

    @property
    def name(self) -> str: ...

    def work(self, shards: Sequence[int]) -> Spent: ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median, and the interval that holds the true one in 95 % of all cases."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def estimate(values: Sequence[float]) -> Estimate:
    """The median of independent values, with its interval by order statistics.

    As many values lie below the true median as heads come in n throws of a coin. The interval is the k-th least to the
    k-th greatest value, k being the greatest number for which fewer than k heads come in 2.5 % of all cases or fewer
    (W. J. Conover, Practical Nonparametric Statistics, 3rd edition, 1999, section 3.2).

    >>> estimate([1.9, 2.0, 2.1, 2.0, 2.2, 9.0])
    Estimate(median=2.05, low=1.9, high=9.0)

    Raises:
        DataError: fewer than six values, which have no such interval.
    """
    count = len(values)
    if count < LEAST_ROUNDS:
        raise DataError(f"bench: {count} rounds, expected {LEAST_ROUNDS} or more for an interval.", "--rounds 24")
    heads, k = 1, 0  # of all 2 ** count orders, those with k heads or fewer
    while heads / 2**count <= (1 - CONFIDENCE) / 2:
        k += 1
        heads += math.comb(count, k)
    ordered = sorted(values)
    return Estimate(statistics.median(ordered), ordered[k - 1], ordered[count - k])


def paired(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """How many times `other` is `one`, round by round."""
    return estimate([numerator / denominator for numerator, denominator in zip(one, other, strict=True)])


def take_turns(
    sides: Sequence[Side],
    rounds: Sequence[Sequence[int]],
    between: Callable[[], None],
    progress: Callable[[str], None],
) -> dict[str, list[Spent]]:
    """Every side does the same shards in every round. What each took, by name, round by round.

    The order turns around with every round: of two sides, each is as often the first as the second, so a machine that
    grows slower while a round lasts favours neither.

    Args:
        rounds: the shards of each.
        between: called before the first round, after the last, and between them.
        progress: told of every round that ends.
    """
    spent: dict[str, list[Spent]] = {side.name: [] for side in sides}
    between()
    for number, shards in enumerate(rounds, 1):
        for side in sides if number % 2 else reversed(sides):
            spent[side.name].append(side.work(shards))
        between()
        took = ", ".join(
            f"{name} {rows[-1].seconds:.2f} s ({rows[-1].cpu_seconds:.2f})" for name, rows in spent.items()
        )
        progress(f"round {number} of {len(rounds)}: {took}")
    return spent
