# SPDX-License-Identifier: Apache-2.0
"""A step of a conversion is held against the network that it is of. Needs onnxruntime, and neither torch nor onnx."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.errors import ConversionError, FacepipeError
from facepipe.metrics.parity import Parity, parity, worst
from facepipe.specs import ModelSpec

LEAST_COSINE = 0.99999
"""Of an embedding with the network's own, both of length 1: about 4.5e-3 of Euclidean distance."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the network answers on the probes.

    Attributes:
        computed_by: "PyTorch", or "NumPy".
        inputs: the probes.
        outputs: for each of them, the outputs in the catalogue's order.
    """

    computed_by: str
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[tuple[np.ndarray, ...], ...]


def compare(content: bytes, spec: ModelSpec, reference: Reference) -> Parity:
    """Run an ONNX model on the reference's inputs and hold every output against the catalogue's tolerance.

    Args:
        content: of the ONNX file.

    Raises:
        ConversionError: an output is beyond the tolerance, or an embedding has another direction.
        BackendError: onnxruntime cannot load the model.
        TensorError: an output has another number, rank or size than the catalogue says.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="facepipe-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        with open_session(OnnxRuntime(RuntimeOptions()), spec, path) as session:
            for probe, expected in zip(reference.inputs, reference.outputs, strict=True):
                for tensor, a, b in zip(spec.outputs, expected, session.run(probe), strict=True):
                    result = parity(a, b)
                    _require(result, spec, f"'{tensor.name}' for the input {list(probe.shape)}", reference.computed_by)
                    results.append(result)
    return worst(results)


def _require(result: Parity, spec: ModelSpec, what: str, computed_by: str) -> None:
    if not result.is_within(spec.parity_tolerance):
        allowed = spec.parity_tolerance * max(1.0, result.reference_scale)
        raise ConversionError(
            f"{what} is {result.max_abs_difference:.3g} from {computed_by}'s, expected at most {allowed:.3g}."
        )
    if spec.task == "embed" and not result.cosine >= LEAST_COSINE:
        raise ConversionError(
            f"{what} has cosine {result.cosine:.7f} with {computed_by}'s, expected at least {LEAST_COSINE}."
        )


@contextmanager
def naming_step(step: str, spec: ModelSpec) -> Iterator[None]:
    """Whatever a user can learn of a failure inside names the model and the step."""
    try:
        yield
    except FacepipeError as error:
        what = error.what.removeprefix(f"{spec.name}: ")
        raise ConversionError(f"{spec.name}: step {step}: {what}", error.attempt) from error
