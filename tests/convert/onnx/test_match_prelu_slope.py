# SPDX-License-Identifier: Apache-2.0
"""The pass `match_prelu_slope`: what it edits, what it leaves, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from facepipe.convert.onnx.passes.match_prelu_slope import match_prelu_slope  # noqa: E402
from facepipe.errors import ConversionError  # noqa: E402

CHANNELS = 5
SLOPES = np.linspace(0.1, 0.5, CHANNELS, dtype=np.float32)


def _prelu(
    shape: tuple[int, ...], *, rank: int = 4, opset: int = 13, as_constant_node: bool = False
) -> onnx.ModelProto:
    """x -> PRelu -> y, with a slope of that shape on x of that rank and CHANNELS channels."""
    array = np.resize(SLOPES, shape)
    nodes = [helper.make_node("PRelu", ["x", "slope"], ["y"], name="PRelu_0")]
    stored = [] if as_constant_node else [numpy_helper.from_array(array, "slope")]
    if as_constant_node:
        nodes.insert(0, helper.make_node("Constant", [], ["slope"], value=numpy_helper.from_array(array)))
    return _model(nodes, stored, rank, opset)


def _model(nodes: list, stored: list, rank: int, opset: int = 13) -> onnx.ModelProto:
    dims = ["n", CHANNELS, CHANNELS, "w"][:rank]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", value[:1], value[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model)
    return model


def _run(model: onnx.ModelProto, rank: int = 4) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(2, CHANNELS, CHANNELS, 3)[:rank]).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def _slope_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    stored = {t.name: list(t.dims) for t in model.graph.initializer}
    stored |= {n.output[0]: list(n.attribute[0].t.dims) for n in model.graph.node if n.op_type == "Constant"}
    return {node.output[0]: stored[node.input[1]] for node in model.graph.node if node.op_type == "PRelu"}


@pytest.mark.parametrize("opset", range(8, 18))
@pytest.mark.parametrize("as_constant_node", [False, True])
def test_the_older_exporters_slope_gets_a_leading_axis(opset: int, as_constant_node: bool) -> None:
    model = _prelu((CHANNELS, 1, 1), opset=opset, as_constant_node=as_constant_node)
    before = _run(model)
    assert match_prelu_slope(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert _slope_shapes(model) == {"y": [1, CHANNELS, 1, 1]}
    np.testing.assert_array_equal(_run(model), before)


@pytest.mark.parametrize("opset", range(8, 18))
def test_the_newer_exporters_slope_stays_as_it_is(opset: int) -> None:
    model = _prelu((1, CHANNELS, 1, 1), opset=opset)
    before = model.SerializeToString()
    assert match_prelu_slope(model) == 0
    assert model.SerializeToString() == before


def test_a_second_run_makes_no_edit_and_changes_no_byte() -> None:
    model = _prelu((CHANNELS, 1, 1))
    assert match_prelu_slope(model) == 1
    once = model.SerializeToString()
    assert match_prelu_slope(model) == 0
    assert model.SerializeToString() == once


@pytest.mark.parametrize(
    ("shape", "rank", "expected"),
    [
        ((CHANNELS,), 2, [1, CHANNELS]),  # after a dense layer
        ((1,), 4, [1, 1, 1, 1]),  # one slope for all channels
        ((), 4, [1, 1, 1, 1]),
        ((CHANNELS, 1), 3, [1, CHANNELS, 1]),
    ],
)
def test_the_rank_is_the_inputs(shape: tuple[int, ...], rank: int, expected: list[int]) -> None:
    model = _prelu(shape, rank=rank)
    before = _run(model, rank)
    assert match_prelu_slope(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert _slope_shapes(model) == {"y": expected}
    np.testing.assert_array_equal(_run(model, rank), before)


def test_a_graph_without_prelu_is_left_alone() -> None:
    model = _model([helper.make_node("Relu", ["x"], ["y"])], [], 4)
    before = model.SerializeToString()
    assert match_prelu_slope(model) == 0
    assert model.SerializeToString() == before


def test_a_slope_that_equal_nodes_share_gets_one_axis_once() -> None:
    nodes = [helper.make_node("PRelu", ["x", "slope"], ["t"]), helper.make_node("PRelu", ["t", "slope"], ["y"])]
    model = _model(nodes, [numpy_helper.from_array(SLOPES.reshape(-1, 1, 1), "slope")], 4)
    before = _run(model)
    assert match_prelu_slope(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert _slope_shapes(model) == {"t": [1, CHANNELS, 1, 1], "y": [1, CHANNELS, 1, 1]}
    assert [t.name for t in model.graph.initializer] == ["slope"]
    np.testing.assert_array_equal(_run(model), before)
    assert match_prelu_slope(model) == 0


def test_a_slope_that_nodes_of_different_rank_share_is_copied() -> None:
    nodes = [
        helper.make_node("PRelu", ["x", "slope"], ["t"]),
        helper.make_node("GlobalAveragePool", ["t"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["rows"]),
        helper.make_node("PRelu", ["rows", "slope"], ["curved"]),
        helper.make_node("ReduceSum", ["curved"], ["sum"], keepdims=0),
        helper.make_node("Add", ["t", "sum"], ["y"]),
    ]
    model = _model(nodes, [numpy_helper.from_array(np.float32([0.25]), "slope")], 4)
    before = _run(model)
    assert match_prelu_slope(model) == 2
    onnx.checker.check_model(model, full_check=True)
    assert _slope_shapes(model) == {"t": [1, 1, 1, 1], "curved": [1, 1]}
    assert len(model.graph.initializer) == 2
    np.testing.assert_array_equal(_run(model), before)
    assert match_prelu_slope(model) == 0


def test_a_slope_that_another_operator_reads_too_keeps_its_shape_there() -> None:
    nodes = [helper.make_node("PRelu", ["x", "slope"], ["t"]), helper.make_node("Add", ["t", "slope"], ["y"])]
    model = _model(nodes, [numpy_helper.from_array(SLOPES.reshape(-1, 1, 1), "slope")], 4)
    before = _run(model)
    assert match_prelu_slope(model) == 1
    assert {t.name: list(t.dims) for t in model.graph.initializer}["slope"] == [CHANNELS, 1, 1]
    np.testing.assert_array_equal(_run(model), before)


def test_names_and_other_weights_stay() -> None:
    model = _prelu((CHANNELS, 1, 1))
    names = [(node.name, list(node.input), list(node.output)) for node in model.graph.node]
    match_prelu_slope(model)
    assert [(node.name, list(node.input), list(node.output)) for node in model.graph.node] == names
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]).ravel(), SLOPES)


def test_a_slope_that_moves_along_another_axis_than_the_channels_is_refused() -> None:
    """ONNX runs a [C] slope on [N, C, H, W] as one for each column, without a word when W is C."""
    model = _prelu((CHANNELS,))
    before = model.SerializeToString()
    with pytest.raises(ConversionError, match=r"PRelu 'PRelu_0': its slope \[5\] is \[1, 1, 1, 5\] to ONNX"):
        match_prelu_slope(model)
    assert model.SerializeToString() == before


def test_a_slope_that_was_grown_twice_is_refused() -> None:
    model = _model(
        [helper.make_node("PRelu", ["x", "slope"], ["y"], name="PRelu_0")],
        [numpy_helper.from_array(SLOPES.reshape(1, 1, -1, 1, 1), "slope")],
        4,
    )
    with pytest.raises(ConversionError, match=r"slope has shape \[1, 1, 5, 1, 1\], expected at most the 4 axes"):
        match_prelu_slope(model)


def test_a_computed_slope_is_refused() -> None:
    nodes = [helper.make_node("Abs", ["x"], ["slope"]), helper.make_node("PRelu", ["x", "slope"], ["y"])]
    with pytest.raises(ConversionError, match="its slope 'slope' is computed or an input, expected a constant"):
        match_prelu_slope(_model(nodes, [], 4))


def test_an_input_of_unknown_rank_is_refused() -> None:
    model = _prelu((CHANNELS, 1, 1))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ConversionError, match="the rank of its input 'x' cannot be inferred"):
        match_prelu_slope(model)
