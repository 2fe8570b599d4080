# SPDX-License-Identifier: Apache-2.0
"""The learning rate by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facepipe.train.schedule import Schedule


@pytest.mark.assets
def test_the_polynomial_is_arcface_torchs(golden: Path) -> None:
    with np.load(golden / "training" / "partial_fc.npz") as arrays:
        for warm_up, power in ((0, 1), (4, 1), (4, 2)):
            rates = arrays[f"learning_rate_warmup{warm_up}_total20_power{power}"]
            for column, base in enumerate((0.1, 0.05)):
                schedule = Schedule(base, steps=20, warm_up=warm_up, power=power)
                first = 1 if warm_up else 0  # its first step is at the full rate although a warm-up follows
                ours = [schedule.at(step) for step in range(first, 23)]
                assert ours == pytest.approx(rates[first:, column].tolist(), rel=1e-12, abs=1e-15)


def test_a_warm_up_begins_low_and_never_at_0() -> None:
    schedule = Schedule(0.1, steps=100, warm_up=10)
    assert 0 < schedule.at(0) <= schedule.at(1) < schedule.at(5) < schedule.at(10) == 0.1


def test_marks_take_the_rate_down_from_that_step_on() -> None:
    schedule = Schedule(1.0, steps=100, shape="marks", marks=(10, 20), factor=0.5)
    assert [schedule.at(step) for step in (9, 10, 19, 20, 99)] == [1, 0.5, 0.5, 0.25, 0.25]


def test_the_cosine_falls_from_the_rate_to_0() -> None:
    schedule = Schedule(1.0, steps=100, shape="cosine")
    assert schedule.at(0) == 1
    assert schedule.at(50) == pytest.approx(0.5)
    assert schedule.at(100) == pytest.approx(0)


def test_a_constant_rate_stays() -> None:
    assert {Schedule(0.3, steps=10, shape="constant").at(step) for step in range(10)} == {0.3}
