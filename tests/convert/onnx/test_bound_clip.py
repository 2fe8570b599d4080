# SPDX-License-Identifier: Apache-2.0
"""The pass `bound_clip`: what it edits, what it leaves, what it refuses, at every opset."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from facepipe.convert.onnx.passes.bound_clip import bound_clip  # noqa: E402
from facepipe.errors import ConversionError  # noqa: E402

OPSETS = range(8, 18)
INPUT_FORM = range(11, 18)
TINY = 2.0**-14


def _clip(
    opset: int,
    low: float | None,
    high: float | None,
    *,
    element: int = TensorProto.FLOAT,
    as_constant_nodes: bool = False,
    clips: int = 1,
) -> onnx.ModelProto:
    """`clips` Clip nodes in a row, with shared bounds, in the form that the opset asks for."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    bounds = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    before, stored, inputs, attributes = [], [], [], {}
    if opset < 11:
        attributes = bounds
    else:
        inputs = ["low" if low is not None else "", *(["high"] if high is not None else [])]
        inputs = inputs if any(inputs) else []
        tensors = {"low": low, "high": high}
        arrays = {k: np.array(v, dtype) for k, v in tensors.items() if v is not None}
        if as_constant_nodes:
            before = [
                helper.make_node("Constant", [], [k], value=numpy_helper.from_array(a)) for k, a in arrays.items()
            ]
        else:
            stored = [numpy_helper.from_array(a, k) for k, a in arrays.items()]
    names = ["x", *(f"t{i}" for i in range(1, clips)), "y"]
    nodes = [
        helper.make_node("Clip", [a, *inputs], [b], name=f"Clip_{i}", **attributes)
        for i, (a, b) in enumerate(pairwise(names))
    ]
    return _model([*before, *nodes], stored, opset, element)


