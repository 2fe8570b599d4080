# SPDX-License-Identifier: Apache-2.0
"""The fixed input that every step of a conversion is judged on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facepipe.specs import ModelSpec

# Batches, heights and widths above the least allowed. Width differs from height: exchanged axes would go unseen.
_BATCHES = (0, 1, 4)
_HEIGHTS = (0, 35, 77)
_WIDTHS = (1, 22, 104)


def probes(spec: ModelSpec) -> tuple[np.ndarray, ...]:
    """Several inputs of the model, float32 [N, C, H, W] each, of different sizes wherever an axis can move.

    The values are uniform over what the model's normalisation makes of 0..255, channel by channel; the same in every
    run. Three inputs where an axis can move, one where none can.
    """
    return uniform_pictures(spec, list(dict.fromkeys(zip(*(_sizes(spec, axis) for axis in range(4)), strict=True))))


def uniform_pictures(spec: ModelSpec, shapes: Sequence[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
    """Inputs float32 of these shapes [N, 3, H, W]: uniform noise of 0..255, normalised; the same in every run."""
    rng = np.random.default_rng(0)
    mean, scale = (np.array(numbers).reshape(3, 1, 1) for numbers in (spec.pixels.mean, spec.pixels.scale))
    return tuple(((rng.uniform(0, 255, shape) - mean) * scale).astype(np.float32) for shape in shapes)


def _sizes(spec: ModelSpec, axis: int) -> tuple[int, ...]:
    dim = spec.input.dims[axis]
    steps = (_BATCHES, (0, 0, 0), _HEIGHTS, _WIDTHS)[axis]
    return tuple(min(dim.high, -(-(dim.low + step) // dim.step) * dim.step) for step in steps)
