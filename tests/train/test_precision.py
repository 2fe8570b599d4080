# SPDX-License-Identifier: Apache-2.0
"""The factor of a loss in float16."""

from __future__ import annotations

from facepipe.train.precision import GROWS_AFTER, LossScale


def test_float32_and_bfloat16_are_not_scaled() -> None:
    for precision in ("float32", "bfloat16"):
        scale = LossScale.of(precision)
        assert scale.factor == 1
        assert scale.after(overflowed=True) == scale


def test_it_halves_after_an_overflow_and_never_below_1() -> None:
    scale = LossScale.of("float16")
    assert scale.after(overflowed=True).factor == scale.factor / 2
    for _ in range(40):
        scale = scale.after(overflowed=True)
    assert scale.factor == 1


def test_it_doubles_after_many_good_steps() -> None:
    scale = LossScale.of("float16")
    before = scale.factor
    for _ in range(GROWS_AFTER - 1):
        scale = scale.after(overflowed=False)
    assert scale.factor == before
    assert scale.after(overflowed=False).factor == 2 * before
    assert scale.after(overflowed=True).good == 0
