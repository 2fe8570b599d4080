# SPDX-License-Identifier: Apache-2.0
"""A recogniser in eight bits: calibrated outside the test pairs, recorded, and run by both host back ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
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
from facepipe.runs.calibration import held_out, outside
from facepipe.store.files import read_json, sha256_of_file
from facepipe.store.made_from import read_record, write_record

pytest.importorskip("nncf", reason="quantising is the extra [quantise]")

EMBEDDER = "mobilefacenet.ms1m"


@pytest.fixture(scope="module")
def quantised(seeded: Callable[..., Path], sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with the recogniser in eight bits, calibrated on the made sample: the fixed set here."""
    weights_dir = seeded(EMBEDDER)
    folder = tmp_path_factory.mktemp("quantised")
    for name in ("pnet", "rnet", "onet", EMBEDDER):
        for path in (model(name).final(weights_dir), Path(f"{model(name).final(weights_dir)}.json")):
            shutil.copy(path, folder)
    words = ["quantise", EMBEDDER, "--weights", str(folder), "--faces", "24"]
    assert main(words) == 0
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
    assert told["facts"]["calibration"]["named"] is False
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
def test_what_is_no_recogniser_is_refused(quantised: Path) -> None:
    from facepipe.convert.onnx.quantise import Calibration, quantise_model
    from facepipe.convert.onnx.quantise_recogniser import RECOGNISER, recogniser_inputs

    before = sha256_of_file(model(EMBEDDER).quantised(quantised))
    one = recogniser_inputs(model(EMBEDDER), np.zeros((16, 112, 112, 3), np.uint8))
    with pytest.raises(ConversionError, match="is no recogniser, expected one"):
        quantise_model(model("rnet"), quantised, one, Calibration({}, 16, named=False, tests=()), RECOGNISER)
    assert sha256_of_file(model(EMBEDDER).quantised(quantised)) == before


@pytest.mark.weights
def test_a_model_that_is_not_quantised_is_named_with_the_command(tmp_path: Path) -> None:
    backend = backend_by_name("onnxruntime", RuntimeOptions(precision="int8"))
    with (
        pytest.raises(BackendError, match=rf"`facepipe quantise {EMBEDDER}`"),
        open_embedder(model(EMBEDDER), backend, tmp_path, 4),
    ):
        pass


def test_photographs_outside_are_those_that_no_pair_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert outside(tmp_path, ["a.png"]) == [tmp_path / "b.png", tmp_path / "c.png"]


def test_a_photograph_of_a_test_is_known_by_its_content_and_by_its_name(tmp_path: Path) -> None:
    judges = held_out("a test", tmp_path / "set", ["ann/1.png", "loose.png", "gone/1.png"])
    assert judges.digests == frozenset()
    for name, colour in (("set/ann/1.png", 1), ("mine/copy.png", 1), ("mine/ann/1.png", 2), ("mine/loose.png", 3)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (colour, 0, 0)).save(tmp_path / name)
    judges = held_out("a test", tmp_path / "set", ["ann/1.png", "loose.png", "gone/1.png"])

    def refused(name: str) -> str | None:
        path = tmp_path / name
        try:
            judges.refuse(path, sha256_of_file(path) if path.is_file() else "")
        except ConversionError as error:
            return str(error)
        return None

    assert "mine/copy.png: is a photograph of a test, by its content" in str(refused("mine/copy.png"))
    assert "mine/ann/1.png: is a photograph of a test, by its name" in str(refused("mine/ann/1.png"))
    assert refused("mine/gone/1.png") is not None, "the set's own is not here, and its name tells"
    assert refused("mine/loose.png") is None, "a name without a folder tells nothing"
    assert refused("mine/bob/1.png") is None


