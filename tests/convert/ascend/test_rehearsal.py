# SPDX-License-Identifier: Apache-2.0
"""Half precision rehearsed: every tensor holds half-precision numbers, and a small network equals NumPy's float16."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_networks import EMBEDDER, PNET, write_onnx

from facepipe.catalogue import MODELS
from facepipe.cli import main
from facepipe.convert.ascend.rehearsal import PRECISIONS, rehearse, rounded
from facepipe.convert.onnx.layers import compare_layers, first_drift
from facepipe.convert.onnx.outputs import image_of_bytes, shapes_to_compare
from facepipe.errors import ConversionError, DataError
from facepipe.results import Detections, FaceLine, NoFace
from facepipe.runs.rehearse import compare_runs, cosines, match
from facepipe.store.photograph_digests import write_digests
from facepipe.store.run_faces import write_embeddings, write_faces
from facepipe.store.run_record import write_run


def run(model: onnx.ModelProto, image: np.ndarray, optimise: bool = True) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, {"image": image})]


def is_half(array: np.ndarray) -> bool:
    return bool((array.astype(np.float16).astype(np.float32) == array).all())


def chain() -> onnx.ModelProto:
    """x * w + b, then clipped: three operators whose every step can be done by hand."""
    constants = {"w": 1.0009765625 + 2**-13, "b": 1e-9, "low": 0.0, "high": 70000.0}
    nodes = [
        helper.make_node("Mul", ["image", "w"], ["m"], "mul"),
        helper.make_node("Add", ["m", "b"], ["a"], "add"),
        helper.make_node("Clip", ["a", "low", "high"], ["y"], "clip"),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("optimise", [True, False])
def test_every_step_is_rounded_as_numpy_rounds(optimise: bool) -> None:
    image = np.random.default_rng(0).normal(0, 100, 1000).astype(np.float32)
    (found,) = run(rehearse(chain()), image, optimise)
    half = np.float16
    product = (image.astype(half).astype(np.float32) * np.float32(half(1.0009765625 + 2**-13))).astype(half)
    total = (product.astype(np.float32) + np.float32(half(1e-9))).astype(half)
    np.testing.assert_array_equal(found, np.clip(total, 0, None).astype(np.float32))


def product() -> onnx.ModelProto:
    """relu(image @ w + b): the factors are half-precision numbers on every chip's fp16 unit, the sum is float32."""
    constants = {"w": np.full((4, 3), 1.0009765625 + 2**-13), "b": np.full(3, 1e-9)}
    nodes = [
        helper.make_node("MatMul", ["image", "w"], ["m"], "product"),
        helper.make_node("Add", ["m", "b"], ["y"], "sum"),
    ]
    shapes = {"image": [None, 4], "y": [None, 3]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "product", values[:1], values[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("precision", ["cube_fp16in_fp32out", "force_fp32"])
def test_products_of_half_precision_are_summed_and_kept_in_float32(precision: str) -> None:
    image = np.random.default_rng(0).normal(0, 1, (50, 4)).astype(np.float32)
    (found,) = run(rehearse(product(), precision), image, optimise=False)
    factor = np.float32(np.float16(1.0009765625 + 2**-13))
    wanted = (rounded(image) @ np.full((4, 3), factor)) + np.float32(1e-9)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
    assert not is_half(found) and not np.allclose(found, run(product(), image)[0], rtol=1e-6, atol=1e-7)
    (exact,) = run(rehearse(chain(), precision), np.array([1.5, 60000], np.float32), optimise=False)
    np.testing.assert_array_equal(exact, run(chain(), np.array([1.5, 60000], np.float32), optimise=False)[0])


@pytest.mark.parametrize("precision", ["origin", "mixed_float16", "fp8"])
def test_a_mode_that_rounds_nothing_or_by_unknown_lists_is_refused(
    precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConversionError, match="cannot be rehearsed, expected fp16 or cube_fp16in_fp32out"):
        rehearse(chain(), precision)
    assert main(["rehearse", "--precision", precision]) == 1
    assert f"precision '{precision}' cannot be rehearsed" in capsys.readouterr().err
    assert all(rehearse(product(), name) for name in PRECISIONS)


def test_numbers_above_65504_become_infinite() -> None:
    (found,) = run(rehearse(chain()), np.array([65504, 65540, 1], np.float32))
    assert found[0] == np.inf and found[1] == np.inf and found[2] == 1.0009765625
    assert rounded(np.array([1e-9, 1e6], np.float32)).tolist() == [0, np.inf]


def test_the_original_is_left_alone_and_names_stay() -> None:
    model = chain()
    before = model.SerializeToString()
    made = rehearse(model)
    assert model.SerializeToString() == before
    names = {name for node in made.graph.node for name in node.output}
    assert {"m", "a", "y"} <= names and [value.name for value in made.graph.output] == ["y"]


def test_a_second_rehearsal_is_refused() -> None:
    with pytest.raises(ConversionError, match="the model is rehearsed already"):
        rehearse(rehearse(chain()))


@pytest.mark.parametrize("spec", [PNET, EMBEDDER], ids=lambda spec: spec.name)
def test_outputs_of_a_network_are_half_precision_and_near(spec: object, tmp_path: Path) -> None:
    assert spec in (PNET, EMBEDDER)
    chosen = PNET if spec is PNET else EMBEDDER
    model = onnx.load(str(write_onnx(chosen, tmp_path / "m.onnx")))
    image = image_of_bytes(chosen, shapes_to_compare(chosen, None)[-1])
    for found, wanted in zip(run(rehearse(model), image), run(model, image), strict=True):
        assert is_half(found) and not is_half(wanted)
        np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02)


def test_every_catalogued_model_can_be_rehearsed(weights_dir: Path) -> None:
    for spec in MODELS.values():
        path = spec.final(weights_dir)
        if path.is_file():
            rehearse(onnx.load(str(path)))


# Layers --------------------------------------------------------------------------------------------------------------


def test_half_precision_drifts_nowhere_in_a_small_network(tmp_path: Path) -> None:
    model = onnx.load(str(write_onnx(PNET, tmp_path / "m.onnx")))
    layers = compare_layers(model, rehearse(model), image_of_bytes(PNET, (1, 3, 20, 20)))
    assert [layer.node for layer in layers] == ["conv0", "pool0", "conv1", "conv2", "head0", "head1"]
    assert first_drift(layers) is None
    assert all(0 < layer.figures.relative_euclidean < 0.01 for layer in layers)


def test_the_first_operator_that_drifts_is_named_not_those_behind_it(tmp_path: Path) -> None:
    model = onnx.load(str(write_onnx(PNET, tmp_path / "m.onnx")))
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    kernel = next(tensor for tensor in broken.graph.initializer if tensor.name == "k1")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(1.2), "k1"))
    layers = compare_layers(model, broken, image_of_bytes(PNET, (1, 3, 20, 20)))
    drift = first_drift(layers)
    assert drift is not None and drift.node == "conv1" and drift.tensor == "c1"
    assert drift.figures.relative_euclidean == pytest.approx(0.2, rel=1e-4)