def _model(nodes: list, stored: list, opset: int, element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, element, ["n", 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", value[:1], value[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model


def _bounds(model: onnx.ModelProto) -> list[tuple[float, float]]:
    """The bounds of every Clip, wherever they are stored."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    stored |= {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in model.graph.node if n.op_type == "Constant"
    }
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    if model.opset_import[0].version < 11:
        return [tuple({a.name: a.f for a in node.attribute}[name] for name in ("min", "max")) for node in clips]
    return [tuple(float(stored[name]) for name in node.input[1:]) for node in clips]


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1e-12, None, (TINY, 65504.0)),  # a guarded length, as exporters write clamp_min
        (None, 6.0, (-65504.0, 6.0)),
        (None, None, (-65504.0, 65504.0)),
        (0.0, 999999999.0, (0.0, 65504.0)),  # the vendor's bound
        (-3.4028234e38, 3.4028234e38, (-65504.0, 65504.0)),
        (0.0, float("inf"), (0.0, 65504.0)),
    ],
)
def test_absent_and_too_wide_bounds_become_what_fp16_can_hold(
    opset: int, low: float | None, high: float | None, expected: tuple[float, float]
) -> None:
    model = _clip(opset, low, high)
    before = _run(model, x := np.array([[-50.0, 0.5, 3.0, 60000.0]], np.float32))
    assert bound_clip(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert _bounds(model) == [expected]
    assert all(float(np.float16(bound)) == bound for bound in expected)
    np.testing.assert_allclose(_run(model, x), before, rtol=0, atol=TINY)  # only a raised guard shows at all


@pytest.mark.parametrize("opset", OPSETS)
def test_a_second_run_makes_no_edit_and_changes_no_byte(opset: int) -> None:
    model = _clip(opset, 1e-12, None)
    assert bound_clip(model) == 1
    once = model.SerializeToString()
    assert bound_clip(model) == 0
    assert model.SerializeToString() == once


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (TINY, 65504.0), (-65504.0, 0.0)])
def test_bounds_that_fp16_holds_stay_as_they_are(opset: int, low: float, high: float) -> None:
    model = _clip(opset, low, high)
    before = model.SerializeToString()
    assert bound_clip(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize("opset", OPSETS)
def test_a_graph_without_clip_is_left_alone(opset: int) -> None:
    model = _model([helper.make_node("Relu", ["x"], ["y"])], [], opset)
    before = model.SerializeToString()
    assert bound_clip(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize("opset", INPUT_FORM)
@pytest.mark.parametrize("as_constant_nodes", [False, True])
def test_bounds_are_found_as_initializers_and_as_constant_nodes(opset: int, as_constant_nodes: bool) -> None:
    model = _clip(opset, 1e-12, 1e9, as_constant_nodes=as_constant_nodes)
    assert bound_clip(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert _bounds(model) == [(TINY, 65504.0)]
    left = {t.name for t in model.graph.initializer} | {n.output[0] for n in model.graph.node}
    assert not left & {"low", "high"}, "what no node reads any more is removed"


@pytest.mark.parametrize("opset", [8, 13])
def test_shared_bounds_are_set_for_every_node(opset: int) -> None:
    model = _clip(opset, 0.0, None, clips=3)
    assert bound_clip(model) == 3
    onnx.checker.check_model(model, full_check=True)
    assert _bounds(model) == [(0.0, 65504.0)] * 3


def test_a_bound_that_another_node_reads_too_stays_for_that_node() -> None:
    model = _clip(13, 1e-12, None)
    model.graph.node[0].output[0] = "t"
    model.graph.node.append(helper.make_node("Add", ["t", "low"], ["y"]))
    x = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    before = _run(model, x)
    assert bound_clip(model) == 1
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(_run(model, x), before)
    assert {t.name: float(numpy_helper.to_array(t)) for t in model.graph.initializer}["low"] == np.float32(1e-12)


def test_names_of_nodes_and_tensors_stay() -> None:
    model = _clip(13, 1e-12, None, clips=2)
    names = [(node.name, node.input[0], node.output[0]) for node in model.graph.node]
    bound_clip(model)
    assert [(node.name, node.input[0], node.output[0]) for node in model.graph.node] == names
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["x", "y"]


def test_a_new_bounds_name_avoids_every_name_in_the_graph() -> None:
    model = _clip(13, 0.0, None)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(7).reshape(()), "y_max"))
    bound_clip(model)
    onnx.checker.check_model(model, full_check=True)
    assert _bounds(model) == [(0.0, 65504.0)]


@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_new_bounds_have_the_inputs_own_type(element: int) -> None:
    model = _clip(13, 0.0, None, element=element)
    assert bound_clip(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert {t.data_type for t in model.graph.initializer} == {element}


def test_bounds_of_integers_are_exact_and_stay() -> None:
    model = _clip(13, 0, 100_000, element=TensorProto.INT32)
    before = model.SerializeToString()
    assert bound_clip(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize("opset", [8, 13])
@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (float("nan"), 1.0, "its bounds are nan and 1, expected an interval"),
        (70000.0, None, "its bounds are 70000 and inf, expected an interval"),
        (None, -1e6, r"its bounds are -inf and -1e\+06, expected an interval"),
        (2.0, 1.0, "its bounds are 2 and 1, expected an interval"),
        (0.0, 1e-12, "its bounds 0 and 1e-12 would be 0 in fp16, and guard no division"),
        (-1e-12, 1.0, "its bounds -1e-12 and 1 would be 0 in fp16, and guard no division"),
    ],
)
def test_bounds_that_mean_something_else_in_fp16_are_refused(
    opset: int, low: float | None, high: float | None, message: str
) -> None:
    model = _clip(opset, low, high)
    before = model.SerializeToString()
    with pytest.raises(ConversionError, match=f"Clip 'Clip_0': {message}"):
        bound_clip(model)
    assert model.SerializeToString() == before


def test_a_computed_bound_is_refused_before_any_edit() -> None:
    model = _clip(13, 1e-12, None, clips=2)
    model.graph.node[1].input[1] = "computed"
    model.graph.node.insert(0, helper.make_node("ReduceMax", ["x"], ["computed"], keepdims=0))
    before = model.SerializeToString()
    with pytest.raises(ConversionError, match="Clip 'Clip_1': its bound 'computed' is computed or an input"):
        bound_clip(model)
    assert model.SerializeToString() == before


def test_a_bound_that_can_be_fed_at_run_time_is_no_constant() -> None:
    model = _clip(13, 0.0, None)
    model.graph.input.append(helper.make_tensor_value_info("low", TensorProto.FLOAT, []))
    with pytest.raises(ConversionError, match="its bound 'low' is computed or an input"):
        bound_clip(model)


def test_a_clip_inside_a_branch_is_refused() -> None:
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Clip", ["x"], ["inner"])], "branch", [], [value])
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["positive"], to=TensorProto.BOOL),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch, else_branch=branch),
    ]
    with pytest.raises(ConversionError, match="a Clip node is inside a branch"):
        bound_clip(_model(nodes, [], 13))


def test_an_opset_below_six_is_refused() -> None:
    model = _clip(8, 0.0, None)
    model.opset_import[0].version = 5
    with pytest.raises(ConversionError, match="opset 5, expected 6 or later"):
        bound_clip(model)
