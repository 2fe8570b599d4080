# SPDX-License-Identifier: Apache-2.0
"""The time of a call is the median of the calls that were counted, by a clock whose every reading is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from facepipe.backends.timing import LEAST_CALLS, time_calls


def clock_of(*spent: float) -> itertools.chain[float]:
    """Readings before and after calls that take so many seconds."""
    return itertools.chain.from_iterable((0.0, seconds) for seconds in spent)


def test_the_first_call_is_not_counted_and_the_median_is_told() -> None:
    seen = list[tuple[int, ...]]()

    def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append(image.shape)
        assert image.dtype == np.float32 and np.abs(image).max() <= 1
        return (image,)

    readings = clock_of(0.5, 0.1, 0.3)
    latency = time_calls(run, (2, 3, 4, 5), seconds=0.8, clock=readings.__next__)
    assert (latency.median_ms, latency.least_ms, latency.calls) == pytest.approx((300, 100, 3))
    assert latency.mean_ms == pytest.approx(1000 * (0.5 + 0.1 + 0.3) / 3) and latency.in_words(2) == ""
    assert seen == [(2, 3, 4, 5)] * 4


def test_calls_go_on_until_they_took_long_enough_and_are_some_at_least() -> None:
    run = lambda image: (image,)  # noqa: E731
    assert time_calls(run, (1,), seconds=1, clock=clock_of(*[0.25] * 9).__next__).calls == 4
    assert time_calls(run, (1,), seconds=0, clock=clock_of(*[9.0] * 9).__next__).calls == LEAST_CALLS
