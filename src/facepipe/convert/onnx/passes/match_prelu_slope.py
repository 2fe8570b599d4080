# SPDX-License-Identifier: Apache-2.0
"""The pass `match_prelu_slope`: PRelu slopes of the rank that Ascend's kernels can repack."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from facepipe.convert.onnx.passes.graph import (
    TensorType,
    add_constant,
    constants,
    describe,
    forget_shapes,
    nodes,
    remove_unused_constants,
    tensor_types,
)
from facepipe.errors import ConversionError

Shape = tuple[int, ...]


def match_prelu_slope(model: onnx.ModelProto) -> int:
    """Give every PRelu slope the rank of its input: [10, 1, 1] becomes [1, 10, 1, 1]; return the number of edits.

    1. The rank is the input's, from shape inference: a second run finds nothing to do, and a slope that the exporter
       already wrote in full rank stays as it is.
    2. ONNX broadcasts from the last axis, so leading ones change no value.
    3. A slope that is shared by readers of different needs is copied for those that need another shape.

    Raises:
        ConversionError: a slope is no constant, has more axes than its input, or moves along another axis than the
            channels (ONNX reads a [C] slope on [N, C, H, W] as one for each column); or the input's rank is unknown.
    """
    types, stored = tensor_types(model), constants(model)
    prelus = nodes(model, "PRelu")
    wanted = {node.output[0]: _wanted_shape(node, types, stored) for node in prelus}  # all are judged before any edit
    edits, copies = 0, dict[tuple[str, Shape], str]()
    for node in prelus:
        name, shape = node.input[1], wanted[node.output[0]]
        if tuple(stored[name].dims) == shape:
            continue
        edits += 1
        if all(wanted.get(reader.output[0]) == shape for reader in model.graph.node if name in reader.input):
            stored[name].dims[:] = shape
            forget_shapes(model, {name})
            continue
        if (name, shape) not in copies:
            array = numpy_helper.to_array(stored[name]).reshape(shape)
            copies[name, shape] = add_constant(model, f"{name}_rank{len(shape)}", array)
        node.input[1] = copies[name, shape]
    remove_unused_constants(model, {name for name, _ in copies})
    return edits


def _wanted_shape(node: onnx.NodeProto, types: dict[str, TensorType], stored: dict[str, onnx.TensorProto]) -> Shape:
    """The slope's shape at its input's rank, with the channels on axis 1."""
    where, name = describe(node), node.input[1]
    rank = types[node.input[0]].rank if node.input[0] in types else None
    if name not in stored:
        raise ConversionError(f"{where}: its slope '{name}' is computed or an input, expected a constant.")
    if rank is None:
        raise ConversionError(f"{where}: the rank of its input '{node.input[0]}' cannot be inferred.")
    dims = tuple(stored[name].dims)
    if len(dims) > rank:
        raise ConversionError(
            f"{where}: its slope has shape {list(dims)}, expected at most the {rank} axes of its input.",
            "export the model again; a slope grows like this when axes are added twice.",
        )
    shape = (1,) * (rank - len(dims)) + dims
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        raise ConversionError(
            f"{where}: its slope {list(dims)} is {list(shape)} to ONNX, expected one value for each channel (axis 1)."
        )
    return shape
