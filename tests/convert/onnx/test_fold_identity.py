# SPDX-License-Identifier: Apache-2.0
"""The pass `fold_identity`: constants behind Identity are read directly, everything else stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from facepipe.convert.onnx.passes import fix_model  # noqa: E402
from facepipe.convert.onnx.passes.fold_identity import fold_identity  # noqa: E402

SLOPE = np.full((3, 1, 1), 0.25, np.float32)
RANKS = {"y": 4, "told": 3, "inner": 4, "outer": 4}


def _model(nodes: list, outputs: tuple[str, ...] = ("y",), stored: tuple = (SLOPE,)) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", "c", "d"][4 - RANKS[name] :])
        for name in outputs
    ]
    kept = [numpy_helper.from_array(array, f"slope{i or ''}") for i, array in enumerate(stored)]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", [x], y, kept), opset_imports=[helper.make_opsetid("", 13)], ir_version=7
    )
    onnx.checker.check_model(model)
    return model


def _run(model: onnx.ModelProto) -> list[np.ndarray]:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def _operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_chain_of_identities_leads_to_the_constant() -> None:
    nodes = [
        helper.make_node("Identity", ["slope"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("PRelu", ["x", "b"], ["m"]),
        helper.make_node("PRelu", ["m", "a"], ["y"]),
    ]
    model = _model(nodes)
    before = _run(model)
    assert fold_identity(model) == 2
    onnx.checker.check_model(model, full_check=True)
    assert _operators(model) == ["PRelu", "PRelu"]
    assert [node.input[1] for node in model.graph.node] == ["slope", "slope"]
    np.testing.assert_array_equal(_run(model), before)
    assert fold_identity(model) == 0


def test_an_identity_of_data_or_of_an_output_stays() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Identity", ["slope"], ["told"]),
        helper.make_node("PRelu", ["same", "told"], ["y"]),
    ]
    model = _model(nodes, ("y", "told"))
    before = model.SerializeToString()
    assert fold_identity(model) == 0
    assert model.SerializeToString() == before


def test_an_input_that_overrides_a_constant_is_none() -> None:
    """An initializer that is a graph input too may be given at run time."""
    model = _model([helper.make_node("Identity", ["slope"], ["a"]), helper.make_node("PRelu", ["x", "a"], ["y"])])
    model.graph.input.append(helper.make_tensor_value_info("slope", TensorProto.FLOAT, [3, 1, 1]))
    assert fold_identity(model) == 0


def test_a_reader_inside_a_branch_reads_the_constant() -> None:
    inside = helper.make_graph(
        [helper.make_node("PRelu", ["x", "a"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["n", 3, "h", "w"])],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["outer"])],
        "else",
        [],
        [helper.make_tensor_value_info("outer", TensorProto.FLOAT, ["n", 3, "h", "w"])],
    )
    nodes = [
        helper.make_node("Identity", ["slope"], ["a"]),
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["y"], then_branch=inside, else_branch=other),
    ]
    model = _model(nodes)
    before = _run(model)
    assert fold_identity(model) == 1
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(_run(model), before)


def test_fix_reads_a_slope_behind_an_identity(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["slope"], ["a"]), helper.make_node("PRelu", ["x", "a"], ["y"])]
    onnx.save(_model(nodes), tmp_path / "in.onnx")
    assert fix_model("match_prelu_slope", tmp_path / "in.onnx", tmp_path / "out.onnx") == 2
    fixed = onnx.load(tmp_path / "out.onnx")
    assert _operators(fixed) == ["PRelu"]
    assert [list(tensor.dims) for tensor in fixed.graph.initializer] == [[1, 3, 1, 1]]
    assert fix_model("fold_identity", tmp_path / "in.onnx", tmp_path / "folded.onnx") == 1
