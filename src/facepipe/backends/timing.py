# SPDX-License-Identifier: Apache-2.0
"""How long one call of a network takes.

A compiled model is timed as its vendor times it: the copy in, the execution and the copy out apart, 20 calls at least
after one that is not counted, at the very shape it was compiled for. What a vendor publishes is the execution alone
(msame's gettimeofday around it, ais_bench's NPU_compute_time).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from facepipe.backends.base import CheckedSession, Run

LEAST_CALLS, LEAST_SECONDS = 3, 1.5  # of one measurement, after one call to warm up
LOOPS = 20  # of a compiled model


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds of one stage over the calls that are counted."""

    mean_ms: float
    median_ms: float
    least_ms: float

    @staticmethod
    def of(spent: Sequence[float]) -> Spread:
        """Of milliseconds, at least one."""
        return Spread(statistics.mean(spent), statistics.median(spent), min(spent))


@dataclass(frozen=True, slots=True)
class Stages:
    """One call of a compiled model, taken apart; None where the runner does not tell it."""

    copy_in: Spread | None
    execute: Spread
    copy_out: Spread | None


@runtime_checkable
class StagedSession(Protocol):
    """A session of a compiled model, which can time its stages."""

    def time_stages(self, image: np.ndarray, loops: int) -> Stages:
        """`loops` calls on one input, of exactly a shape that the model was compiled for, after one not counted.

        Raises:
            BackendError: it was compiled for other shapes, or the runner failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one call: the median, the mean and the least, and how many calls they are of.

    Of a compiled model they are the execution's alone, and `stages` has the rest.
    """

    median_ms: float
    mean_ms: float
    least_ms: float
    calls: int
    stages: Stages | None = None

    def in_words(self, rows: int) -> str:
        """What is told beside the median of a compiled model; nothing of another."""
        if self.stages is None:
            return ""
        copies = [
            f"{way} {spread.median_ms:.3f}"
            for way, spread in (("in", self.stages.copy_in), ("out", self.stages.copy_out))
            if spread is not None
        ]
        told = f" copies {', '.join(copies)} ms;" if copies else ""
        return f"  the execution alone;{told} {self.median_ms / rows:.4f} ms a row"


def time_session(session: CheckedSession, shape: tuple[int, ...], seconds: float = LEAST_SECONDS) -> Latency:
    """`time_calls`; of a compiled model its stages.

    Raises:
        TensorError: the network takes no such shape.
        BackendError: the model was compiled for other shapes.
    """
    inner = session.session
    if not isinstance(inner, StagedSession):
        return time_calls(session.run, shape, seconds=seconds)
    image = _noise(shape)
    session.spec.input.check(image, f"{session.spec.name} input")
    stages = inner.time_stages(image, LOOPS)
    execute = stages.execute
    return Latency(execute.median_ms, execute.mean_ms, execute.least_ms, LOOPS, stages)


def time_calls(
    run: Run,
    shape: tuple[int, ...],
    *,
    seconds: float = LEAST_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Call a network again and again on one input, uniform noise float32 of `shape` in [-1, 1].

    The first call is not counted. The others go on until they took `seconds` together, and are `LEAST_CALLS` at least.

    Raises:
        TensorError: the network takes no such shape.
    """
    image = _noise(shape)
    run(image)
    spent = list[float]()
    while len(spent) < LEAST_CALLS or sum(spent) < seconds:
        began = clock()
        run(image)
        spent.append(clock() - began)
    spread = Spread.of([1000 * one for one in spent])
    return Latency(spread.median_ms, spread.mean_ms, spread.least_ms, len(spent))


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
