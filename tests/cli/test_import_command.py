# SPDX-License-Identifier: Apache-2.0
"""`facepipe import`, and an imported recogniser by its name in every command and in Python."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the files of these tests are made with onnx")

from album import album_pairs
from own_onnx import arcface_onnx, scrfd_onnx, yunet_onnx

import facepipe
from facepipe.catalogue import embedder
from facepipe.catalogue.imported import record_path
from facepipe.cli import main

pytestmark = pytest.mark.weights
RUN = ("--backend", "onnxruntime")
Command = Callable[..., str]


@pytest.fixture(scope="module")
def weights(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MTCNN and of a recogniser that was imported with `facepipe import`."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("pnet", "rnet", "onet"):
        for path in weights_dir.glob(f"{name}.simplified.onnx*"):
            shutil.copy(path, folder)
    file = arcface_onnx(tmp_path_factory.mktemp("own") / "w600k_r50.onnx", dimension=128)
    options = ["--like", "arcface.iresnet50", "--name", "mine", "--threshold", "0.9", "--licence", "MIT"]
    assert main(["import", str(file), *options, "--weights", str(folder)]) == 0
    for form, make in (("scrfd", scrfd_onnx), ("yunet", yunet_onnx)):
        file = make(tmp_path_factory.mktemp("own") / f"own.{form}.onnx")
        assert main(["import", str(file), "--detector", form, "--weights", str(folder)]) == 0
    return folder


@pytest.fixture
def said(weights: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call it with a command line: what it printed, both streams; the status has to be `status`."""

    def call(*words: object, status: int = 0, folder: Path = weights) -> str:
        capsys.readouterr()
        found = main([*map(str, words), "--weights", str(folder)])
        told = capsys.readouterr()
        assert found == status, told.err
        return told.out + told.err

    return call


@pytest.fixture
def changed(weights: Path, tmp_path: Path) -> Path:
    """A copy of the folder, for tests that edit the record."""
    return Path(shutil.copytree(weights, tmp_path / "changed"))


