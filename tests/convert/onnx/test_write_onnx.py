# SPDX-License-Identifier: Apache-2.0
"""Files that are written byte by byte say to the onnx package what was written, and to onnxruntime too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from facepipe.backends.onnx_wire import holds_its_numbers, opset_of  # noqa: E402
from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.convert.onnx.write_onnx import IR_VERSION, Node, onnx_of_nodes  # noqa: E402
from facepipe.specs import Dim, TensorSpec, fixed  # noqa: E402

ROWS = Dim("batch", 1, 8)
SPEC = replace(
    MODELS["pnet"],
    inputs=(TensorSpec("image", (ROWS, fixed(3), fixed(2), fixed(300))),),
    outputs=(TensorSpec("rows", (ROWS, fixed(1800))),),
)


def test_names_kinds_shapes_and_numbers_come_back_from_the_onnx_package() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "half": np.array(0.5, np.float32),
        "turned": rng.normal(size=(300, 5)).astype(np.float32).T,  # not as it lies in memory
        "ends": np.array([0, 2**40, 127, 128, 300], np.int64),
    }
    attributes = {"axis": 1, "alpha": -0.25, "mode": "constänt", "pads": (0, 128, 2**31), "none": ()}
    nodes = [
        Node("Mul", ("image", "half"), "scaled"),
        Node("Flatten", ("scaled", "turned", "ends"), "rows", attributes),
    ]
    content = onnx_of_nodes(SPEC, nodes, constants)
    model = onnx.load_from_string(content)
    assert (model.ir_version, model.producer_name, opset_of(content)) == (IR_VERSION, "facepipe", SPEC.opset)
    assert holds_its_numbers(content)
    graph = model.graph
    assert [(n.op_type, list(n.input), list(n.output), n.name) for n in graph.node] == [
        ("Mul", ["image", "half"], ["scaled"], "scaled"),
        ("Flatten", ["scaled", "turned", "ends"], ["rows"], "rows"),
    ]
    told = {one.name: onnx.helper.get_attribute_value(one) for one in graph.node[1].attribute}
    assert told == {"axis": 1, "alpha": -0.25, "mode": "constänt".encode(), "pads": [0, 128, 2**31], "none": []}
    read = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert list(read) == list(constants)
    for name, array in constants.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)
    (image,), (rows,) = graph.input, graph.output
    assert image == onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, 2, 300])
    assert rows == onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["batch", 1800])


def test_the_bytes_are_those_that_protobuf_writes() -> None:
    """Nothing is written twice, in another order, or in a form that only a lenient reader takes."""
    nodes = [Node("Flatten", ("image",), "rows", {"axis": 1})]
    content = onnx_of_nodes(SPEC, nodes, {"a": np.arange(200, dtype=np.float32)})
    assert onnx.load_from_string(content).SerializeToString(deterministic=True) == content
    onnx.checker.check_model(onnx.load_from_string(onnx_of_nodes(SPEC, nodes, {})), full_check=True)
