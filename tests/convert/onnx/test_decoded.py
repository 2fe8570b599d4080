# SPDX-License-Identifier: Apache-2.0
"""Detectors with their decoding in the graph: their form, their numbers, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import numpy_helper  # noqa: E402

from facepipe.backends.base import RuntimeOptions, open_session  # noqa: E402
from facepipe.backends.ort import OnnxRuntime, load_raw  # noqa: E402
from facepipe.catalogue import MODELS, model  # noqa: E402
from facepipe.cli import main  # noqa: E402
from facepipe.convert.onnx import decoded  # noqa: E402
from facepipe.convert.onnx.decoded import Decoded, farthest, write_decoded  # noqa: E402
from facepipe.datasets.images import read  # noqa: E402
from facepipe.detect.single_shot import SingleShotDetector, single_shot_settings, suppress  # noqa: E402
from facepipe.errors import ConversionError, StageError  # noqa: E402
from facepipe.results import Detections  # noqa: E402
from facepipe.specs import ModelSpec  # noqa: E402

# All but retinaface.resnet50, which is retinaface.mobilenet0.25 with another backbone of 100 MB.
DETECTORS = [name for name, spec in MODELS.items() if spec.single_shot is not None and "resnet50" not in name]
SLIM = model("ultraface.slim-320")

FORMS = {
    "ultraface.slim-320": {"input": (1, 3, 240, 320), "scores": (1, 4420, 2), "boxes": (1, 4420, 4)},
    "ultraface.slim-640": {"input": (1, 3, 480, 640), "scores": (1, 17640, 2), "boxes": (1, 17640, 4)},
    "ultraface.rfb-320": {"input": (1, 3, 240, 320), "scores": (1, 4420, 2), "boxes": (1, 4420, 4)},
    "ultraface.rfb-640": {"input": (1, 3, 480, 640), "scores": (1, 17640, 2), "boxes": (1, 17640, 4)},
    "retinaface.mobilenet0.25": {
        "input": (1, 3, 640, 640),
        "scores": (1, 16800, 2),
        "boxes": (1, 16800, 4),
        "landmarks": (1, 16800, 10),
    },
    **{
        name: {
            "input": (1, 3, side, side),
            "scores": (1, 896, 1),
            "boxes": (1, 896, 4),
            "landmarks": (1, 896, 12),
        }
        for name, side in (("blazeface.front", 128), ("blazeface.back", 256))
    },
}


def _picture(spec: ModelSpec) -> np.ndarray:
    """A photograph of the size that the network takes, so that nothing is scaled: uint8 [H, W, 3]."""
    assert spec.single_shot is not None
    height, width = spec.single_shot.size
    coarse = np.random.default_rng(7).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)


def _never(images: np.ndarray) -> tuple[np.ndarray, ...]:
    """A network that is not run."""
    raise AssertionError("nothing is run")


@pytest.mark.parametrize("name", DETECTORS)
def test_a_decoded_detector_has_the_published_form_and_the_projects_numbers(
    name: str, seeded: Callable[..., Path], tmp_path: Path
) -> None:
    target = tmp_path / "face.onnx"
    made = write_decoded(model(name), seeded(name), target)
    assert made.shapes == FORMS[name]
    assert list(made.shapes) == list(FORMS[name])
    assert made.difference < 1e-5
    whole = onnx.load(target)
    onnx.checker.check_model(whole, full_check=True)
    assert whole.ir_version <= 8 and whole.opset_import[0].version == 13
    assert not {node.op_type for node in whole.graph.node} & {"Shape", "Gather", "Expand"}
    session = load_raw(target, RuntimeOptions())
    assert {tensor.name: tensor.shape for tensor in (*session.inputs, *session.outputs)} == FORMS[name]


@pytest.mark.parametrize("name", ["ultraface.slim-320", "retinaface.mobilenet0.25", "blazeface.front"])
def test_suppression_of_what_is_decoded_gives_the_detectors_faces(
    name: str, seeded: Callable[..., Path], tmp_path: Path
) -> None:
    spec, picture = model(name), _picture(model(name))
    weights, settings = seeded(name), single_shot_settings(model(name))
    write_decoded(spec, weights, tmp_path / "face.onnx")
    with open_session(OnnxRuntime(), spec, spec.final(weights)) as session:
        detector = SingleShotDetector(spec, lambda images: session.run(images), settings)
        inputs = detector.inputs_of(picture)
        scores, boxes, *landmarks = load_raw(tmp_path / "face.onnx", RuntimeOptions()).run((inputs,))
        # Seeded weights see faces in their own way: a threshold that some priors pass and some do not.
        face = scores[0, :, -1]
        different = np.unique(face)
        threshold = float(different[-min(100, len(different) // 2)])
        (expected,) = replace(detector, settings=replace(settings, threshold=threshold)).detect([picture])
    height, width = picture.shape[:2]
    sides = np.array([width, height], np.float32)
    rows = face > np.float32(threshold)
    points = landmarks[0][0][rows] if landmarks else np.zeros((rows.sum(), 0))
    found = suppress(
        Detections(
            boxes[0][rows] * np.tile(sides, 2),
            face[rows],
            points.reshape(rows.sum(), detector.landmark_count, 2) * sides,
        ),
        settings.suppression,
        threshold,
    )
    clipped = np.clip(found.boxes, 0, np.tile(sides, 2))
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    assert len(expected) > 1
    np.testing.assert_allclose(clipped[inside], expected.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores[inside], expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.landmarks[inside], expected.landmarks, atol=0.01)


def test_ultraface_is_what_its_authors_publish(assets: Path, weights_dir: Path, tmp_path: Path) -> None:
    published = {
        "ultraface.slim-320": "version-slim-320",
        "ultraface.rfb-320": "version-RFB-320",
        "ultraface.rfb-640": "version-RFB-640",
    }
    photograph = read(assets / "photos" / "multiface.jpg")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the published files list their weights as inputs too, which it warns of
    for name, file in published.items():
        spec, ours = model(name), tmp_path / f"{name}.onnx"
        write_decoded(spec, weights_dir, ours)
        theirs = onnxruntime.InferenceSession(
            assets / "weights" / "ultraface" / f"{file}.onnx", options, providers=["CPUExecutionProvider"]
        )
        mine = onnxruntime.InferenceSession(ours, providers=["CPUExecutionProvider"])
        tensors = [[(t.name, t.shape, t.type) for t in (*s.get_inputs(), *s.get_outputs())] for s in (theirs, mine)]
        assert tensors[0] == tensors[1]
        detector = SingleShotDetector(spec, _never, single_shot_settings(spec))
        noise = np.random.default_rng(3).uniform(-1, 1, mine.get_inputs()[0].shape).astype(np.float32)
        for image in (detector.inputs_of(photograph), noise):
            answers = [session.run(["scores", "boxes"], {"input": image}) for session in (theirs, mine)]
            assert answers[0][0][..., 1].max() > 0.9 or image is noise
            for a, b in zip(*answers, strict=True):
                assert float(np.abs(a - b).max()) < 1e-4, name


@pytest.mark.parametrize("name", ["ultraface.slim-320", "retinaface.mobilenet0.25", "blazeface.front"])
def test_openvino_takes_a_decoded_detector(name: str, seeded: Callable[..., Path], tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    target = tmp_path / "face.onnx"
    made = write_decoded(model(name), seeded(name), target)
    image = np.random.default_rng(5).uniform(-1, 1, made.shapes["input"]).astype(np.float32)
    compiled = openvino.Core().compile_model(target, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = compiled({"input": image})
    for tensor, expected in zip(list(made.shapes)[1:], load_raw(target, RuntimeOptions()).run((image,)), strict=True):
        assert float(np.abs(answers[tensor] - expected).max()) < 1e-3


def test_another_size_has_its_own_priors(seeded: Callable[..., Path], tmp_path: Path) -> None:
    made = write_decoded(SLIM, seeded(SLIM.name), tmp_path / "face.onnx", (96, 128))
    assert made.shapes == {"input": (1, 3, 96, 128), "scores": (1, 708, 2), "boxes": (1, 708, 4)}


def test_the_file_says_how_its_input_is_made(seeded: Callable[..., Path], tmp_path: Path) -> None:
    write_decoded(SLIM, seeded(SLIM.name), tmp_path / "face.onnx")
    told = onnx.load(tmp_path / "face.onnx").doc_string
    assert "RGB planes of 240 x 320 pixels, (byte - mean) * scale; mean 127, 127, 127; scale 0.0078125," in told
    assert "MIT; trained on WIDER FACE, research use" in told


# What is refused


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("retinaface.mobilenet0.25", (481, 640), "an input of height 481, expected 32~8192 in steps of 32 pixels"),
        ("blazeface.front", (128, 64), r"an input of width 64, expected 128 pixels\. Try: --size 128x128"),
        ("pnet", None, "is no detector of one network"),
        ("facenet.seeded", None, "is no detector of one network"),
    ],
)
def test_what_cannot_be_is_told(name: str, size: tuple[int, int] | None, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=expected):
        write_decoded(model(name), tmp_path, tmp_path / "face.onnx", size)
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_is_not_converted_is_told_with_the_step(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no such model file.*Try: `facepipe onnx ultraface\.slim-320`"):
        write_decoded(SLIM, tmp_path, tmp_path / "face.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_detector_with_other_heads_is_refused(tmp_path: Path) -> None:
    assert SLIM.single_shot is not None
    other = replace(SLIM, single_shot=replace(SLIM.single_shot, heads="scrfd"))
    with pytest.raises(ConversionError, match="has the outputs of scrfd, stride by stride"):
        write_decoded(other, tmp_path, tmp_path / "face.onnx")


def test_priors_that_are_not_the_networks_are_refused(seeded: Callable[..., Path], tmp_path: Path) -> None:
    assert SLIM.single_shot is not None
    layout = replace(SLIM.single_shot.priors, sides=((10, 16), (32, 48), (64, 96), (128, 192, 256)))
    wrong = replace(SLIM, single_shot=replace(SLIM.single_shot, priors=layout))
    with pytest.raises(ConversionError, match="3220 priors at 240 x 320 pixels do not fit the network"):
        write_decoded(wrong, seeded(SLIM.name), tmp_path / "face.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tensor", "expected"), [("boxes/centre", "'boxes' of the decoded graph"), ("boxes/half_side", "'boxes'")]
)
def test_a_graph_that_decodes_otherwise_is_refused(
    tensor: str, expected: str, seeded: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = decoded.with_decoding

    def wrong(*arguments: object) -> object:
        whole = right(*arguments)  # type: ignore[arg-type]
        for initializer in whole.graph.initializer:
            if initializer.name == tensor:
                moved = numpy_helper.to_array(initializer) + np.float32(1e-3)
                initializer.CopyFrom(numpy_helper.from_array(moved, tensor))
        return whole

    monkeypatch.setattr(decoded, "with_decoding", wrong)
    with pytest.raises(ConversionError, match=expected):
        write_decoded(SLIM, seeded(SLIM.name), tmp_path / "face.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_huge_box_excuses_no_other_and_what_is_no_number_is_far() -> None:
    infinite, nothing = float("inf"), float("nan")
    assert farthest(np.array([1e30, 0.5, infinite]), np.array([1e30, 0.5, infinite])) == 0
    assert farthest(np.array([1e30, 0.5]), np.array([1e30, 0.501])) == pytest.approx(1e-3)
    assert farthest(np.array([1e6, 0.5]), np.array([1e6 + 1, 0.5])) == pytest.approx(1e-6)
    for other in (nothing, infinite):
        assert not farthest(np.array([0.5, 1.0]), np.array([0.5, other])) <= 1
        assert not farthest(np.array([0.5, other]), np.array([0.5, 1.0])) <= 1


def test_a_file_that_is_there_stays(seeded: Callable[..., Path], tmp_path: Path) -> None:
    target = tmp_path / "face.onnx"
    target.write_text("mine")
    with pytest.raises(StageError, match="it stays"):
        write_decoded(SLIM, seeded(SLIM.name), target)
    assert target.read_text() == "mine"
    assert isinstance(write_decoded(SLIM, seeded(SLIM.name), target, overwrite=True), Decoded)


# The command


def test_the_command_tells_json_too(
    seeded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", SLIM.name, "--weights", str(seeded(SLIM.name)), "--output", str(tmp_path / "face.onnx")]
    assert main([*command, "--decoded", "--size", "96x128", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shapes"] == {"input": [1, 3, 96, 128], "scores": [1, 708, 2], "boxes": [1, 708, 4]}
    assert 0 <= told["difference"] < 1e-5 and told["model"] == SLIM.name


def test_the_command_tells_the_form_and_the_difference(
    seeded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", SLIM.name, "--weights", str(seeded(SLIM.name)), "--output", str(tmp_path / "face.onnx")]
    assert main([*command, "--decoded", "--size", "96x128"]) == 0
    told = capsys.readouterr().out
    assert "input [1, 3, 96, 128], scores [1, 708, 2], boxes [1, 708, 4]; at most " in told
    assert "from facepipe's own decoding" in told


@pytest.mark.process
def test_a_machine_without_torch_exports(seeded: Callable[..., Path], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['onnxsim'] = None\n"
        "from facepipe.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["export", SLIM.name, "--decoded", "--weights", seeded(SLIM.name), "--output", tmp_path / "face.onnx"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "face.onnx").is_file()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--size", "240x320"], "--size: an export without --decoded"),
        (["--decoded", "--checkpoint", "mine.pth"], "--checkpoint: --decoded takes the converted model"),
        (["--decoded", "--size", "240"], "size '240': expected HEIGHTxWIDTH"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", SLIM.name, "--output", str(tmp_path / "face.onnx"), *options]) == 1
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
