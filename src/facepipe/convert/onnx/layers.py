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

from facepipe.backends.base import RuntimeOptions
from facepipe.backends.ort import load_raw
from facepipe.errors import ConversionError
from facepipe.metrics.layer_figures import LayerFigures, layer_figures


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
