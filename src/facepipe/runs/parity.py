# SPDX-License-Identifier: Apache-2.0
"""One model twice: in two back ends, output by output, or in two versions, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.backends.ascend.om import OmShapes, read_sidecar
from facepipe.backends.base import Backend, model_file, open_session
from facepipe.convert.onnx.outputs import compare_outputs, image_of_bytes, shapes_to_compare
from facepipe.errors import DataError
from facepipe.metrics.layer_figures import LayerFigures
from facepipe.specs import ModelSpec

if TYPE_CHECKING:
    from facepipe.convert.onnx.layers import Layer


@dataclass(frozen=True, slots=True)
class BackendParity:
    """The files of a model that were run, and the figures of each input's shape and output, by its name."""

    files: tuple[Path, ...]
    outputs: tuple[tuple[tuple[int, ...], str, LayerFigures], ...]


def compare_backends(spec: ModelSpec, sides: Sequence[Backend], weights: Path, batch: int) -> BackendParity:
    """One model in two back ends, on every shape that a compiled one was compiled for.

    Args:
        sides: the back end that is believed, and the one that is judged.
        batch: what a compiled model was compiled for.

    Raises:
        BackendError: one cannot be used here, or its model file is not there.
    """
    files = tuple(model_file(side, spec, weights, batch) for side in sides)
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(open_session(side, spec, file)) for side, file in zip(sides, files, strict=True)
        ]
        shapes = shapes_to_compare(spec, _compiled_for(sides, files))
        return BackendParity(files, compare_outputs(spec, sessions[0].run, sessions[1].run, shapes))


def compare_versions(spec: ModelSpec, weights: Path, other: Path | None = None) -> tuple[Layer, ...]:
    """Every operator of a converted model against another version of it, on onnxruntime.

    Args:
        other: the ONNX file that is judged; None: the model itself, rehearsed in half precision.

    Raises:
        DataError: a file is not there, or is no ONNX.
        ConversionError: the two have no tensor in common.
        BackendError: one of them does not load.
    """
    from facepipe.convert.ascend.preflight import read_model
    from facepipe.convert.ascend.rehearsal import rehearse
    from facepipe.convert.onnx.layers import compare_layers

    path = spec.final(weights)
    for file in (path, other):
        if file is not None and not file.is_file():
            raise DataError(f"{file}: no such file, expected an ONNX model.", f"`facepipe onnx {spec.name}`")
    reference = read_model(path)
    judged = rehearse(reference) if other is None else read_model(other)
    # Four cells of a fully convolutional network; the image as it is for others.
    sides = [max(dim.low, min(dim.high, 96)) for dim in spec.input.dims[2:]]
    return compare_layers(reference, judged, image_of_bytes(spec, (2, 3, *sides)))


def _compiled_for(sides: Sequence[Backend], files: Sequence[Path]) -> OmShapes | None:
    """The shapes of the side that takes its gears alone."""
    for backend, file in zip(sides, files, strict=True):
        sidecar = read_sidecar(file) if backend.traits.compiled else None
        if sidecar is not None:
            return sidecar.shapes
    return None
