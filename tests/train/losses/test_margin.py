# SPDX-License-Identifier: Apache-2.0
"""Margins: the formula, both gradients, their ends, and the warm-up."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facepipe.errors import DataError  # noqa: E402
from facepipe.train.losses.margin import (  # noqa: E402
    ARCFACE,
    COSFACE,
    LEAST_SINE,
    Margin,
    logits_of,
    warmed_up,
)

COMBINED = Margin(scale=30.0, m1=1.1, m2=0.3, m3=0.2)


@pytest.mark.parametrize("margin", [ARCFACE, COSFACE, COMBINED])
def test_only_the_target_gets_the_margin(margin: Margin) -> None:
    angles = torch.tensor([[0.3, 1.2, 2.0], [0.9, 2.5, 0.1], [1.0, 1.1, 1.2]], dtype=torch.float64)
    expected = [[margin.scale * math.cos(angle) for angle in row] for row in angles.tolist()]
    for row, column in ((0, 1), (1, 2)):  # the last row's target is elsewhere
        shifted = math.cos(margin.m1 * angles[row, column].item() + margin.m2) - margin.m3
        expected[row][column] = margin.scale * shifted
    found = logits_of(angles.cos(), torch.tensor([1, 2, -1]), margin)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("margin", [Margin(gradient="analytic"), Margin(30.0, 1.1, 0.3, 0.2, "analytic")])
def test_the_analytic_gradient_is_that_of_finite_differences(margin: Margin) -> None:
    """A logit depends on its own cosine alone, so all of them are moved at once."""
    cosines = torch.linspace(-0.99, 0.99, 40, dtype=torch.float64).reshape(8, 5).requires_grad_()
    columns = torch.tensor([0, 1, 2, 3, 4, -1, 2, 4])
    logits_of(cosines, columns, margin).sum().backward()
    lower, higher = (logits_of(cosines.detach() + step, columns, margin) for step in (-1e-6, 1e-6))
    np.testing.assert_allclose(cosines.grad, (higher - lower) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("margin", [ARCFACE, COSFACE, COMBINED])
def test_the_published_gradient_is_the_scale_everywhere(margin: Margin) -> None:
    cosines = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
    logits_of(cosines, torch.tensor([0, -1, 3]), margin).sum().backward()
    assert torch.equal(cosines.grad, torch.full((3, 4), margin.scale))


def test_without_an_angle_s_margin_there_is_one_gradient() -> None:
    cosines = torch.linspace(-0.9, 0.9, 7)[:, None].requires_grad_()
    logits_of(cosines, torch.zeros(7, dtype=torch.int64), Margin(m2=0.0, m3=0.4, gradient="analytic")).sum().backward()
    np.testing.assert_allclose(cosines.grad, np.full((7, 1), 64.0), rtol=1e-6)


@pytest.mark.parametrize("gradient", ["arcface_torch", "analytic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_both_ends_of_the_cosine_everything_is_finite(gradient: str, dtype: torch.dtype) -> None:
    """The bare derivative of the arc cosine is infinite there, and infinity times 0 no number."""
    for value in (1.0, -1.0):
        cosines = torch.full((2, 2), value, dtype=dtype, requires_grad=True)
        logits = logits_of(cosines, torch.tensor([0, 1]), Margin(gradient=gradient))
        logits.sum().backward()
        assert torch.isfinite(logits).all() and torch.isfinite(cosines.grad).all()
        if gradient == "analytic":
            steepest = 64 * math.sin(math.acos(value) + 0.5) / LEAST_SINE
            assert cosines.grad[0, 0].item() == pytest.approx(steepest, rel=1e-5)


def test_a_cosine_that_is_no_number_stays_none() -> None:
    logits = logits_of(torch.tensor([[math.nan, 0.5]]), torch.tensor([0]), ARCFACE)
    assert torch.isnan(logits[0, 0]) and logits[0, 1] == 32


def test_a_margin_rises_in_a_straight_line_and_then_stays() -> None:
    steps = [warmed_up(COMBINED, step, 10) for step in range(13)]
    assert [round(margin.m2, 12) for margin in steps[:11]] == [round(0.03 * step, 12) for step in range(11)]
    assert (steps[0].m1, steps[0].m2, steps[0].m3) == (1, 0, 0)
    assert (steps[5].m1, steps[5].m3) == (pytest.approx(1.05), pytest.approx(0.1))
    assert steps[10:] == [COMBINED] * 3
    assert {(margin.scale, margin.gradient) for margin in steps} == {(30.0, "arcface_torch")}
    assert warmed_up(ARCFACE, 0, 0) == ARCFACE


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"scale": 0.0}, "margin: scale is 0.0, expected a number above 0."),
        ({"scale": math.inf}, "margin: scale is inf, expected a number above 0."),
        ({"m1": -1.0}, "margin: m1 is -1.0, expected a number above 0."),
        ({"m2": math.nan}, "margin: m2 is nan, expected a number."),
        ({"m3": math.inf}, "margin: m3 is inf, expected a number."),
        ({"gradient": "straight"}, "margin: gradient is 'straight', expected one of arcface_torch, analytic."),
    ],
)
def test_what_is_no_margin_is_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        Margin(**values)
