# SPDX-License-Identifier: Apache-2.0
"""Simplification by onnxsim: constants folded, batch normalisation merged into convolutions, dead nodes gone."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from facepipe.convert.onnx.passes.graph import forget_shapes
from facepipe.errors import ConversionError


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """A smaller model of the same function; the argument stays as it is.

    Raises:
        ConversionError: onnxsim fails, or finds its own result unequal.
    """
    import onnxsim

    try:
        smaller: onnx.ModelProto
        smaller, is_equal = onnxsim.simplify(model)
    except Exception as error:  # it raises RuntimeError and protobuf's errors, undocumented
        raise ConversionError(f"onnxsim cannot simplify the model ({error}).") from error
    if not is_equal:
        raise ConversionError("onnxsim's own check says that the simplified model computes something else.")
    store_constants_as_initializers(smaller)
    return smaller


def store_constants_as_initializers(model: onnx.ModelProto) -> int:
    """Turn Constant nodes that hold a tensor into initializers, and store equal ones once; return how many went."""
    graph, stored = model.graph, dict[bytes, str]()
    outputs = {value.name for value in graph.output}
    gone = [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in outputs]
    gone = [node for node in gone if [attribute.name for attribute in node.attribute] == ["value"]]
    renamed = dict[str, str]()
    for node in gone:
        array = numpy_helper.to_array(node.attribute[0].t)
        key = array.dtype.str.encode() + repr(array.shape).encode() + array.tobytes()
        graph.node.remove(node)
        if key not in stored:
            stored[key] = node.output[0]
            graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        renamed[node.output[0]] = stored[key]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    forget_shapes(model, set(renamed))
    return len(gone)
