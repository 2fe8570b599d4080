# SPDX-License-Identifier: Apache-2.0
"""A file becomes a model with a name, or is refused in one line that says what it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the files of these tests are made with onnx")

from onnx import TensorProto, helper
from own_onnx import arcface_onnx, save

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.catalogue import embedder, model
from facepipe.catalogue.imported import record_path
from facepipe.embed import open_embedder
from facepipe.errors import BackendError, DataError, FacepipeError, StageError
from facepipe.runs.import_model import NO_LICENCE, Told, import_recogniser
from facepipe.specs import FivePoint, MarginCrop
from facepipe.store.files import sha256_of_file

LIKE = "arcface.iresnet50"


def refusal(file: Path, weights: Path, **options: object) -> str:
    """What is said of a file, in one line; and nothing was written."""
    with pytest.raises(FacepipeError) as refused:
        import_recogniser(file, LIKE, weights, "mine", **options)  # type: ignore[arg-type]
    assert not list(weights.glob("mine*"))
    said = str(refused.value)
    assert "\n" not in said
    assert str(file) in said
    return said


def test_what_the_file_does_not_tell_is_as_of_the_model_that_it_is_like(tmp_path: Path) -> None:
    file, weights = arcface_onnx(tmp_path / "w600k_r50.onnx"), tmp_path / "weights"
    spec = import_recogniser(file, LIKE, weights)
    like = model(LIKE)
    assert (spec.name, spec.input.name, spec.outputs[0].name, spec.opset) == ("w600k_r50", "input.1", "683", 11)
    assert spec.pixels == like.pixels
    assert spec.alignment == like.alignment
    assert spec.atc.aipp is True
    assert spec.weights.licence == NO_LICENCE
    assert spec.weights.sha256 == sha256_of_file(weights / "w600k_r50.onnx") == sha256_of_file(file)
    assert embedder("w600k_r50", weights) == spec
    crops = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), np.uint8)
    with open_embedder(spec, OnnxRuntime(), weights, 2) as recogniser:
        rows = recogniser.embed(crops)
    (ours,) = _by_hand(weights / "w600k_r50.onnx", (crops.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5)
    assert np.allclose(rows, ours / np.linalg.norm(ours, axis=1, keepdims=True), atol=1e-6)


def _by_hand(path: Path, images: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: images}))


def test_what_is_told_goes_before_the_likeness(tmp_path: Path) -> None:
    file, weights = arcface_onnx(tmp_path / "own.onnx", side=224), tmp_path / "weights"
    told = Told("BGR", (0, 1, 2), (255, 128, 64), "five-point", 0.31, "MIT")
    spec = import_recogniser(file, "mobilefacenet.ms1m", weights, "mine", told)
    assert spec == embedder("mine", weights)
    assert (spec.pixels.order, spec.pixels.mean, spec.pixels.scale) == ("BGR", (0, 1, 2), (1 / 255, 1 / 128, 1 / 64))
    assert isinstance(spec.alignment, FivePoint)
    assert spec.alignment.size == 224
    assert np.allclose(spec.alignment.template, 2 * np.array(model(LIKE).alignment.template))  # type: ignore[union-attr]
    assert spec.imported is not None
    assert spec.imported.threshold == 0.31
    assert spec.weights.licence == "MIT"
    assert spec.atc.aipp is False, "exact in half precision was said of other constants"
    margin = import_recogniser(file, LIKE, weights, "cut", Told(alignment="margin:14"))
    assert margin.alignment == MarginCrop(224, 14)


def test_the_colours_of_the_likeness_go_with_their_order(tmp_path: Path) -> None:
    file, like = arcface_onnx(tmp_path / "own.onnx"), model("mobilefacenet.ms1m")
    spec = import_recogniser(file, like.name, tmp_path / "w", told=Told(pixels="BGR"))
    assert (spec.pixels.mean, spec.pixels.scale) == (like.pixels.mean[::-1], like.pixels.scale[::-1])


@pytest.mark.parametrize("batch", [1, 4])
def test_a_file_of_one_batch_is_run_in_that(batch: int, tmp_path: Path) -> None:
    weights = tmp_path / "w"
    spec = import_recogniser(arcface_onnx(tmp_path / "own.onnx", batch=batch), LIKE, weights)
    assert str(spec.input.dims[0]) == str(batch)
    free = import_recogniser(arcface_onnx(tmp_path / "free.onnx"), LIKE, weights)
    crops = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), np.uint8)
    with (
        open_embedder(spec, OnnxRuntime(), weights, 16) as one,
        open_embedder(free, OnnxRuntime(), weights, 16) as any_,
    ):
        assert np.allclose(one.embed(crops), any_.embed(crops), atol=1e-6)


def test_an_output_that_declares_one_row_and_gives_all_is_taken(tmp_path: Path) -> None:
    spec = import_recogniser(arcface_onnx(tmp_path / "own.onnx", declared=1), LIKE, tmp_path / "w")
    assert not spec.outputs[0].dims[0].is_fixed


def test_it_may_lie_where_models_lie(tmp_path: Path) -> None:
    file = arcface_onnx(tmp_path / "mine.onnx")
    import_recogniser(file, LIKE, tmp_path)
    import_recogniser(file, LIKE, tmp_path)  # again, the same
    assert embedder("mine", tmp_path).final(tmp_path) == file


def test_another_model_of_the_name_stays_unless_it_is_said(tmp_path: Path) -> None:
    first, second = arcface_onnx(tmp_path / "a.onnx"), arcface_onnx(tmp_path / "b.onnx", seed=1)
    weights = tmp_path / "w"
    weights.mkdir()
    (weights / "mine.onnx").write_bytes(b"somebody's")
    with pytest.raises(StageError, match=r"mine.onnx: is there already, expected no file. Try: --overwrite"):
        import_recogniser(first, LIKE, weights, "mine")
    assert (weights / "mine.onnx").read_bytes() == b"somebody's"
    import_recogniser(first, LIKE, weights, "mine", overwrite=True)
    assert sha256_of_file(weights / "mine.onnx") == sha256_of_file(first)
    import_recogniser(second, LIKE, weights, "mine", overwrite=True)
    assert embedder("mine", weights).weights.sha256 == sha256_of_file(second)


@pytest.mark.parametrize("name", ["pnet", "mtcnn", "ultraface.rfb-320+onet", LIKE])
def test_a_name_that_the_catalogue_has_is_refused(name: str, tmp_path: Path) -> None:
    file = arcface_onnx(tmp_path / "own.onnx")
    with pytest.raises(DataError, match=r"the catalogue has a model of this name|is no name of a model"):
        import_recogniser(file, LIKE, tmp_path / "w", name)


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x/y", ".x", "x."])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no name of a model"):
        import_recogniser(arcface_onnx(tmp_path / "own.onnx"), LIKE, tmp_path / "w", name)


def test_what_it_is_like_is_an_embedder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="embedder 'pnet' is not known"):
        import_recogniser(arcface_onnx(tmp_path / "own.onnx"), "pnet", tmp_path / "w")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.onnx", tmp_path / "w")
    (tmp_path / "text.onnx").write_text("hello, this is text")
    assert "is no ONNX model" in refusal(tmp_path / "text.onnx", tmp_path / "w")
    arcface_onnx(tmp_path / "half.onnx")
    (tmp_path / "half.onnx").write_bytes((tmp_path / "half.onnx").read_bytes()[:-1000])
    assert "is no ONNX model" in refusal(tmp_path / "half.onnx", tmp_path / "w")


IMAGE = ["N", 3, 112, 112]


def test_two_inputs_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("Mul", ["flat", "mask"], ["y"])]
    file = save(tmp_path / "x.onnx", nodes, {}, {"image": IMAGE, "mask": ["N", 37632]}, {"y": ["N", 37632]})
    assert f"{file}: has 2 inputs (image, mask), expected one picture." == refusal(file, tmp_path / "w")


def test_an_input_of_another_rank_or_order_of_axes_is_named(tmp_path: Path) -> None:
    flatten = [helper.make_node("Flatten", ["x"], ["y"])]
    flat = save(tmp_path / "flat.onnx", flatten, {}, {"x": ["N", 37632]}, {"y": ["N", 37632]})
    assert "its input 'x' is [any, 37632], expected [N, 3, height, width]." in refusal(flat, tmp_path / "w")
    last = save(tmp_path / "last.onnx", flatten, {}, {"x": ["N", 112, 112, 3]}, {"y": ["N", 37632]})
    assert "is [any, 112, 112, 3], expected [N, 3, height, width]. Try: export it with channels first" in refusal(
        last, tmp_path / "w"
    )
    grey = save(tmp_path / "grey.onnx", flatten, {}, {"x": ["N", 1, 112, 112]}, {"y": ["N", 12544]})
    assert "is [any, 1, 112, 112], expected [N, 3, height, width]." in refusal(grey, tmp_path / "w")


def test_an_input_of_bytes_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), helper.make_node("Flatten", ["f"], ["y"])]
    file = save(tmp_path / "x.onnx", nodes, {}, {"x": IMAGE}, {"y": ["N", 37632]}, dtype=TensorProto.UINT8)
    assert "its input 'x' is uint8, expected float32." in refusal(file, tmp_path / "w")


def test_another_size_wants_its_alignment(tmp_path: Path) -> None:
    said = refusal(arcface_onnx(tmp_path / "x.onnx", side=128), tmp_path / "w")
    assert "its input is 128x128, and arcface.iresnet50, which it is to be like, is aligned to 112x112." in said
    assert "Try: --alignment five-point" in said
    oblong = save(
        tmp_path / "o.onnx",
        [helper.make_node("Flatten", ["x"], ["y"])],
        {},
        {"x": ["N", 3, 112, 96]},
        {"y": ["N", 3 * 112 * 96]},
    )
    assert "its input is 112x96 (height x width), expected a square." in refusal(oblong, tmp_path / "w")


def test_several_outputs_or_one_of_another_rank_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["y"]), helper.make_node("ReduceMean", ["x"], ["z"], axes=[2, 3])]
    two = save(tmp_path / "two.onnx", nodes, {}, {"x": IMAGE}, {"y": ["N", 37632], "z": ["N", 3, 1, 1]})
    assert "has 2 outputs (y [any, 37632], z [any, 3, 1, 1]), expected 1: one row of numbers" in refusal(
        two, tmp_path / "w"
    )
    maps = save(tmp_path / "maps.onnx", nodes[1:], {}, {"x": IMAGE}, {"z": ["N", 3, 1, 1]})
    assert "its output 'z' is [any, 3, 1, 1], expected [N, D]" in refusal(maps, tmp_path / "w")


def test_an_operator_that_onnxruntime_lacks_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("FaceMagic", ["x"], ["y"], domain="own")]
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 512])],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    file = tmp_path / "x.onnx"
    file.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    said = refusal(file, tmp_path / "w")
    assert "onnxruntime cannot load it" in said
    assert "FaceMagic" in said
    assert "Try: export it again with ONNX's own operators" in said


def test_numbers_in_another_file_are_refused(tmp_path: Path) -> None:
    import onnx

    file = arcface_onnx(tmp_path / "x.onnx")
    onnx.save(onnx.load(file), tmp_path / "y.onnx", save_as_external_data=True, location="y.data", size_threshold=0)
    assert "keeps numbers in another file (external data)" in refusal(tmp_path / "y.onnx", tmp_path / "w")


def _with(nodes: list[object], weights: dict[str, np.ndarray], file: Path) -> Path:
    return save(file, nodes, weights, {"x": IMAGE}, {"y": ["N", 3]})  # type: ignore[arg-type]


def test_answers_that_are_no_embeddings_are_refused(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0)
    zero = _with([mean, helper.make_node("Sub", ["m", "m"], ["y"])], {}, tmp_path / "zero.onnx")
    assert "the embedding of row 0 has length 0.0" in refusal(zero, tmp_path / "w")
    wild = _with([mean, helper.make_node("Sqrt", ["m"], ["y"])], {}, tmp_path / "wild.onnx")  # of numbers below zero
    assert "its embeddings are not finite" in refusal(wild, tmp_path / "w")
    still = helper.make_node("Add", ["zero", "one"], ["y"])
    same = _with(
        [mean, helper.make_node("Sub", ["m", "m"], ["zero"]), still],
        {"one": np.ones(3, np.float32)},
        tmp_path / "same.onnx",
    )
    assert "a picture and its negative have the same embedding" in refusal(same, tmp_path / "w")


def test_a_network_in_training_mode_is_refused(tmp_path: Path) -> None:
    """Its answer for one face depends on the others of the batch."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["m"], ["of_all"], axes=[0]),
        helper.make_node("Sub", ["m", "of_all"], ["n"]),
        helper.make_node("Add", ["n", "b"], ["o"]),
        helper.make_node("Mul", ["o", "m"], ["y"]),
    ]
    file = _with(nodes, {"b": np.array([0.01, 0.02, 0.03], np.float32)}, tmp_path / "x.onnx")
    assert "a picture's embedding changes with what else is in the batch" in refusal(file, tmp_path / "w")