def test_models_without_a_common_tensor_are_refused(tmp_path: Path) -> None:
    model = onnx.load(str(write_onnx(PNET, tmp_path / "m.onnx")))
    with pytest.raises(ConversionError, match="no tensor of one name"):
        compare_layers(model, chain(), np.zeros(3, np.float32))


def test_the_command_prints_the_vendors_columns_and_names_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_onnx(PNET, PNET.final(tmp_path))
    assert main(["parity", "pnet", "--layers", "--weights", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "no operator drifts" in out and "| CosineSimilarity | MaxAbsoluteError |" in out
    broken = onnx.load(str(path))
    kernel = next(tensor for tensor in broken.graph.initializer if tensor.name == "k2")
    kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), "k2"))
    onnx.save(broken, str(tmp_path / "other.onnx"))
    other = str(tmp_path / "other.onnx")
    assert main(["parity", "pnet", "--layers", "--weights", str(tmp_path), "--other", other]) == 1
    assert "first: Conv conv2 -> c2, cosine -1" in capsys.readouterr().out
    assert main(["parity", "pnet", "--layers", "--weights", str(tmp_path), "--other", other, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_drift"] == "conv2"


def test_parity_without_a_second_side_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", "pnet"]) == 1
    assert "expected --against BACKEND or --layers" in capsys.readouterr().err


# Boxes and runs ------------------------------------------------------------------------------------------------------


def detections(*boxes: tuple[float, float, float, float]) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(count, np.float32), np.zeros((count, 0, 2)))


def test_boxes_are_matched_once_and_the_best_overlap_wins() -> None:
    ours = detections((0, 0, 10, 10), (100, 100, 120, 120), (200, 200, 210, 210))
    theirs = detections((1, 0, 11, 10), (0, 0, 10, 10), (101, 100, 121, 120))
    rows, columns, ious = match(ours, theirs)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 2)]
    assert ious.max() == 1 and ious.min() > 0.9


def test_no_boxes_match_nothing() -> None:
    assert len(match(detections(), detections((0, 0, 1, 1)))[0]) == 0


def test_cosines_row_by_row() -> None:
    found = cosines(np.array([[1.0, 0.0], [0.0, 2.0]], np.float32), np.array([[1.0, 0.0], [2.0, 0.0]], np.float32))
    assert (found.count, found.least, found.mean) == (2, 0.0, 0.5)


def test_runs_over_other_photographs_are_refused(tmp_path: Path) -> None:
    for name, key in (("a", "x.jpg"), ("b", "y.jpg")):
        run = tmp_path / name
        run.mkdir()
        written = write_faces(run / "faces.jsonl", [FaceLine(key, NoFace("no face found"))])
        write_embeddings(run / "embeddings.npy", 0, 4, [])
        write_digests(run / "photographs.sha256", [(key, "")])
        write_run(run, {}, written)
    with pytest.raises(DataError, match="its photographs are not those of"):
        compare_runs(tmp_path / "a", tmp_path / "b")


def test_the_rehearsal_of_a_whole_run_is_reported(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ("pnet", "rnet", "onet", "facenet.seeded")
    if not all(MODELS[name].final(weights_dir).is_file() for name in needed):
        pytest.skip("the converted models are not all there")
    keys = sorted(path.relative_to(sample / "images").as_posix() for path in (sample / "images").rglob("*_000[12].jpg"))
    people = sorted({key.partition("/")[0] for key in keys})[:4]
    folds = [f"{person}\t1\t2\n{person}\t1\t{other}\t1\n" for person, other in zip(people[:2], people[2:], strict=True)]
    (tmp_path / "pairs.txt").write_text("2\t1\n" + "".join(folds))
    command = [
        *("rehearse", "--data", str(sample), "--pairs", str(tmp_path / "pairs.txt"), "--embedder", "facenet.seeded"),
        *("--weights", str(weights_dir), "--out", str(tmp_path / "out"), "--workers", "1", "--sample", "2"),
    ]
    assert main(command) == 0
    report = json.loads((tmp_path / "out" / "rehearsal.json").read_text())
    assert report["run"]["cosines"]["count"] == report["run"]["faces"] > 0
    assert report["sample"]["cosines"]["least"] > 0.9999
    assert {row[0] for row in report["sample"]["outputs"]} == set(needed)
    assert "All boxes of 2 photographs" in capsys.readouterr().out