@pytest.fixture
def lfw_here(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with LFW's photographs of four people in it, and pairs that name all but one photograph of each."""
    keys = sorted(path.relative_to(sample / "images").as_posix() for path in (sample / "images").rglob("*.jpg"))
    people = sorted({key.partition("/")[0] for key in keys})[:4]
    root = tmp_path / "mirror" / "lfw"
    for key in keys:
        if key.partition("/")[0] in people:
            (root / "images" / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample / "images" / key, root / "images" / key)
    lines = ["2\t1"]
    for one, other in zip(people[::2], people[1::2], strict=True):
        lines += [f"{one}\t1\t2", f"{one}\t3\t{other}\t1"]
    (root / "pairs.txt").write_text("\n".join(lines))
    monkeypatch.setenv("FACEPIPE_ASSETS", str(tmp_path / "mirror"))
    return root


def command(quantised: Path, folder: Path, *more: str) -> list[str]:
    return ["quantise", EMBEDDER, "--weights", str(quantised), "--photographs", str(folder), "--faces", "24", *more]


@pytest.mark.weights
def test_own_photographs_that_a_test_names_are_refused_before_anything_is_written(
    quantised: Path, sample: Path, lfw_here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sha256_of_file(model(EMBEDDER).quantised(quantised))
    named = next((lfw_here / "images").rglob("*_0001.jpg"))
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(named, mine / "holiday.jpg")
    assert main(command(quantised, mine)) == 1
    assert "holiday.jpg: is a photograph of LFW's pairs.txt, by its content" in capsys.readouterr().err
    # Another encoding of it, in a folder of its person.
    (mine / "holiday.jpg").unlink()
    again = mine / named.parent.name / named.name
    again.parent.mkdir()
    Image.open(named).save(again, quality=50)
    assert main(command(quantised, mine)) == 1
    assert f"{named.name}: is a photograph of LFW's pairs.txt, by its name" in capsys.readouterr().err
    # A table of one's own.
    album = tmp_path / "album"
    shutil.copytree(sample / "images", album)
    keys = sorted(path.relative_to(album).as_posix() for path in album.rglob("*_0001.jpg"))[4:]
    lines = [f"{key},{key.replace('_0001', '_0002')},1,{fold % 2}" for fold, key in enumerate(keys)]
    lines += [f"{a},{b},0,{fold % 2}" for fold, (a, b) in enumerate(pairwise(keys))]
    (album / "album.csv").write_text("\n".join(lines))
    outside_lfw = tmp_path / "outside"
    shutil.copytree(album / Path(keys[0]).parent, outside_lfw / "person")
    assert main(command(quantised, outside_lfw, "--tests", str(album / "album.csv"))) == 1
    assert f"is a photograph of {album / 'album.csv'}, by its content" in capsys.readouterr().err
    assert sha256_of_file(model(EMBEDDER).quantised(quantised)) == before


@pytest.mark.weights
def test_too_few_photographs_are_refused_however_many_faces_they_show(
    quantised: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = [np.asarray(Image.open(path)) for path in sorted((sample / "images").rglob("*_0001.jpg"))[:9]]
    height = max(face.shape[0] for face in faces)
    padded = [np.pad(face, ((0, height - face.shape[0]), (0, 0), (0, 0))) for face in faces]
    for number in range(3):
        Image.fromarray(np.concatenate(padded, axis=1)).save(tmp_path / f"group{number}.png")
    assert main(command(quantised, tmp_path)) == 1
    assert "3 photographs could be used, expected 8 or more. Try: --photographs" in capsys.readouterr().err


@pytest.mark.weights
def test_what_is_published_is_of_the_fixed_set(
    quantised: Path,
    sample: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file of one's own photographs is not up to date where no photographs are named, and the terminal says which."""
    monkeypatch.delenv("FACEPIPE_ASSETS", raising=False)  # LFW's pairs lie there
    monkeypatch.chdir(tmp_path)  # and perhaps in data/
    folder = tmp_path / "weights"
    shutil.copytree(quantised, folder)
    assert main(command(folder, sample / "images")) == 0
    assert "named photographs, no test set is here" in capsys.readouterr().out
    record = read_record(model(EMBEDDER).quantised(folder))
    assert record is not None and record.made_from.settings["photographs"] == "named"
    calibration = record.facts["calibration"]
    assert isinstance(calibration, dict) and calibration["named"] is True and calibration["tests"] == []
    assert calibration["photographs"]
    for name, digest in calibration["photographs"].items():
        assert sha256_of_file(Path(name)) == digest
    assert main(["quantise", EMBEDDER, "--weights", str(folder), "--faces", "24"]) == 0
    assert "photographs of the fixed set" in capsys.readouterr().out
    again = read_record(model(EMBEDDER).quantised(folder))
    assert again is not None and "photographs" not in again.made_from.settings