def test_a_batch_that_is_no_batch_is_refused(tmp_path: Path) -> None:
    """A view to (1, D) that an export left: two faces give one long row."""
    shape = {"s": np.array([1, -1], np.int64)}
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3]), helper.make_node("Reshape", ["m", "s"], ["y"])]
    file = save(tmp_path / "x.onnx", nodes, shape, {"x": IMAGE}, {"y": [1, 3]})
    assert "for 2 faces the output 'y' is [1, 6], expected [2, 3]." in refusal(file, tmp_path / "w")


def test_a_mean_or_deviation_out_of_range_is_refused(tmp_path: Path) -> None:
    file = arcface_onnx(tmp_path / "x.onnx")
    assert "std is (0, 1, 1)" in refusal(file, tmp_path / "w", told=Told(std=(0, 1, 1)))
    assert "mean is (-1, 0, 0)" in refusal(file, tmp_path / "w", told=Told(mean=(-1, 0, 0)))
    with pytest.raises(DataError, match="alignment 'oval' is not known"):
        import_recogniser(file, LIKE, tmp_path / "w", told=Told(alignment="oval"))


def test_a_file_that_is_not_the_records_is_not_loaded(tmp_path: Path) -> None:
    weights = tmp_path / "w"
    spec = import_recogniser(arcface_onnx(tmp_path / "x.onnx"), LIKE, weights, "mine")
    path = record_path("mine", weights)
    (weights / "mine.onnx").write_bytes(arcface_onnx(tmp_path / "y.onnx", seed=1).read_bytes())
    with (
        pytest.raises(StageError, match=r"mine.onnx: the file has sha256 \S+, expected \S+ as the record of"),
        open_session(OnnxRuntime(RuntimeOptions()), embedder("mine", weights), spec.final(weights)),
    ):
        pass
    (weights / "mine.onnx").unlink()
    with (
        pytest.raises(BackendError, match=r"mine.onnx: no such model file, .* Try: `facepipe import`"),
        open_session(OnnxRuntime(RuntimeOptions()), embedder("mine", weights), spec.final(weights)),
    ):
        pass
    assert path.is_file()
