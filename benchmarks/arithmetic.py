# SPDX-License-Identifier: Apache-2.0
"""How much arithmetic a network is: the multiplications of its convolutions and matrix products, counted."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import onnx

from facepipe.errors import ConversionError


def multiply_adds(path: Path, shape: Sequence[int]) -> int:
    """Multiply-adds of one call of an ONNX model whose one input has `shape`. A multiply-add is two operations.

    Raises:
        ConversionError: the shape of a result cannot be inferred.
    """
    model = onnx.load(path)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    for axis, size in zip(axes, shape, strict=True):
        axis.dim_value = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]  # of other sizes
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    }
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        made, kernel = shapes.get(node.output[0], ()), weights.get(node.input[1], ())
        if not made or not kernel or 0 in made:
            raise ConversionError(f"{path}: the shape of '{node.output[0]}' is not known for the input {list(shape)}.")
        if node.op_type == "Conv":
            total += prod(made) * prod(kernel[1:])
        else:
            transposed = any(part.name == "transB" and part.i for part in node.attribute)
            total += prod(made) * (kernel[1] if transposed else kernel[0])
    return total
