# SPDX-License-Identifier: Apache-2.0
"""Networks of a few numbers with the inputs and outputs of the real ones, for tests of what surrounds a network."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facepipe.catalogue import model
from facepipe.specs import ModelSpec, TensorSpec, fixed

PNET, RNET, ONET = model("pnet"), model("rnet"), model("onet")
EMBEDDER = replace(
    model("facenet.vggface2"),
    name="small.embedder",
    inputs=(TensorSpec("image", (model("facenet.vggface2").input.dims[0], fixed(3), fixed(6), fixed(6))),),
    outputs=(TensorSpec("embedding", (model("facenet.vggface2").input.dims[0], fixed(5))),),
)


def write_onnx(spec: ModelSpec, path: Path, opset: int = 13) -> Path:
    """A small ONNX model of the specification's inputs and outputs; seeded, every output sees every pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(fully_convolutional(spec, opset) if spec.atc.cells else dense(spec, opset), path)
    return path


def fully_convolutional(spec: ModelSpec, opset: int) -> onnx.ModelProto:
    """PNet's geometry: a 12 x 12 field in steps of 2, by one convolution of ceil padding's effect."""
    rng = np.random.default_rng(1)
    nodes, weights = [], []
    # 3x3 convolution and 2x2 pooling with ceil, then 3x3 twice: PNet's own layers, two channels wide.
    widths = [3, 2, 2, 2]
    names = ["image"]
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        kernel = rng.normal(0, 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"k{layer}"))
        nodes.append(helper.make_node("Conv", [names[-1], f"k{layer}"], [f"c{layer}"], f"conv{layer}"))
        names.append(f"c{layer}")
        if layer == 0:
            pool = helper.make_node(
                "MaxPool", ["c0"], ["p0"], "pool0", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
            )
            nodes.append(pool)
            names.append("p0")
    for index, output in enumerate(spec.outputs):
        kernel = rng.normal(0, 1, (output.dims[1].low, 2, 1, 1)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"h{index}"))
        nodes.append(helper.make_node("Conv", [names[-1], f"h{index}"], [output.name], f"head{index}"))
    return _model(spec, nodes, weights, opset, ["batch", 3, "height", "width"])


def dense(spec: ModelSpec, opset: int) -> onnx.ModelProto:
    """One dense layer for each output; of a face's picture after a mean of 2x2, else it would outweigh FaceNet."""
    rng = np.random.default_rng(2)
    sizes = [dim.low for dim in spec.input.dims[1:]]
    nodes, seen, read = [], "image", sizes
    if min(sizes[1:]) >= 96:
        nodes.append(helper.make_node("AveragePool", ["image"], ["means"], "mean", kernel_shape=[2, 2], strides=[2, 2]))
        seen, read = "means", [sizes[0], sizes[1] // 2, sizes[2] // 2]
    nodes.append(helper.make_node("Flatten", [seen], ["flat"], "flatten", axis=1))
    weights = []
    for index, output in enumerate(spec.outputs):
        matrix = rng.normal(0, 0.05, (int(np.prod(read)), output.dims[1].low)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        nodes.append(helper.make_node("Gemm", ["flat", f"w{index}"], [output.name], f"dense{index}"))
    return _model(spec, nodes, weights, opset, ["batch", *sizes])


def _model(
    spec: ModelSpec, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], opset: int, sizes: list[object]
) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, sizes)
    outputs = [
        helper.make_tensor_value_info(
            output.name,
            TensorProto.FLOAT,
            ["batch", *(dim.low if dim.is_fixed else f"{output.name}_{dim.name}" for dim in output.dims[1:])],
        )
        for output in spec.outputs
    ]
    graph = helper.make_graph(nodes, spec.name, [image], outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made
