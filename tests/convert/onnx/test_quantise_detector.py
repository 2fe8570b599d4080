# SPDX-License-Identifier: Apache-2.0
"""UltraFace in eight bits: size, answers, calibration, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime.quantization", exc_type=ImportError)
onnx = pytest.importorskip("onnx")
from onnx import numpy_helper  # noqa: E402

from facepipe.backends.base import RuntimeOptions, open_session  # noqa: E402
from facepipe.backends.ort import OnnxRuntime  # noqa: E402
from facepipe.catalogue import model  # noqa: E402
from facepipe.cli import main  # noqa: E402
from facepipe.convert.onnx.quantise import Calibration, quantise_model  # noqa: E402
from facepipe.convert.onnx.quantise_detector import DETECTOR, short_names  # noqa: E402
from facepipe.datasets.images import read  # noqa: E402
from facepipe.detect import open_detector  # noqa: E402
from facepipe.errors import ConversionError  # noqa: E402
from facepipe.geometry.boxes import iou_matrix  # noqa: E402
from facepipe.store.files import sidecar_of  # noqa: E402
from facepipe.store.made_from import read_record  # noqa: E402

pytestmark = pytest.mark.weights
SPEC = model("ultraface.slim-320")


@pytest.fixture(scope="module")
def quantised(sample: Path, seeded: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the converted slim-320 and its quantised file, made by the command from eight photographs."""
    photographs = [_larger(path, tmp_path_factory.mktemp("larger")) for path in sorted(sample.rglob("*_0001.jpg"))[:8]]
    return _quantised(seeded(SPEC.name), photographs, tmp_path_factory.mktemp("quantised"))


def _larger(path: Path, folder: Path) -> Path:
    """The photograph in four times its size, of which quarters are taken."""
    with Image.open(path) as opened:
        opened.resize((1000, 1000)).save(folder / path.name)
    return folder / path.name


def _quantised(weights: Path, photographs: list[Path], folder: Path) -> Path:
    for path in (SPEC.final(weights), sidecar_of(SPEC.final(weights))):
        shutil.copy(path, folder)
    chosen = folder / "photographs"
    chosen.mkdir()
    for path in photographs:
        shutil.copy(path, chosen)
    assert main(["quantise", SPEC.name, "--weights", str(folder), "--photographs", str(chosen)]) == 0
    return folder


def test_the_file_is_a_third_and_the_sidecar_tells_where_it_came_from(quantised: Path) -> None:
    whole, small = SPEC.final(quantised).stat().st_size, SPEC.quantised(quantised).stat().st_size
    assert small < 350_000
    assert small < 0.35 * whole
    told = json.loads(sidecar_of(SPEC.quantised(quantised)).read_text())
    facts = told["facts"]
    assert (facts["f32_bytes"], facts["int8_bytes"]) == (whole, small)
    assert told["inputs"]["weights"] == read_record(SPEC.final(quantised)).made_from.inputs["weights"]
    assert len(facts["calibration"]["photographs"]) == 8
    assert facts["calibration"]["crops"] > 8  # quarters too
    assert facts["figure"] == "mean_score_difference" and facts["value"] < 0.1
    assert told["settings"]["weight_bits"] == 7


def test_weights_have_seven_bits(quantised: Path) -> None:
    tensors = [numpy_helper.to_array(tensor) for tensor in onnx.load(SPEC.quantised(quantised)).graph.initializer]
    weights = [tensor for tensor in tensors if tensor.dtype == np.int8 and tensor.ndim == 4]
    assert len(weights) == 42
    assert max(int(np.abs(tensor.astype(int)).max()) for tensor in weights) <= 64


def test_every_convolution_is_in_eight_bits(quantised: Path) -> None:
    graph = onnx.load(SPEC.quantised(quantised)).graph
    made_by = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 42
    for node in convolutions:
        assert [made_by[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2


def test_the_faces_are_those_of_f32(assets: Path, weights_dir: Path, tmp_path: Path) -> None:
    quantised = _quantised(weights_dir, sorted((assets / "photos").glob("*.jpg"))[:8], tmp_path)
    image = read(assets / "photos" / "multiface.jpg")
    found = {}
    for precision in ("f32", "int8-all"):
        backend = OnnxRuntime(RuntimeOptions(precision=precision))
        with open_detector(SPEC.name, backend, quantised, 1) as detector:
            (found[precision],) = detector.detect([image])
    assert len(found["f32"]) == len(found["int8-all"]) == 6
    assert (iou_matrix(found["f32"].boxes, found["int8-all"].boxes).max(axis=1) > 0.8).all()


def test_any_batch_and_size_still_run(quantised: Path) -> None:
    with open_session(OnnxRuntime(), SPEC, SPEC.quantised(quantised)) as session:
        for shape in ((1, 3, 240, 320), (3, 3, 97, 131)):
            assert len(session.run(np.zeros(shape, np.float32))[0]) == shape[0]


def test_the_commands_calibration_is_held_against_wider_face(
    sample: Path,
    quantised: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photographs, mirrored = tmp_path / "photographs", tmp_path / "mirror" / "widerface" / "val416"
    for folder, name in ((photographs, "renamed.jpg"), (mirrored, "0--Parade_1.jpg")):
        folder.mkdir(parents=True)
        shutil.copy(next(sample.rglob("*.jpg")), folder / name)
    monkeypatch.setenv("FACEPIPE_ASSETS", str(tmp_path / "mirror"))
    assert main(["quantise", SPEC.name, "--weights", str(quantised), "--photographs", str(photographs)]) == 1
    assert "renamed.jpg: is a photograph of WIDER FACE, by its content" in capsys.readouterr().err


def test_a_network_that_is_not_converted_is_named(tmp_path: Path) -> None:
    nothing = Calibration(photographs={}, crops=0, named=False, tests=())
    with pytest.raises(ConversionError, match=r"ultraface\.slim-320\.simplified\.onnx: no such model file"):
        quantise_model(SPEC, tmp_path, [], nothing, DETECTOR)


def test_short_names_change_no_answer(seeded: Callable[..., Path], tmp_path: Path) -> None:
    final = SPEC.final(seeded(SPEC.name))
    model_before = onnx.load(final)
    renamed = tmp_path / "renamed.onnx"
    onnx.save(short_names(model_before), renamed)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 96)).astype(np.float32)
    answers = []
    for path in (final, renamed):
        with open_session(OnnxRuntime(), SPEC, path) as session:
            answers.append(session.run(image))
    for a, b in zip(*answers, strict=True):
        assert np.array_equal(a, b)