def edit(folder: Path, old: str, new: str) -> None:
    path = record_path("mine", folder)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_import_says_what_became_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = arcface_onnx(tmp_path / "own.onnx"), tmp_path / "w"
    assert main(["import", str(file), "--like", "arcface.iresnet50", "--weights", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "own: 512 numbers of 112x112 RGB, aligned by five landmarks; like arcface.iresnet50",
        f"{folder / 'own.onnx'} and {folder / 'own.toml'}: --embedder own",
    ]
    assert main(["import", str(file), "--like", "arcface.iresnet5", "--name", "x", "--weights", str(folder)]) == 1
    assert "did you mean 'arcface.iresnet50'?" in capsys.readouterr().err


def test_it_is_among_the_models(said: Command, weights: Path) -> None:
    listing = said("models")
    assert ["mine", "embed", "yes"] in [line.split()[:3] for line in listing.splitlines()]
    sheet = said("models", "mine")
    assert "RGB, (x - (127.5, 127.5, 127.5)) / (127.5, 127.5, 127.5)" in sheet
    assert "above cosine 0.9000" in sheet
    assert "MIT" in sheet
    told = json.loads(said("models", "mine", "--json"))
    assert told["imported"]["file"] == "mine.onnx"
    assert "mine: was imported as an ONNX" in said("onnx", "mine", status=1)


def test_two_photographs(said: Command, album: Path) -> None:
    first, second = (album / "people" / "Person_01" / f"Person_01_000{number}.jpg" for number in (1, 2))
    told = said("verify", first, second, "--embedder", "mine", *RUN)
    assert "the same person: cosine above 0.9000 (of mine's own record)" in told
    assert "embedder: mine (the first that is converted" in said("verify", first, second, *RUN)
    assert "expected one of facenet.vggface2," in said("verify", first, second, "--embedder", "mime", status=1)


@pytest.mark.process
def test_a_folder_and_its_record(said: Command, album: Path, changed: Path, tmp_path: Path) -> None:
    command = ["embed", album / "people" / "Person_01", "--out", tmp_path / "run", "--embedder", "mine", *RUN]
    command += ["--workers", 2, "--shard", 2]
    assert "4 photographs, 4 faces" in said(*command, folder=changed)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    spec = embedder("mine", changed)
    assert spec.imported is not None
    (model,) = (entry for entry in record["models"] if entry["model"] == "mine")
    assert model["weights_sha256"] == spec.imported.meaning
    assert model["sha256"] == spec.imported.sha256
    assert record["parameters"]["records"] == {"mine": spec.imported.meaning}
    assert "all are what they were" in said("check", tmp_path / "run", folder=changed)
    edit(changed, 'licence = "MIT"', 'licence = "ours"')
    said(*command, folder=changed)  # the same answers
    edit(changed, 'pixels = "RGB"', 'pixels = "BGR"')
    assert "records" in said(*command, status=1, folder=changed)
    told = said("check", tmp_path / "run", status=1, folder=changed)
    assert f"changed   weights     {record_path('mine', changed)}" in told
    assert "4 photographs, 4 faces" in said(*command, "--force", folder=changed)


@pytest.mark.process
@pytest.mark.parametrize("staged", [False, True], ids=["fused", "staged"])
def test_accuracy_of_pairs(staged: bool, said: Command, album: Path, changed: Path, tmp_path: Path) -> None:
    root = tmp_path / "lfw"
    shutil.copytree(album / "people", root / "images")
    (root / "pairs.txt").write_text(album_pairs(2, 3))
    command = ["lfw", "--data", root, "--run", tmp_path / "run", "--embedder", "mine", *RUN, "--workers", 1]
    command += ["--staged"] if staged else []
    told = said(*command, folder=changed)
    assert "mtcnn + mine on onnxruntime" in told
    spec = embedder("mine", changed)
    assert spec.imported is not None
    accuracy = json.loads((tmp_path / "run" / "accuracy.json").read_text())
    assert accuracy["weights"]["mine"] == spec.imported.meaning
    if importlib.util.find_spec("matplotlib") and not staged:
        assert main(["report", str(tmp_path / "run"), "--data", str(root)]) == 0
    edit(changed, "alignment", "# alignment")
    edit(changed, "template", 'alignment = "margin"\nmargin = 20\n# template')
    assert "records" in said(*command, status=1, folder=changed)


@pytest.mark.slow
@pytest.mark.process
def test_a_rehearsal(said: Command, weights: Path, album: Path, tmp_path: Path) -> None:
    root = tmp_path / "lfw"
    shutil.copytree(album / "people", root / "images")
    (root / "pairs.txt").write_text(album_pairs(2, 1))
    command = ["rehearse", "--data", root, "--out", tmp_path / "out", "--embedder", "mine", "--backend", "onnxruntime"]
    told = said(*command, "--workers", 1, "--sample", 2)
    assert "mine" in told
    assert embedder("mine", tmp_path / "out" / "models").weights.sha256 != embedder("mine", weights).weights.sha256
    assert "mine" in said(*command, "--workers", 1, "--sample", 2), "again: what is there is kept"


def test_a_set_of_aligned_faces(said: Command, album: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(album_pairs(2, 3))
    command = ["verification", album / "aligned", "--pairs", tmp_path / "pairs.txt", "--run", tmp_path / "run"]
    assert "Accuracy-Flip" in said(*command, "--embedder", "mine")
    assert json.loads((tmp_path / "run" / "verification.json").read_text())["embedder"] == "mine"
    assert "embedder 'mime' is not known" in said(*command, "--embedder", "mime", status=1)


def test_a_gallery_is_bound_to_the_record(said: Command, album: Path, changed: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="gallery search needs the extra [gallery]")
    gallery, stranger = tmp_path / "people.gallery", album / "people" / "Person_01" / "Person_01_0001.jpg"
    built = said("gallery", "build", album / "people", "--out", gallery, "--embedder", "mine", *RUN, folder=changed)
    assert "0.9" in built
    assert "Person_01" in said("gallery", "search", gallery, stranger, *RUN, folder=changed)
    command = ["recognise", "--input", album / "group.jpg", "--index", gallery, "--output", tmp_path / "out", *RUN]
    assert "Person_0" in said(*command, "--rec", "--det", "--embedder", "mine", folder=changed)
    edit(changed, "threshold = 0.9", "threshold = 0.8")
    said("gallery", "search", gallery, stranger, *RUN, folder=changed)
    edit(changed, "mean = [127.5", "mean = [0")
    assert "it was made with weights" in said("gallery", "search", gallery, stranger, *RUN, status=1, folder=changed)


def test_unnamed_faces_are_grouped_and_named(said: Command, album: Path, tmp_path: Path) -> None:
    out, gallery = tmp_path / "clusters", tmp_path / "people.gallery"
    command = ["cluster", album / "people", "--out", out, "--embedder", "mine", *RUN]
    assert "for mine was not measured" in said(*command, status=1)
    said(*command, "--similarity", "0.9")
    built = said("gallery", "build", out, "--names", "person-0001=Ann", "--out", gallery)
    assert "0.9" in built, "the threshold of its record"


def test_ascend(said: Command) -> None:
    told = said("om", "mine", "--soc", "Ascend310P3", "--dry-run")
    assert '--input_shape="input.1:16,3,112,112"' in told
    assert "--soc_version=Ascend310P3" in told
    aipp = said("om", "--embedder", "mine", "--soc", "Ascend310P3", "--dry-run", "--aipp")
    assert "--insert_op_conf=" in aipp
    assert "mine.onnx: passes for Ascend310P3" in said("check", "mine", "--soc", "Ascend310P3")
    assert "mine.onnx: passes" in said("check", "--soc", "Ascend310P3")


def test_speed_and_layers(said: Command) -> None:
    assert "mine" in said("bench", "mine", *RUN, "--seconds", "0.01")
    assert "mine: 3 operators" in said("parity", "mine", "--layers")


@pytest.mark.slow
def test_eight_bits(said: Command, sample: Path, album: Path, weights: Path) -> None:
    pytest.importorskip("nncf", reason="eight bits need the extra [quantise]")
    told = said("quantise", "mine", "--photographs", sample / "images", "--faces", 16)
    assert "mine.int8.onnx" in told
    first, second = (album / "people" / "Person_01" / f"Person_01_000{number}.jpg" for number in (1, 2))
    assert "the same person" in said("verify", first, second, "--embedder", "mine", *RUN, "--precision", "int8")


def test_python(weights: Path, album: Path) -> None:
    first, second = (album / "people" / "Person_01" / f"Person_01_000{number}.jpg" for number in (1, 2))
    with facepipe.load("mtcnn", "mine", weights=weights, backend="onnxruntime") as faces:
        assert faces.verify(first, second).same
        assert faces.embed([first])[0].embedding.shape == (128,)


DETECTORS = pytest.mark.parametrize("detector", ["own.scrfd", "own.yunet"])


@DETECTORS
def test_faces_by_a_detector_of_ones_own(detector: str, said: Command, album: Path, tmp_path: Path) -> None:
    photograph = album / "people" / "Person_01" / "Person_01_0001.jpg"
    told = said("detect", photograph, "--detector", detector, "--draw", tmp_path / "drawn.jpg", *RUN)
    assert f"{photograph}: " in told
    lines = said("detect", photograph, "--detector", detector, "--json", "--least-score", "0.1", *RUN).splitlines()
    faces = json.loads(lines[0])["faces"]
    assert faces
    assert all(len(face["landmarks"]) == 5 for face in faces)
    assert f"detector {detector}: {detector}" in said("models")
    other = album / "people" / "Person_01" / "Person_01_0002.jpg"
    pair = ["--detector", detector, "--least-score", "0.1", "--embedder", "mine", *RUN]
    assert "the same person" in said("verify", photograph, other, *pair)
    assert "detector 'own.scrfx' is not known" in said("detect", photograph, "--detector", "own.scrfx", status=1)
    assert "its record says task 'embed'" in said("detect", photograph, "--detector", "mine", status=1)


@pytest.mark.process
def test_a_run_by_a_detector_of_ones_own(said: Command, album: Path, changed: Path, tmp_path: Path) -> None:
    command = ["embed", album / "people" / "Person_01", "--out", tmp_path / "run", "--faces", "all", *RUN]
    command += ["--detector", "own.scrfd", "--embedder", "mine", "--least-score", "0.1", "--workers", 1]
    assert "4 photographs" in said(*command, folder=changed)
    assert "all are what they were" in said("check", tmp_path / "run", folder=changed)
    path = record_path("own.scrfd", changed)
    path.write_text(path.read_text().replace('"RGB"', '"BGR"'))
    assert "records" in said(*command, status=1, folder=changed)


@DETECTORS
def test_a_detector_of_ones_own_on_ascend(detector: str, said: Command) -> None:
    told = said("om", detector, "--soc", "Ascend310P3", "--dry-run", "--batch", 1)
    assert ":1,3,640,640" in told
    assert f"{detector}.onnx: passes" in said("check", detector, "--soc", "Ascend310P3")
    assert "batch is 16, expected 1 to 1" in said("om", detector, "--soc", "Ascend310P3", "--dry-run", status=1)


@pytest.mark.slow
@DETECTORS
def test_a_detector_of_ones_own_in_eight_bits(detector: str, said: Command, sample: Path, album: Path) -> None:
    assert f"{detector}.int8.onnx" in said("quantise", detector, "--photographs", sample / "images")
    photograph = album / "people" / "Person_01" / "Person_01_0001.jpg"
    command = ["detect", photograph, "--detector", detector, "--least-score", "0.1"]
    assert f"{photograph}: " in said(*command, *RUN, "--precision", "int8-all")
