# SPDX-License-Identifier: Apache-2.0
"""Ratios of sides whose true ratio is known, on a machine that changes while they are measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from benchmarks.paired import Estimate, Spent, estimate, paired, take_turns

from facepipe.errors import DataError

TRUE = 3.0  # how many times the time of one side the other takes


@dataclass
class Machine:
    """A clock, and how slow the machine is at each moment: 1 is its best."""

    slowness: Callable[[float], float]
    now: float = 0.0


@dataclass
class Fake:
    """A side that takes `cost` seconds at the machine's best, with some noise of its own."""

    name: str
    cost: float
    machine: Machine
    seed: int
    order: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def work(self, shards: Sequence[int]) -> Spent:
        noise = self.random.normal(1, 0.01)
        spent = self.cost * noise * self.machine.slowness(self.machine.now)
        self.machine.now += spent
        self.order.append(self.name)
        return Spent(spent, 2 * spent)


def measured(slowness: Callable[[float], float], rounds: int) -> tuple[list[float], list[float], list[str]]:
    """Seconds of the slow side and of the fast one, round by round, and who was when at work."""
    machine, order = Machine(slowness), list[str]()
    sides = [Fake("slow", TRUE, machine, 1, order), Fake("fast", 1.0, machine, 2, order)]
    spent = take_turns(sides, [[0]] * rounds, lambda: None, lambda _: None)
    return [row.seconds for row in spent["slow"]], [row.seconds for row in spent["fast"]], order


def test_a_machine_that_grows_slower_moves_the_ratio_of_medians_and_not_the_paired_one() -> None:
    def slower(now: float) -> float:
        return 1 + now / 60  # after a minute half as fast

    slow, fast, _ = measured(slower, rounds=20)
    assert slow[-1] > 2 * slow[0]
    found = paired(slow, fast)
    assert found.low <= TRUE * 1.01 and found.high >= TRUE * 0.99
    assert found.median == pytest.approx(TRUE, rel=0.02)
    # One side after the other, as many times each: the second one meets the slower machine.
    machine = Machine(slower)
    medians = [
        statistics.median(side.work([0]).seconds for _ in range(20))
        for side in (Fake("slow", TRUE, machine, 1), Fake("fast", 1.0, machine, 2))
    ]
    assert medians[0] / medians[1] < 0.75 * TRUE


def test_a_machine_that_slows_within_a_round_moves_the_ratio_of_medians_and_not_the_paired_one() -> None:
    def slowed(now: float) -> float:
        return 1 if now < 28.5 else 1.5  # rounds take 4 seconds: between the turns of the middle one of 15

    slow, fast, _ = measured(slowed, rounds=15)
    assert paired(slow, fast).median == pytest.approx(TRUE, rel=0.02)
    plain = statistics.median(slow) / statistics.median(fast)
    assert abs(plain / TRUE - 1) > 0.2


def test_the_order_turns_around_and_limits_are_measured_between_the_rounds() -> None:
    machine, order = Machine(lambda _: 1), list[str]()
    sides = [Fake("a", 1, machine, 1, order), Fake("b", 1, machine, 2, order), Fake("c", 1, machine, 3, order)]
    said = list[str]()
    spent = take_turns(sides, [[0], [1], [2]], lambda: order.append("|"), said.append)
    assert "".join(order) == "|abc|cba|abc|"
    assert {name: len(rows) for name, rows in spent.items()} == {"a": 3, "b": 3, "c": 3}
    assert len(said) == 3 and said[0].startswith("round 1 of 3: a ")


@pytest.mark.parametrize(
    ("count", "k"), [(6, 1), (8, 1), (9, 2), (20, 6), (25, 8), (50, 18)]
)  # Conover's table of confidence intervals for the median, by P(B < k) <= 0.025 of a coin thrown `count` times
def test_the_interval_is_that_of_order_statistics(count: int, k: int) -> None:
    assert sum(math.comb(count, heads) for heads in range(k)) / 2**count <= 0.025
    assert sum(math.comb(count, heads) for heads in range(k + 1)) / 2**count > 0.025
    values = [float(value) for value in range(1, count + 1)]
    assert estimate(values[::-1]) == Estimate((count + 1) / 2, float(k), float(count + 1 - k))


def test_the_interval_holds_the_median_in_95_of_100_cases_whatever_the_distribution() -> None:
    random = np.random.default_rng(0)
    draws = 1 + random.standard_cauchy((2000, 15))  # its mean does not exist; its median is 1
    held = [found.low <= 1 <= found.high for found in map(estimate, draws.tolist())]
    assert 0.95 <= np.mean(held) <= 0.99


def test_five_rounds_have_no_such_interval() -> None:
    with pytest.raises(DataError, match="5 rounds, expected 6 or more"):
        estimate([1.0] * 5)
