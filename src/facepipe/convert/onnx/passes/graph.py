# SPDX-License-Identifier: Apache-2.0
"""What the graph passes share: nodes by operator, constants wherever they are stored, types by tensor name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from facepipe.errors import ConversionError


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type (an onnx.TensorProto code, 0 if unknown) and rank (None if unknown) of one tensor."""

    element: int
    rank: int | None


def default_opset(model: onnx.ModelProto) -> int:
    """The version of the default operator set, 0 when the model declares none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def nodes(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    """The graph's nodes of one default-domain operator, in order.

    Raises:
        ConversionError: one sits in a branch, loop body or function, where its surroundings cannot be judged.
    """
    hidden = any(node.op_type == operator for graph in inner_graphs(model.graph) for node in graph.node)
    if hidden or any(node.op_type == operator for function in model.functions for node in function.node):
        raise ConversionError(
            f"a {operator} node is inside a branch, loop or function, expected all in the main graph."
        )
    return [node for node in model.graph.node if node.op_type == operator and node.domain in ("", "ai.onnx")]


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Every constant tensor by name: initializers and outputs of Constant nodes, to read or to edit in place.

    An initializer that is also a graph input can be overridden at run time; it is not a constant.
    """
    inputs = {value.name for value in model.graph.input}
    found = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in inputs}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = attribute.t
    return found


def tensor_types(model: onnx.ModelProto) -> dict[str, TensorType]:
    """Type of every tensor that shape inference can name."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {t.name: TensorType(t.data_type, len(t.dims)) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        types[value.name] = TensorType(tensor.elem_type, len(tensor.shape.dim) if tensor.HasField("shape") else None)
    return types


def add_constant(model: onnx.ModelProto, wanted_name: str, array: np.ndarray) -> str:
    """Add an initializer; returns its name, which is `wanted_name` with a number if that is taken."""
    taken = {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.input}
    taken |= {name for node in model.graph.node for name in (*node.input, *node.output)}
    name, number = wanted_name, 1
    while name in taken:
        number += 1
        name = f"{wanted_name}_{number}"
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def remove_unused_constants(model: onnx.ModelProto, candidates: set[str]) -> None:
    """Remove those constants among `candidates` that no node reads any more and that are no output."""
    graph = model.graph
    used = {name for inner in (graph, *inner_graphs(graph)) for node in inner.node for name in node.input}
    unused = candidates - used - {value.name for value in graph.output}
    for tensor in [t for t in graph.initializer if t.name in unused]:
        graph.initializer.remove(tensor)
    for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] in unused]:
        graph.node.remove(node)
    forget_shapes(model, unused)


def forget_shapes(model: onnx.ModelProto, names: set[str]) -> None:
    """Remove what the graph notes of the types of intermediate tensors that have changed or gone."""
    for value in [v for v in model.graph.value_info if v.name in names]:
        model.graph.value_info.remove(value)


def describe(node: onnx.NodeProto) -> str:
    """The node for an error message."""
    return f"{node.op_type} '{node.name or node.output[0]}'"


def inner_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Every graph below `graph`: branches and loop bodies."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield inner
                yield from inner_graphs(inner)
