# SPDX-License-Identifier: Apache-2.0
"""The pre-flight: one small graph for each rule, that matches and that does not; and the project's own models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_networks import write_onnx
from stand_ins import stand_in

from facepipe.catalogue import MODELS
from facepipe.catalogue import model as catalogue_model
from facepipe.catalogue.chips import SOCS
from facepipe.cli import main
from facepipe.convert.ascend.preflight import Finding, preflight
from facepipe.convert.onnx.passes.drop_unused_domains import drop_unused_domains


def graph(
    *nodes: onnx.NodeProto,
    constants: dict[str, np.ndarray] | None = None,
    shape: tuple[int | str, ...] = ("batch", 4, 8, 8),
    dtype: int = TensorProto.FLOAT,
    out: int = TensorProto.FLOAT,
    opset: int = 13,
    ir: int = 8,
    name: str = "x",
) -> onnx.ModelProto:
    """A model of these nodes from `x` to `y`."""
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, dtype, shape)],
        [helper.make_tensor_value_info("y", out, None)],
        [numpy_helper.from_array(array, key) for key, array in (constants or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def node(operator: str, *inputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), ["y"], operator.lower(), **attributes)  # type: ignore[arg-type]


def found(model: onnx.ModelProto, rule: str, soc: str = "Ascend310", cann: str = "8.0") -> list[Finding]:
    return [finding for finding in preflight(model, SOCS[soc], cann) if finding.rule == rule]


def severities(model: onnx.ModelProto, rule: str, soc: str = "Ascend310", cann: str = "8.0") -> list[str]:
    return [finding.severity for finding in found(model, rule, soc, cann)]


def prelu(*shape: int, rank_of_input: int = 4) -> onnx.ModelProto:
    return graph(
        node("PRelu", "x", "slope"),
        constants={"slope": np.ones(shape, np.float32)},
        shape=("batch", 4, 8, 8)[:rank_of_input],
    )


@pytest.mark.parametrize(
    ("shape", "rank", "severity"),
    [
        ((1, 4, 1, 1), 4, ["note"]),  # the input's rank: what the vendor feeds to ATC
        ((4, 1, 1), 4, ["blocker"]),  # the plain export: weight_dim
        ((8,), 4, ["blocker"]),  # legal, and broadcasts over W
        ((4,), 2, []),  # a dense layer's, and the documented form
        ((1, 4), 2, ["note"]),
        ((1,), 4, []),  # a single slope is a scalar
    ],
)
def test_a_prelu_slope_is_judged_by_its_rank(shape: tuple[int, ...], rank: int, severity: list[str]) -> None:
    assert severities(prelu(*shape, rank_of_input=rank), "PRelu slope") == severity


def test_a_computed_prelu_slope_blocks() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["s"], "r"), node("PRelu", "x", "s"))
    assert severities(model, "PRelu slope") == ["blocker"]


def clip(low: float | None, high: float | None, opset: int = 13) -> onnx.ModelProto:
    constants = {name: np.float32(value) for name, value in (("low", low), ("high", high)) if value is not None}
    if opset < 11:
        settings = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
        return graph(node("Clip", "x", **settings), opset=opset)
    inputs = ["x", "low" if low is not None else "", *(["high"] if high is not None else [])]
    return graph(node("Clip", *inputs), constants={k: np.asarray(v) for k, v in constants.items()}, opset=opset)


@pytest.mark.parametrize("opset", [10, 13])
def test_one_bound_of_a_clip_blocks_on_old_cann_only(opset: int) -> None:
    model = clip(0.001, None, opset)
    assert severities(model, "Clip bounds", cann="6.0.1") == ["blocker"]
    assert severities(model, "Clip bounds", cann="8.0") == []
    assert severities(clip(0.001, 6.0, opset), "Clip bounds", cann="6.0.1") == []


def test_a_clip_without_bounds_blocks_everywhere() -> None:
    assert severities(clip(None, None), "Clip bounds") == ["blocker"]


@pytest.mark.parametrize("opset", [10, 13])
def test_bounds_that_half_precision_does_not_hold_are_findings(opset: int) -> None:
    vanishing, infinite = found(clip(1e-12, 999999999.0, opset), "half precision")
    assert vanishing.severity == "blocker" and "its min 1e-12 becomes 0" in vanishing.reason
    assert infinite.severity == "warning" and "its max 1e+09 becomes infinite" in infinite.reason
    assert found(clip(6.103515625e-05, 65504.0, opset), "half precision") == []


def test_weights_beyond_half_precision_block_and_lost_ones_are_counted() -> None:
    weights = np.ones((8, 8), np.float32)
    weights[0, 0], weights[1, 1:4] = 70000, 1e-9
    big, small = found(graph(node("MatMul", "x", "w"), constants={"w": weights}), "half precision")
    assert (big.severity, small.severity) == ("blocker", "note")
    assert "1 of 64 values are above 65504" in big.reason and "3 of 64 values are too small" in small.reason
    gone = graph(node("Add", "x", "w"), constants={"w": np.full((1,), 1e-12, np.float32)})
    assert severities(gone, "half precision") == ["warning"]


def test_the_repair_is_a_mode_that_the_chip_has() -> None:
    # A weight above 65504 is a factor of a matrix product: no mode helps a chip that multiplies no float32 matrices.
    weights = np.ones((8, 8), np.float32)
    weights[0, 0] = 70000
    product = graph(node("MatMul", "x", "w"), constants={"w": weights})
    assert "this chip multiplies no float32 matrices" in found(product, "half precision", "Ascend310P3")[0].repair
    assert "or PRECISION=origin" in found(product, "half precision", "Ascend910B4")[0].repair
    total = graph(node("Add", "x", "w"), constants={"w": weights})
    assert "or PRECISION=cube_fp16in_fp32out" in found(total, "half precision", "Ascend310")[0].repair


def test_what_is_not_rounded_is_no_finding() -> None:
    def rules(model: onnx.ModelProto, soc: str, precision: str) -> list[tuple[str, str]]:
        made = preflight(model, SOCS[soc], "8.0", precision)
        return [(one.severity, one.rule) for one in made if one.rule in ("half precision", "precision")]

    weights = np.full((8, 8), 70000, np.float32)
    product = graph(node("MatMul", "x", "w"), constants={"w": weights})
    total = graph(node("Add", "x", "w"), constants={"w": weights})
    assert rules(product, "Ascend310", "cube_fp16in_fp32out") == [("blocker", "half precision")]
    assert rules(total, "Ascend310", "cube_fp16in_fp32out") == []
    assert rules(clip(1e-12, 999999999.0), "Ascend310", "cube_fp16in_fp32out") == []
    assert rules(product, "Ascend910B4", "origin") == []
    assert rules(clip(0.0, 6.0), "Ascend310", "origin") == [("blocker", "precision")]


@pytest.mark.parametrize(
    ("opset", "cann", "severity"),
    [
        (13, "5.0", []),
        (14, "5.0", ["blocker"]),
        (18, "8.0", []),
        (19, "8.0", ["blocker"]),
        (10, "8.0", []),
        (10, "8.5", ["warning"]),
        (7, "8.0", ["blocker"]),
    ],
)
def test_the_opset_is_held_against_the_release(opset: int, cann: str, severity: list[str]) -> None:
    assert severities(graph(node("Relu", "x"), opset=opset), "opset", "Ascend310P3", cann) == severity


def test_two_default_opsets_block() -> None:
    model = graph(node("Relu", "x"))
    model.opset_import.append(helper.make_opsetid("ai.onnx", 12))
    assert severities(model, "opset") == ["blocker"]


def test_a_second_domain_blocks_used_or_not() -> None:
    # As onnxruntime, Paddle2ONNX and quantisers save: "E16005: The model has [8] [--domain_version] fields".
    model = graph(node("Relu", "x"))
    model.opset_import.extend([helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("ai.onnx.ml", 3)])
    (one,) = found(model, "opset")
    assert one.severity == "blocker" and "names 3 opset domains (com.microsoft, ai.onnx.ml beside" in one.reason
    assert "`facepipe fix drop_unused_domains IN OUT`" in one.repair
    model.graph.node.append(helper.make_node("FusedConv", ["y"], ["z"], "f", domain="com.microsoft"))
    assert "without operators of com.microsoft" in found(model, "opset")[0].repair
    assert drop_unused_domains(model) == 1 and [entry.domain for entry in model.opset_import] == ["", "com.microsoft"]
    del model.graph.node[1]
    assert drop_unused_domains(model) == 1 and found(model, "opset") == [] and drop_unused_domains(model) == 0


def test_a_domain_that_a_branch_uses_stays() -> None:
    inner = helper.make_graph([helper.make_node("Gelu", ["x"], ["z"], domain="com.microsoft")], "inner", [], [])
    model = graph(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert drop_unused_domains(model) == 0


def test_a_file_of_several_domains_is_refused_repaired_and_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    spec = catalogue_model("rnet")
    path = write_onnx(spec, spec.final(Path("weights")))
    saved = onnx.load(path)
    saved.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(saved, path)
    command = ["om", "rnet", "--soc", "Ascend310", "--cann", "8.0"]
    assert main(command) == 1 and "names 2 opset domains" in capsys.readouterr().err
    assert main([*command, "--no-check"]) == 1
    assert "E16005: the ONNX file names several opset domains" in capsys.readouterr().err
    assert main(["fix", "drop_unused_domains", str(path), str(path), "--overwrite"]) == 0
    assert main(command) == 0


def test_a_late_ir_version_is_a_warning() -> None:
    assert severities(graph(node("Relu", "x"), ir=9), "IR version") == ["warning"]
    assert severities(graph(node("Relu", "x"), ir=8), "IR version") == []


def test_an_operator_of_another_domain_blocks_and_an_unknown_one_is_named() -> None:
    foreign = graph(helper.make_node("FusedConv", ["x"], ["y"], "f", domain="com.microsoft"))
    foreign.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert severities(foreign, "operator") == ["blocker"]
    assert severities(graph(node("Einsum", "x", equation="nchw->nc")), "operator") == ["warning"]
    assert severities(graph(node("Relu", "x")), "operator") == []


def test_max_pool_is_held_against_its_plug_in() -> None:
    def pool(**settings: object) -> list[str]:
        return severities(graph(node("MaxPool", "x", **{"kernel_shape": [2, 2], **settings})), "MaxPool")

    assert pool(strides=[2, 2], ceil_mode=1) == []  # MTCNN's
    assert pool(storage_order=1) == ["blocker"]
    assert pool(kernel_shape=[16, 16]) == ["warning"]
    assert pool(strides=[64, 64]) == ["warning"]
    indices = graph(helper.make_node("MaxPool", ["x"], ["y", "i"], "p", kernel_shape=[2, 2]))
    assert severities(indices, "MaxPool") == ["blocker"]


def test_reduce_l2_blocks_at_opset_18() -> None:
    axes = {"axes": np.array([1], np.int64)}
    assert severities(graph(node("ReduceL2", "x", "axes"), constants=axes, opset=18), "ReduceL2") == ["blocker"]
    assert severities(graph(node("ReduceL2", "x", axes=[1]), opset=17), "ReduceL2") == []


def test_what_resize_ignores_is_named() -> None:
    sizes = {"s": np.array([1, 1, 2, 2], np.float32)}
    model = graph(node("Resize", "x", "", "s", antialias=1, mode="linear"), constants=sizes, opset=18)
    assert severities(model, "Resize") == ["warning"]
    assert severities(graph(node("Resize", "x", "", "s"), constants=sizes, opset=13), "Resize") == []


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.DOUBLE])
def test_wide_types_at_the_edges_are_warnings(kind: int) -> None:
    assert len(severities(graph(node("Identity", "x"), dtype=kind, out=kind), "wide type")) == 2
    assert severities(graph(node("Identity", "x")), "wide type") == []


def test_free_axes_beyond_gears_block_where_no_range_is_taken() -> None:
    free = graph(node("Relu", "x"), shape=("batch", "channels", 8, 8))
    assert severities(free, "dynamic dimension", "Ascend310") == ["blocker"]
    assert severities(free, "dynamic dimension", "Ascend310P3", "8.0") == ["warning"]
    assert severities(free, "dynamic dimension", "Ascend310P3", "6.0.1") == ["blocker"]
    assert severities(graph(node("Relu", "x"), shape=("n", 3, "h", "w")), "dynamic dimension") == ["note"]
    assert severities(graph(node("Relu", "x"), shape=(1, 3, 8, 8)), "dynamic dimension") == []


def test_axes_of_one_name_are_a_warning() -> None:
    # What torch writes when every axis is labelled -1: the file then says that they are equal.
    model = graph(node("Relu", "x"), shape=("-1", 3, "-1", "-1"))
    assert severities(model, "dynamic dimension") == ["warning", "note"]


def test_shapes_computed_at_run_time_forbid_gears() -> None:
    nodes = (
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Reshape", ["x", "s"], ["y"], "reshape"),
    )
    assert severities(graph(*nodes), "data-dependent shape", "Ascend310") == ["blocker"]
    assert severities(graph(*nodes), "data-dependent shape", "Ascend310P3") == ["warning"]
    assert severities(graph(*nodes, shape=(1, 4, 8, 8)), "data-dependent shape", "Ascend310") == ["warning"]
    fixed = graph(node("Reshape", "x", "s"), constants={"s": np.array([0, -1], np.int64)})
    assert severities(fixed, "data-dependent shape") == []


def test_suppression_in_the_graph_blocks_on_310() -> None:
    model = graph(node("NonZero", "x"), out=TensorProto.INT64)
    assert severities(model, "data-dependent shape", "Ascend310") == ["blocker"]


def test_an_input_name_that_breaks_input_shape_blocks() -> None:
    assert severities(graph(node("Relu", "a:0"), name="a:0"), "input name") == ["blocker"]
    assert severities(graph(node("Relu", "b" * 128), name="b" * 128), "input name") == ["warning"]


def test_an_illegal_file_blocks() -> None:
    assert severities(graph(node("Relu", "nowhere")), "legal") == ["blocker"]


def test_a_chip_that_the_release_does_not_name_blocks() -> None:
    assert severities(graph(node("Relu", "x")), "chip", "Ascend310", "8.5") == ["blocker"]
    assert severities(graph(node("Relu", "x")), "ops package", "Ascend310P3", "8.5") == ["note"]


@pytest.mark.parametrize("cann", ["5.0.4", "6.3.RC1", "8.0"])
def test_every_final_model_passes_and_the_unfixed_mtcnn_does_not(
    weights_dir: Path, cann: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chip = ["--soc", "Ascend310", "--cann", cann]
    assert main(["check", "--weights", str(weights_dir), *chip, "--quiet"]) == 0
    assert "will not pass" not in capsys.readouterr().out
    assert main(["check", str(MODELS["rnet"].exported(weights_dir)), *chip]) == 1
    assert "blocker  PRelu slope: PRelu /prelu1/PRelu" in capsys.readouterr().out


def test_the_unfixed_facenet_lacks_a_bound_on_old_cann(weights_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = str(MODELS["facenet.seeded"].exported(weights_dir))
    assert main(["check", exported, "--soc", "Ascend310", "--cann", "old"]) == 1
    assert "has 1 of 2 bounds, and the parser of CANN old wants both" in capsys.readouterr().out


def test_a_file_that_is_no_model_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\xff\xff no model")
    assert main(["check", str(tmp_path / "x.onnx"), "--soc", "Ascend310"]) == 1
    assert "cannot be read as ONNX" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "y.onnx"), "--soc", "Ascend310"]) == 1
    assert "y.onnx: no such file, expected an ONNX model" in capsys.readouterr().err
