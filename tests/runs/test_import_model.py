# SPDX-License-Identifier: Apache-2.0
"""A file becomes a model with a name, or is refused in one line that says what it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the files of these tests are made with onnx")

from literal_heads import scrfd_by_hand, yunet_by_hand
from onnx import TensorProto, helper
from own_onnx import arcface_onnx, save, scrfd_onnx, yunet_onnx

from facepipe.assets.workspace import Workspace, trained_embedder
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.catalogue import detector_models, embedder, landmark_count, model
from facepipe.catalogue.imported import record_path
from facepipe.detect import everyday_settings, open_detector, open_single_shot
from facepipe.detect.single_shot import single_shot_settings
from facepipe.embed import open_embedder
from facepipe.errors import BackendError, DataError, FacepipeError, StageError
from facepipe.geometry.fit import Inside, stretch
from facepipe.runs.import_model import NO_LICENCE, NOTHING_TOLD, Told, import_detector, import_recogniser
from facepipe.runs.wider import wider_settings
from facepipe.runs.wider_protocol import wider_protocol
from facepipe.specs import FivePoint, MarginCrop
from facepipe.store.files import sha256_of_file
from facepipe.store.made_from import MadeFrom, write_record

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


def test_what_was_made_from_another_file_is_not_loaded(tmp_path: Path) -> None:
    """Eight bits of the model before: its record says of which file they are."""
    weights = tmp_path / "w"
    first = import_recogniser(arcface_onnx(tmp_path / "x.onnx"), LIKE, weights, "mine")
    quantised = first.quantised(weights)
    quantised.write_bytes((weights / "mine.onnx").read_bytes())
    write_record(quantised, "mine", MadeFrom({"onnx": sha256_of_file(quantised)}), {}, again="facepipe quantise mine")
    run = OnnxRuntime(RuntimeOptions(precision="int8"))
    with open_embedder(first, run, weights, 1) as recogniser:
        assert recogniser.file is not None
        assert first.imported is not None
        assert recogniser.file.weights_sha256 == first.imported.meaning
    second = import_recogniser(arcface_onnx(tmp_path / "y.onnx", seed=1), LIKE, weights, "mine", overwrite=True)
    told = r"mine.int8.onnx: the model that it was made from has sha256 \S+, expected \S+ as the record of mine.onnx"
    with pytest.raises(StageError, match=told), open_embedder(second, run, weights, 1):
        pass


def test_a_worker_that_reads_another_record_than_the_run_began_with_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "w"
    spec = import_recogniser(arcface_onnx(tmp_path / "x.onnx"), LIKE, weights, "mine")
    run = OnnxRuntime()
    with open_embedder(spec, run, weights, 1) as recogniser:
        assert recogniser.file is not None
        stated = {"mine": recogniser.file}
    path = record_path("mine", weights)
    path.write_text(path.read_text().replace('licence = "', 'licence = "mine; '))
    with open_embedder(embedder("mine", weights), run, weights, 1, stated=stated):
        pass
    path.write_text(path.read_text().replace('"RGB"', '"BGR"'))
    with (
        pytest.raises(StageError, match=r"mine.onnx: its record is another than this run began with"),
        open_embedder(embedder("mine", weights), run, weights, 1, stated=stated),
    ):
        pass


def test_a_record_that_cannot_be_read_is_in_nobodys_way(tmp_path: Path) -> None:
    ws = Workspace(tmp_path / "w", tmp_path / "data", None)
    import_recogniser(arcface_onnx(tmp_path / "x.onnx"), LIKE, ws.weights, "mine")
    assert trained_embedder(ws).name == "mine"
    path = record_path("mine", ws.weights)
    path.write_text(path.read_text().replace("batch", "bach"))
    with pytest.raises(DataError, match="'bach' is no field of it"):
        trained_embedder(ws)
    (ws.weights / "facenet.casia.simplified.onnx").write_bytes(b"")
    assert trained_embedder(ws).name == "facenet.casia"


DETECTORS = {"scrfd": scrfd_onnx, "yunet": yunet_onnx}


def photograph(height: int, width: int) -> np.ndarray:
    """A blue picture with a red square, which the detectors of these tests like."""
    image = np.full((height, width, 3), (60, 90, 160), np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = (220, 90, 40)
    return image


@pytest.mark.parametrize("form", ["scrfd", "yunet"])
@pytest.mark.parametrize("size", [320, 640])
def test_a_detector_of_one_size_finds_what_its_form_says(form: str, size: int, tmp_path: Path) -> None:
    weights = tmp_path / "w"
    spec = import_detector(DETECTORS[form](tmp_path / "own.onnx", size=size), form, weights, "mine")
    assert spec == detector_models("mine", weights)[0]
    assert landmark_count("mine", weights) == 5
    images = [photograph(120, 160), photograph(480, 360), photograph(size, size)]
    with open_detector("mine", OnnxRuntime(), weights, 2) as detector:
        found = detector.detect(images)
        alone = [detector.detect([image])[0] for image in images]
    for image, one, other in zip(images, found, alone, strict=True):
        assert len(one)
        assert np.array_equal(one.boxes, other.boxes)
        height, width = image.shape[:2]
        centre = one.boxes[:, :2] / 2 + one.boxes[:, 2:] / 2
        in_square = np.abs(centre - [0.375 * width, 0.375 * height]).max(axis=1) < 0.2 * max(height, width)
        assert in_square.all(), "where the red is, in pixels of the photograph"
        assert one.landmarks.shape[1:] == (5, 2)
    fit, shot = 640 / 480, spec.single_shot
    assert shot is not None
    if size == 640:  # the best of a photograph, by hand
        canvas = np.zeros((640, 640, 3), np.uint8)
        scaled = stretch(images[1], 640, 480, "smooth")
        canvas[:, :480] = scaled
        rgb = canvas if form == "scrfd" else canvas[..., ::-1]
        mean, scale = (127.5, 1 / 128) if form == "scrfd" else (0.0, 1.0)
        outputs = _by_hand(weights / "mine.onnx", ((rgb.transpose(2, 0, 1)[None] - mean) * scale).astype(np.float32))
        rows = [output[0] if output.ndim == 3 else output for output in outputs]
        by_hand = (scrfd_by_hand if form == "scrfd" else yunet_by_hand)(rows, 640, 640)
        score = max(face[0] for face in by_hand)
        assert found[1].scores[0] == pytest.approx(score, abs=1e-5)
        best = [(box, points) for one, box, points in by_hand if one > score - 1e-6]  # the square is of one colour
        cut = [(np.clip(np.array(box) / fit, 0, [360, 480, 360, 480]), np.array(points) / fit) for box, points in best]
        row, marks = found[1].boxes[0], found[1].landmarks[0]
        assert any(np.allclose(row, box, atol=0.01) and np.allclose(marks, points, atol=0.01) for box, points in cut)


@pytest.mark.parametrize("options", [{}, {"batched": True}, {"batched": True, "batch": "N"}, {"landmarks": False}])
def test_scrfd_of_any_size_with_and_without_rows(options: dict[str, object], tmp_path: Path) -> None:
    weights = tmp_path / "w"
    spec = import_detector(scrfd_onnx(tmp_path / "own.onnx", **options), "scrfd", weights)  # type: ignore[arg-type]
    assert spec == model("own", weights)
    shot = spec.single_shot
    assert shot is not None
    assert shot.batched is bool(options.get("batched"))
    assert shot.keypoints == (5 if options.get("landmarks", True) else 0)
    assert spec.input.dims[0].is_fixed is (options.get("batch") != "N")
    images = [photograph(200, 300), photograph(300, 200), photograph(200, 300)]
    reference = import_detector(scrfd_onnx(tmp_path / "plain.onnx"), "scrfd", weights)
    with (
        open_detector("own", OnnxRuntime(), weights, 2) as own,
        open_detector(reference.name, OnnxRuntime(), weights, 1) as plain,
    ):
        for one, other in zip(own.detect(images), plain.detect(images), strict=True):
            assert np.allclose(one.scores, other.scores, atol=1e-6)
            assert np.allclose(one.boxes, other.boxes, atol=1e-3)


def test_another_working_size_is_another_canvas(tmp_path: Path) -> None:
    weights = tmp_path / "w"
    import_detector(scrfd_onnx(tmp_path / "own.onnx"), "scrfd", weights)
    settings = everyday_settings("own", 700, weights=weights)
    assert (settings.fit, settings.canvas) == (Inside(700, 700, grow=True), (704, 704))  # type: ignore[union-attr]
    with open_detector("own", OnnxRuntime(), weights, 1, settings) as detector:
        assert len(detector.detect([photograph(200, 300)])[0])
    import_detector(yunet_onnx(tmp_path / "one.onnx"), "yunet", weights)
    with pytest.raises(DataError, match="a working size of 700 pixels, expected 0, or 640 to 640"):
        everyday_settings("one", 700, weights=weights)


def test_wider_face_tells_the_sizes_itself(tmp_path: Path) -> None:
    import_detector(scrfd_onnx(tmp_path / "own.onnx"), "scrfd", tmp_path / "w")
    settings = wider_settings("own", weights=tmp_path / "w")
    assert settings is not None
    assert settings.canvas is None
    protocol = wider_protocol("own", "multi-scale", "default", "default", tmp_path / "w")
    assert protocol.flips
    with pytest.raises(DataError, match="detector 'own' is not known"):
        wider_protocol("own", "single", "default", "default")


def test_the_rest_of_the_canvas_is_black(tmp_path: Path) -> None:
    weights = tmp_path / "w"
    spec = import_detector(scrfd_onnx(tmp_path / "own.onnx"), "scrfd", weights)
    with open_single_shot("own", OnnxRuntime(), weights, single_shot_settings(spec)) as detector:
        shown = detector.inputs_of(np.full((10, 20, 3), 255, np.uint8))
    assert shown.shape == (1, 3, 640, 640)
    assert np.allclose(shown[0, :, :320], 127.5 / 128)
    assert np.allclose(shown[0, :, 320:], -127.5 / 128)


def detector_refusal(file: Path, form: str, weights: Path, told: Told = NOTHING_TOLD) -> str:
    with pytest.raises(FacepipeError) as refused:
        import_detector(file, form, weights, "mine", told)
    assert not list(weights.glob("mine*"))
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_outputs_in_another_order_are_named(tmp_path: Path) -> None:
    turned = scrfd_onnx(tmp_path / "s.onnx", order=("bbox", "score", "kps"))
    said = detector_refusal(turned, "scrfd", tmp_path / "w")
    assert "for 640x640 its outputs are 400 [12800, 4], 401 [3200, 4], 402 [800, 4], 403 [12800, 1]" in said
    assert "expected scrfd's [1, 12800, 1], [1, 3200, 1], [1, 800, 1], [1, 12800, 4]" in said
    swapped = yunet_onnx(tmp_path / "y.onnx", order=("obj", "cls", "bbox", "kps"))  # of one shape: the names tell
    said = detector_refusal(swapped, "yunet", tmp_path / "w")
    assert "outputs are obj_8, obj_16, obj_32, cls_8" in said
    assert "expected them called and ordered cls_8, cls_16, cls_32, obj_8" in said


def test_a_detector_of_another_form_is_named(tmp_path: Path) -> None:
    scrfd, yunet = scrfd_onnx(tmp_path / "s.onnx"), yunet_onnx(tmp_path / "y.onnx")
    assert "outputs are 12, expected 9: score_8" in detector_refusal(yunet, "scrfd", tmp_path / "w")
    assert "outputs are 9, expected 12: cls_8" in detector_refusal(scrfd, "yunet", tmp_path / "w")
    assert "outputs are 1, expected 9" in detector_refusal(arcface_onnx(tmp_path / "a.onnx"), "scrfd", tmp_path / "w")
    assert "detector form 'yolo' is not known, expected one of scrfd, yunet" in detector_refusal(
        scrfd, "yolo", tmp_path / "w"
    )
    assert "has 9 outputs" in refusal(scrfd, tmp_path / "w")


def test_scores_without_their_sigmoid_are_named(tmp_path: Path) -> None:
    raw = scrfd_onnx(tmp_path / "s.onnx", sigmoid=False)
    assert "expected 0 to 1. Try: export it with its sigmoid." in detector_refusal(raw, "scrfd", tmp_path / "w")


def test_what_a_detector_cannot_be_told_is_refused(tmp_path: Path) -> None:
    file = scrfd_onnx(tmp_path / "s.onnx")
    assert "an alignment was given" in detector_refusal(file, "scrfd", tmp_path / "w", Told(alignment="five-point"))
    assert "a detector's threshold is 1.5" in detector_refusal(file, "scrfd", tmp_path / "w", Told(threshold=1.5))
    odd = scrfd_onnx(tmp_path / "o.onnx", size=100)
    assert "its input is 100x100, expected sides that are multiples of 32." in detector_refusal(
        odd, "scrfd", tmp_path / "w"
    )


@pytest.mark.parametrize("form", ["scrfd", "yunet"])
@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ("network", 'network = "yolo"', "'network' is 'yolo', expected one of scrfd, yunet"),
        ("outputs", 'outputs = ["a"]', "outputs are 1, expected"),
        ("least_score", "", "'least_score' is not there"),
        ("any_size", "any_size = 1", "'any_size' is 1, expected true or false"),
    ],
)
def test_a_detectors_record_that_is_not_right_is_refused(
    form: str, line: str, instead: str, told: str, tmp_path: Path
) -> None:
    import_detector(DETECTORS[form](tmp_path / "own.onnx"), form, tmp_path)
    path = record_path("own", tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(instead if one.startswith(f"{line} =") else one for one in lines))
    with pytest.raises(DataError, match=told):
        detector_models("own", tmp_path)
