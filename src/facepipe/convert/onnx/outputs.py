# SPDX-License-Identifier: Apache-2.0
"""One model in two back ends, output by output. Needs neither torch nor onnx: it runs on a board."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facepipe.backends.ascend.om import OmShapes
from facepipe.backends.base import Run
from facepipe.convert.onnx.probe import probes
from facepipe.metrics.layer_figures import LayerFigures, layer_figures
from facepipe.specs import ModelSpec


def shapes_to_compare(spec: ModelSpec, om: OmShapes | None) -> tuple[tuple[int, ...], ...]:
    """Input shapes on which a compiled model is judged: every image gear, or a short, a whole and an uneven batch.

    Args:
        spec: the model.
        om: what it was compiled for; None where any shape will do.
    """
    if om is None:
        return tuple(array.shape for array in probes(spec))
    if om.kind == "image":
        return tuple((1 + number % 2, *gear[1:]) for number, gear in enumerate(om.gears))
    if om.kind == "range":
        return (om.low, om.high)
    most = max(gear[0] for gear in om.gears)
    return tuple((rows, *om.gears[0][1:]) for rows in sorted({1, most, most + most // 2 + 1}))


def image_of_bytes(spec: ModelSpec, shape: tuple[int, ...]) -> np.ndarray:
    """float32 input of `shape` as real crops give it: random bytes, normalised. The same in every run."""
    rng = np.random.default_rng(0)
    mean, scale = (np.array(numbers).reshape(3, 1, 1) for numbers in (spec.pixels.mean, spec.pixels.scale))
    return ((rng.integers(0, 256, shape) - mean) * scale).astype(np.float32)


def compare_outputs(
    spec: ModelSpec, reference: Run, other: Run, shapes: Sequence[tuple[int, ...]]
) -> tuple[tuple[tuple[int, ...], str, LayerFigures], ...]:
    """Each output of one model in two back ends: the input's shape, the output's name, the figures."""
    found = []
    for shape in shapes:
        image = image_of_bytes(spec, shape)
        for tensor, a, b in zip(spec.outputs, reference(image), other(image), strict=True):
            found.append((shape, tensor.name, layer_figures(a, b)))
    return tuple(found)
