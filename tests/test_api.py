# SPDX-License-Identifier: Apache-2.0
"""facepipe for programs: one answer for each photograph, the same as the commands; the examples of docs/api.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import facepipe
from facepipe import BackendError, DataError, EmbeddedFace, NoFace, Unread
from facepipe.cli import main
from facepipe.datasets.images import list_keys, read
from facepipe.results import Detections

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


@pytest.mark.process
def test_importing_facepipe_loads_no_numpy() -> None:
    code = "import sys, facepipe; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there_and_others_are_attribute_errors() -> None:
    for name in facepipe.__all__:
        assert getattr(facepipe, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'open', expected one of AssetError, .*load"):
        facepipe.open  # noqa: B018


@pytest.mark.weights
def test_a_photograph_is_at_distance_zero_from_itself_and_further_from_another(weights_dir: Path, sample: Path) -> None:
    photographs = _photographs(sample)
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir) as faces:
        same = faces.distance(photographs[0], read(photographs[0]))
        different = faces.distance(photographs[0], photographs[-1])
    assert same < 1e-9 < different <= 4


@pytest.mark.weights
def test_one_bad_photograph_does_not_lose_the_others(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    empty, path = np.zeros((80, 80, 3), np.uint8), _photographs(sample)[0]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(path.read_bytes()[:500])
    faces = facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir)
    first, second, third, fourth, fifth = faces.embed([path, empty, broken, np.zeros(3), str(path)])
    assert faces.embed([]) == []
    with pytest.raises(DataError, match="the array: no face found, expected a photograph with a face"):
        faces.distance(empty, path)
    assert isinstance(second, NoFace) and isinstance(third, Unread) and isinstance(fourth, Unread)
    assert isinstance(first, EmbeddedFace) and isinstance(fifth, EmbeddedFace)
    assert first.embedding.shape == (512,) and np.array_equal(first.embedding, fifth.embedding)
    found, none, unread = faces.detect([path, empty, broken])
    assert isinstance(found, Detections) and len(found) and len(none) == 0 and isinstance(unread, Unread)
    every, unread = faces.embed_all([path, broken])
    assert len(every.faces) == len(found) and isinstance(unread, Unread)
    faces.close()
    faces.close()


@pytest.mark.weights
def test_a_detector_without_landmarks_answers_as_the_command_does(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = _photographs(sample)[0], _photographs(sample)[-1]
    pair = ("ultraface.rfb-320", "mobilefacenet.ms1m")
    if not (weights_dir / f"{pair[1]}.simplified.onnx").is_file():
        pytest.skip(f"{pair[1]} is not converted here")
    with pytest.raises(DataError, match=r"ultraface.rfb-320\+onet, or allow_margin_crop=True"):
        facepipe.load(*pair, weights=weights_dir)
    models = facepipe.Models(*pair, weights=weights_dir)
    with pytest.raises(DataError, match="gives no landmarks"):
        facepipe.embed_folder(sample / "images", tmp_path / "run", models)
    with facepipe.load(*pair, weights=weights_dir, allow_margin_crop=True) as faces:
        distance, note = faces.distance(one, other), faces.note
    words = [
        "--detector",
        pair[0],
        "--embedder",
        pair[1],
        "--weights",
        str(weights_dir),
        "--json",
        "--allow-margin-crop",
    ]
    assert main(["verify", str(one), str(other), *words]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["distance"] == pytest.approx(distance, abs=1e-6)
    assert note is not None and note in told.err


@pytest.mark.weights
def test_the_limit_of_pixels_is_the_commands(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph = _photographs(sample)[0]
    shutil.copy(photograph, tmp_path / "a.jpg")
    faces = facepipe.load("mtcnn", None, weights=weights_dir, max_pixels=100)
    (unread,) = faces.detect([photograph])
    assert isinstance(unread, Unread)
    weights = ["--weights", str(weights_dir), "--max-pixels", "100"]
    embeds = ["--embedder", "facenet.seeded"]
    for words in (
        ["detect", str(photograph), *weights],
        ["verify", str(photograph), str(photograph), *weights, *embeds],
        ["recognise", "--det", "--input", str(tmp_path / "a.jpg"), "--output", str(tmp_path / "o"), *weights],
        ["cluster", str(tmp_path), "--out", str(tmp_path / "c"), *weights, *embeds],
        ["embed", str(tmp_path), "--out", str(tmp_path / "run"), *weights, *embeds, "--workers", "1"],
    ):
        main(words)
        told = capsys.readouterr()
        assert "at most 100 are read" in told.err + told.out or "1 unread" in told.out, words
    assert json.loads((tmp_path / "run/faces.jsonl").read_text())["unread"] == unread.reason


def test_models_that_were_not_converted_are_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"pnet\.simplified\.onnx: no such model file.*facepipe onnx pnet"):
        facepipe.load("mtcnn", "facenet.seeded", weights=tmp_path)


def test_an_embedder_that_is_not_in_the_catalogue_is_refused() -> None:
    with pytest.raises(DataError, match=r"embedder 'facenet' is not known, expected one of facenet\.vggface2"):
        facepipe.load("mtcnn", "facenet")


@pytest.mark.weights
def test_every_example_of_the_page_runs(
    weights_dir: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample, tmp_path / "photographs")
    (tmp_path / "weights").symlink_to(weights_dir)
    for name, path in zip(("one.jpg", "other.jpg"), _photographs(sample), strict=False):
        shutil.copy(path, tmp_path / name)
    space: dict[str, object] = {}
    for block in blocks:
        exec(compile(block.replace("mobilefacenet.ms1m", "facenet.seeded"), str(PAGE), "exec"), space)


def _photographs(sample: Path) -> list[Path]:
    keys = [key for key in list_keys(sample) if key.endswith(".jpg")]
    return [sample / key for key in keys]
