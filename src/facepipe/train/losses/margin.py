# SPDX-License-Identifier: Apache-2.0
"""Margins between classes on the cosine of an embedding and the centre of its class; their two gradients.

With cos(theta) the cosine of an embedding and a class's centre, a logit is scale * cos(theta), and that of the
embedding's own class is

    scale * (cos(m1 * theta + m2) - m3)

ArcFace (Deng et al. 2019, arXiv 1801.07698, equation 4) has m2 alone, CosFace (Wang et al. 2018, arXiv 1801.09414,
equation 4) m3 alone, the combined margin (ArcFace's section 2.2) any of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch.autograd.function import once_differentiable

from facepipe.errors import DataError

Gradient = Literal["arcface_torch", "analytic"]

LEAST_SINE = 1e-3
"""The analytic gradient divides by sin(theta), which is 0 at both ends, and by no less than this. Below it a cosine in
float32, exact to 6e-8, no longer tells the angle: 1 - cos is 5e-7 there."""


@dataclass(frozen=True, slots=True)
class Margin:
    """A margin loss: the target's logit is scale * (cos(m1 * theta + m2) - m3), every other one scale * cos(theta).

    Attributes:
        scale: the length that embeddings are thought to have; no unit.
        m1: factor of the angle; 1 is none.
        m2: added to the angle, in radians.
        m3: subtracted from the cosine.
        gradient: how the target's logit follows its cosine. "arcface_torch": as if it were scale * cos(theta), so that
            every logit pulls with scale * (probability - 1 or 0); what insightface's arcface_torch does and its
            published figures are made with. "analytic": the formula's own derivative, which has the factor
            m1 * sin(m1 * theta + m2) / sin(theta) on the target.

    Raises:
        DataError: a value is none that a margin can have.

    Example:
        >>> ARCFACE
        Margin(scale=64.0, m1=1.0, m2=0.5, m3=0.0, gradient='arcface_torch')
    """

    scale: float = 64.0
    m1: float = 1.0
    m2: float = 0.5
    m3: float = 0.0
    gradient: Gradient = "arcface_torch"

    def __post_init__(self) -> None:
        for name, least in (("scale", 0.0), ("m1", 0.0), ("m2", -math.inf), ("m3", -math.inf)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > least):
                above = "" if math.isinf(least) else f" above {least:g}"
                raise DataError(f"margin: {name} is {value}, expected a number{above}.")
        if self.gradient not in get_args(Gradient):
            raise DataError(f"margin: gradient is '{self.gradient}', expected one of {', '.join(get_args(Gradient))}.")


ARCFACE = Margin()
COSFACE = Margin(m2=0.0, m3=0.4)


def warmed_up(margin: Margin, step: int, steps: int) -> Margin:
    """The margin at a step (from 0) while it rises from none to its whole over `steps` steps, in a straight line.

    A small set with a whole margin from its first step does not begin to learn: every target lies behind the others.

    Example:
        >>> [warmed_up(ARCFACE, step, 4).m2 for step in (0, 1, 4, 9)]
        [0.0, 0.125, 0.5, 0.5]
    """
    if step >= steps:
        return margin
    share = step / steps
    return replace(margin, m1=1 + (margin.m1 - 1) * share, m2=margin.m2 * share, m3=margin.m3 * share)


def logits_of(cosines: torch.Tensor, columns: torch.Tensor, margin: Margin) -> torch.Tensor:
    """Logits with the margin on each row's target.

    Where theta + m2 passes pi the cosine rises again; neither arcface_torch nor the paper's formula guards it.

    Args:
        cosines: float [N, K], each in [-1, 1].
        columns: int64 [N]: where a row's target stands, -1 where it is not among the K.
        margin: which margin, and which gradient.

    Returns:
        float [N, K], scaled.
    """
    rows = (columns >= 0).nonzero().flatten()
    place = (rows, columns[rows])
    moved: torch.Tensor = _Shifted.apply(cosines[place], margin)  # type: ignore[no-untyped-call]
    return cosines.index_put(place, moved) * margin.scale


class _Shifted(torch.autograd.Function):
    """cos(m1 * arccos(c) + m2) - m3, with the gradient that the margin names."""

    @staticmethod
    def forward(ctx: Any, cosines: torch.Tensor, margin: Margin) -> torch.Tensor:
        angles = cosines.arccos()
        ctx.margin = margin
        ctx.save_for_backward(angles)
        return (margin.m1 * angles + margin.m2).cos() - margin.m3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        margin: Margin = ctx.margin
        if margin.gradient == "arcface_torch":
            return gradient, None
        (angles,) = ctx.saved_tensors
        slope = margin.m1 * (margin.m1 * angles + margin.m2).sin() / angles.sin().clamp_min(LEAST_SINE)
        return gradient * slope, None
