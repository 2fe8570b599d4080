# SPDX-License-Identifier: Apache-2.0
"""How long one call of a network takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facepipe.backends.base import Run

LEAST_CALLS, LEAST_SECONDS = 3, 1.5  # of one measurement, after one call to warm up


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one call: the median and the least, and how many calls they are of."""

    median_ms: float
    least_ms: float
    calls: int


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
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    run(image)
    spent = list[float]()
    while len(spent) < LEAST_CALLS or sum(spent) < seconds:
        began = clock()
        run(image)
        spent.append(clock() - began)
    return Latency(1000 * statistics.median(spent), 1000 * min(spent), len(spent))
