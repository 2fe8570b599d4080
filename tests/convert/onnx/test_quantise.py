# SPDX-License-Identifier: Apache-2.0
"""A recogniser in eight bits: calibrated outside the test pairs, recorded, and run by both host back ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.datasets.images import read
from facepipe.embed import open_embedder
from facepipe.errors import BackendError, ConversionError
from facepipe.runs.calibration import outside, overlap
from facepipe.store.files import read_json, sha256_of_file
from facepipe.store.made_from import read_record, write_record

pytest.importorskip("nncf", reason="quantising is the extra [quantise]")

EMBEDDER = "mobilefacenet.ms1m"


@pytest.fixture(scope="module")
def quantised(seeded: Callable[..., Path], sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with the recogniser in eight bits, calibrated on the made sample."""
    weights_dir = seeded(EMBEDDER)
    folder = tmp_path_factory.mktemp("quantised")
    for name in ("pnet", "rnet", "onet", EMBEDDER):
        for path in (model(name).final(weights_dir), Path(f"{model(name).final(weights_dir)}.json")):
            shutil.copy(path, folder)
    words = ["quantise", EMBEDDER, "--weights", str(folder), "--faces", "24"]
    assert main([*words, "--photographs", str(sample / "images")]) == 0
    return folder


def crops(sample: Path) -> np.ndarray:
    paths = sorted((sample / "images").rglob("*_0002.*"))[:6]
    return np.stack([np.asarray(Image.fromarray(read(path)[40:210, 40:210]).resize((112, 112))) for path in paths])


@pytest.mark.weights
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_eight_bits_are_near_f32_and_are_not_f32(backend: str, quantised: Path, sample: Path) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="this back end is the extra [openvino]")
    rows = []
    for precision in ("f32", "int8"):
        opened = backend_by_name(backend, RuntimeOptions(precision=precision))
        with open_embedder(model(EMBEDDER), opened, quantised, 4) as embedder:
            rows.append(embedder.embed(crops(sample)))
    cosines = (rows[0] * rows[1]).sum(axis=1)
    assert cosines.min() > 0.95
    assert cosines.max() < 0.99999


@pytest.mark.weights
def test_the_sidecar_tells_the_source_and_the_calibration(quantised: Path) -> None:
    spec = model(EMBEDDER)
    told = read_json(quantised / f"{EMBEDDER}.int8.onnx.json")
    assert told["sha256"] == sha256_of_file(spec.quantised(quantised))
    assert told["inputs"]["onnx"] == sha256_of_file(spec.final(quantised))
    assert told["facts"]["calibration"]["crops"] == 24
    assert told["facts"]["calibration"]["overlap"] == 0
    assert 2 <= len(told["facts"]["calibration"]["photographs"]) <= 24


@pytest.mark.weights
def test_what_is_up_to_date_is_left_alone(quantised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = model(EMBEDDER).quantised(quantised).stat().st_mtime_ns
    assert main(["quantise", EMBEDDER, "--weights", str(quantised)]) == 0
    assert "up to date" in capsys.readouterr().out
    assert model(EMBEDDER).quantised(quantised).stat().st_mtime_ns == before


@pytest.mark.weights
@pytest.mark.parametrize("told_before", [{}, {"quantiser": "nncf", "preset": "performance"}])
def test_what_other_settings_made_is_made_again(
    told_before: dict[str, str], quantised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(quantised, folder)
    target = model(EMBEDDER).quantised(folder)
    record = read_record(target)
    assert record is not None
    older = replace(record.made_from, settings=told_before)
    write_record(target, EMBEDDER, older, record.facts, again=record.again)
    assert main(["quantise", EMBEDDER, "--weights", str(folder), "--faces", "16"]) == 0
    assert "up to date" not in capsys.readouterr().out
    made_again = read_record(target)
    assert made_again is not None and made_again.made_from.settings == record.made_from.settings


@pytest.mark.weights
def test_a_photograph_of_the_test_set_is_refused(quantised: Path) -> None:
    from facepipe.convert.onnx.quantise import Calibration, quantise_model
    from facepipe.convert.onnx.quantise_recogniser import RECOGNISER, recogniser_inputs

    before = sha256_of_file(model(EMBEDDER).quantised(quantised))
    one = recogniser_inputs(model(EMBEDDER), np.zeros((16, 112, 112, 3), np.uint8))
    with pytest.raises(ConversionError, match=r"2 calibration photographs are of LFW, expected none"):
        quantise_model(model(EMBEDDER), quantised, one, Calibration({"a.jpg": "00"}, 16, "LFW", 2), RECOGNISER)
    with pytest.raises(ConversionError, match="is no recogniser, expected one"):
        quantise_model(model("rnet"), quantised, one, Calibration({}, 16, None, 0), RECOGNISER)
    assert sha256_of_file(model(EMBEDDER).quantised(quantised)) == before


@pytest.mark.weights
def test_a_model_that_is_not_quantised_is_named_with_the_command(tmp_path: Path) -> None:
    backend = backend_by_name("onnxruntime", RuntimeOptions(precision="int8"))
    with (
        pytest.raises(BackendError, match=rf"`facepipe quantise {EMBEDDER}`"),
        open_embedder(model(EMBEDDER), backend, tmp_path, 4),
    ):
        pass


def test_a_copy_under_another_name_counts_as_overlap(tmp_path: Path) -> None:
    for name, colour in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        Image.new("RGB", (4, 4), (colour, 0, 0)).save(tmp_path / name)
    assert outside(tmp_path, ["a.png"]) == [tmp_path / "b.png", tmp_path / "c.png"]
    digests = [sha256_of_file(path) for path in outside(tmp_path, ["a.png"])]
    assert overlap(digests, [tmp_path / "a.png"]) == 1
    assert overlap(digests[1:], [tmp_path / "a.png"]) == 0
