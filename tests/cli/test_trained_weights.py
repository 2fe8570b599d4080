# SPDX-License-Identifier: Apache-2.0
"""What a training leaves, from `facepipe import --like` to a gallery, eight bits and a compiler's command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="trained weights are converted with torch")

from album import THRESHOLD, album_pairs  # noqa: E402
from seeded_weights import write_checkpoint  # noqa: E402

from facepipe.catalogue import model  # noqa: E402
from facepipe.cli import main  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.train.verify import open_verification, verify  # noqa: E402

LIKE = model("mobilefacenet.paddle")
Command = Callable[..., str]


@pytest.mark.weights
@pytest.mark.process
@pytest.mark.slow
def test_every_later_command_takes_trained_weights(
    weights_dir: Path, sample: Path, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, trained = tmp_path / "weights", write_checkpoint(LIKE.network, tmp_path / "trained.pt")
    folder.mkdir()
    for name in ("pnet", "rnet", "onet"):
        for path in weights_dir.glob(f"{name}.simplified.onnx*"):
            shutil.copy(path, folder)

    def said(*words: object) -> str:
        capsys.readouterr()
        found = main([*map(str, words), "--weights", str(folder)])
        told = capsys.readouterr()
        assert found == 0, told.err
        return told.out + told.err

    run = ("--backend", "onnxruntime")
    told = said("import", trained, "--like", LIKE.name, "--name", "mine", "--threshold", THRESHOLD)
    assert "simplify: " in told and "mine: 128 numbers of 112x112 RGB" in told

    people = album / "people"
    first, second, other = (
        people / name
        for name in ("Person_01/Person_01_0001.jpg", "Person_01/Person_01_0002.jpg", "Person_05/Person_05_0001.jpg")
    )
    assert "the same person" in said("verify", first, second, "--embedder", "mine", *run)
    assert "4 faces" in said("embed", people / "Person_01", "--out", tmp_path / "run", "--embedder", "mine", *run)
    assert "all are what they were" in said("check", tmp_path / "run")

    faces = tmp_path / "aligned"
    shutil.copytree(album / "aligned", faces)
    (faces / "pairs.txt").write_text(album_pairs(2, 3))
    said("verification", faces, "--embedder", "mine", "--run", tmp_path / "verified")
    figures = json.loads((tmp_path / "verified" / "verification.json").read_text())
    (found,) = verify(load(LIKE, trained).network, [open_verification(faces, LIKE)], LIKE)
    assert (found.accuracy, found.deviation) == (figures["accuracy_flip"]["mean"], figures["accuracy_flip"]["std"])
    assert found.x_norm == pytest.approx(figures["xnorm"], rel=1e-5)

    pytest.importorskip("nncf", reason="eight bits need the extra [quantise]")
    assert "mine.int8.onnx" in said("quantise", "mine", "--photographs", sample / "images", "--faces", 16)
    assert "the same person" in said("verify", first, second, "--embedder", "mine", *run, "--precision", "int8")
    assert '--input_shape="image:16,3,112,112"' in said("om", "mine", "--soc", "Ascend310P3", "--dry-run")
    assert "mine.onnx: passes for Ascend310P3" in said("check", "mine", "--soc", "Ascend310P3")

    gallery = tmp_path / "people.gallery"
    said("gallery", "build", people, "--out", gallery, "--embedder", "mine", *run)
    assert "Person_05" in said("gallery", "search", gallery, other, *run)
