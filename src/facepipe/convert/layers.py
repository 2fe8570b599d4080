# SPDX-License-Identifier: Apache-2.0
"""Two versions of one ONNX model, operator by operator: where do their numbers part?

Both models must name their tensors alike, as a rehearsed model and its original do. Operators are told in the order in
which they run, so the first that drifts is the first cause, not a consequence.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from facepipe.backends.base import Run, RuntimeOptions
from facepipe.backends.om import OmShapes
from facepipe.backends.ort import load_raw
from facepipe.convert.probe import probes
from facepipe.errors import ConversionError
from facepipe.metrics.layer_figures import LayerFigures, layer_figures
from facepipe.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator's output in both models."""

    operator: str
    node: str
    tensor: str
    shape: tuple[int, ...]
    figures: LayerFigures


def compare_layers(
    reference: onnx.ModelProto, other: onnx.ModelProto, image: np.ndarray, options: RuntimeOptions | None = None
) -> tuple[Layer, ...]:
    """Every float tensor that both models compute, in the order of the reference's operators.

    Args:
        reference: the model that is believed.
        other: the model that is judged.
        image: float32, the input of both.

    Raises:
        ConversionError: they have no tensor in common.
        BackendError: one of them does not load.
    """
    outputs = {name: node for node in reference.graph.node for name in node.output if name}
    theirs = {name for node in other.graph.node for name in node.output}
    types = _float_tensors(reference)
    common = [name for name, node in outputs.items() if name in theirs and name in types and node.op_type != "Constant"]
    if not common:
        raise ConversionError("layers: the two models have no tensor of one name, expected versions of one model.")
    chosen = options or RuntimeOptions()
    ours, others = (_run_all(model, common, image, chosen) for model in (reference, other))
    return tuple(
        Layer(outputs[name].op_type, outputs[name].name, name, a.shape, layer_figures(a, b))
        for name, a, b in zip(common, ours, others, strict=True)
    )


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
    rest = tuple(dim.low for dim in spec.input.dims[1:]) if spec.atc.cells is None else om.gears[0][1:]
    return tuple((rows, *rest) for rows in sorted({1, most, most + most // 2 + 1}))


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


def first_drift(layers: Sequence[Layer]) -> Layer | None:
    """The first operator that the vendor's tool would list; None when it would list none."""
    return next((layer for layer in layers if layer.figures.drifts is not None), None)


def _run_all(
    model: onnx.ModelProto, names: Sequence[str], image: np.ndarray, options: RuntimeOptions
) -> list[np.ndarray]:
    """The tensors `names` of one model, made outputs of a copy of it."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    inferred |= {value.name: value for value in model.graph.output}
    for value in exposed.graph.output:
        value.CopyFrom(inferred[value.name])
    with tempfile.TemporaryDirectory(prefix="facepipe-") as scratch:
        path = Path(scratch) / "exposed.onnx"
        onnx.save(exposed, str(path))
        return list(load_raw(path, options).run((image,)))


def _float_tensors(model: onnx.ModelProto) -> frozenset[str]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return frozenset(
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    )
