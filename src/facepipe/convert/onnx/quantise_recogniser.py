# SPDX-License-Identifier: Apache-2.0
"""A converted recogniser in eight bits, by NNCF.

Weights: eight signed bits, one scale for each output channel. Activations: eight bits, one scale for each tensor, from
the least and greatest value that calibration crops bring about; then the biases are moved by the mean error that the
rounding made on those crops. (Without that last step MobileFaceNet's embeddings have cosine 0.92 with f32's, with it
0.995.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from facepipe.convert.onnx.quantise import Answer, Quantiser
from facepipe.errors import ConversionError, first_line
from facepipe.geometry.normalise import normalise
from facepipe.metrics.parity import parity
from facepipe.specs import ModelSpec

BATCH = 16  # crops that are normalised, and judged, together
ACCEPTED_COSINE = 0.9  # a result below is no approximation of the network any more
PRESET = "mixed"


def recogniser_inputs(spec: ModelSpec, crops: np.ndarray) -> list[np.ndarray]:
    """Crops as the network takes them, in batches.

    Args:
        crops: uint8 [N, S, S, 3] RGB, of the size that the recogniser takes.
    """
    return [normalise(crops[low : low + BATCH], spec.pixels) for low in range(0, len(crops), BATCH)]


def _quantise(source: Path, target: Path, inputs: Sequence[np.ndarray]) -> None:
    with _unsent():
        import nncf

        model = onnx.load(source)
        name = model.graph.input[0].name
        calls = [{name: image[None]} for batch in inputs for image in batch]
        try:
            quantised = nncf.quantize(
                model, nncf.Dataset(calls), preset=nncf.QuantizationPreset(PRESET), subset_size=len(calls)
            )
        except Exception as error:  # NNCF raises its own, onnx's and onnxruntime's; all mean that it cannot
            reason = first_line(error)
            raise ConversionError(f"{source}: NNCF cannot quantise it ({reason}).") from error
    onnx.save(quantised, target)


def _least_cosine(spec: ModelSpec, exact: Sequence[Answer], quantised: Sequence[Answer]) -> float:
    """Of the quantised embeddings with f32's."""
    return min(float(parity(a[0], b[0]).cosine) for a, b in zip(exact, quantised, strict=True))


@contextmanager
def _unsent() -> Iterator[None]:
    """NNCF without its messages to its makers, which it sends unasked."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"  # read when it is imported
    try:
        yield
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before


RECOGNISER = Quantiser(
    takes=lambda spec: spec.task == "embed",
    taken="recogniser",
    settings={"quantiser": "nncf", "preset": PRESET},
    quantise=_quantise,
    figure="least_cosine",
    judge=_least_cosine,
    accepts=lambda cosine: cosine >= ACCEPTED_COSINE,
    expected=f"{ACCEPTED_COSINE} or more",
    judged_inputs=1,
)
