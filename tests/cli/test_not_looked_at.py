# SPDX-License-Identifier: Apache-2.0
"""What could not be looked at is said on the terminal, by kind; what is too large with the option that moves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.cli import main
from facepipe.datasets import heif

MODELS = ["--detector", "mtcnn", "--backend", "onnxruntime", "--min-face", "40"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph, a HEIC file where none can be read, a film, a moving picture, and one that is too large."""
    find = heif.importlib.util.find_spec
    monkeypatch.setattr(heif.importlib.util, "find_spec", lambda name: None if "heif" in name else find(name))
    root = tmp_path / "photographs"
    root.mkdir()
    Image.fromarray(np.full((80, 90, 3), 90, np.uint8)).save(root / "one_colour.jpg")
    for name in ("IMG_1.HEIC", "IMG_2.heic"):
        (root / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (root / "film.mp4").write_bytes(b"a film")
    frames = [Image.new("RGB", (60, 60), colour) for colour in ("red", "blue")]
    frames[0].save(root / "moving.webp", save_all=True, append_images=frames[1:])
    Image.new("RGB", (300, 200)).save(root / "large.png")
    return root


def test_embed_says_what_it_has_not_looked_at(
    folder: Path, weights_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--weights", str(weights_dir), "--embedder", "facenet.seeded", "--workers", "1", "--max-pixels", "20000"]
    assert main(["embed", str(folder), "--out", str(folder / "out"), *MODELS, *options]) == 0
    said = capsys.readouterr()
    assert "5 photographs, 0 faces, 2 without, 3 unread" in said.out
    assert (
        "2 unread, of which the first: is HEIC, which the extra 'heic' reads: pip install 'facepipe[heic]'" in said.err
    )
    assert "1 unread: has 300x200 pixels, at most 20,000 are read (more with --max-pixels)" in said.err
    assert "1 with several frames or pages, of which the first was looked at: moving.webp" in said.err
    assert "1 file of another kind was not looked at (.mp4 1)" in said.err


def test_detect_names_each(folder: Path, weights_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in sorted(folder.iterdir()) if path.suffix != ".mp4"]
    options = ["--weights", str(weights_dir), "--max-pixels", "20000"]
    assert main(["detect", *paths, *MODELS, *options]) == 1
    said = capsys.readouterr()
    assert said.out.count(": 0 faces") == 2
    assert said.err.count("pip install 'facepipe[heic]'") == 2 and said.err.count("--max-pixels") == 1
    assert "moving.webp" in said.err


def test_detect_says_what_else_lies_in_a_folder(
    folder: Path, weights_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "drawings").mkdir()
    (folder / "film.mp4").rename(folder / "drawings/film.mp4")
    options = ["--weights", str(weights_dir), "--max-pixels", "20000"]
    assert main(["detect", str(folder), *MODELS, *options]) == 1
    assert "1 file of another kind was not looked at (.mp4 1)" in capsys.readouterr().err


def test_a_size_that_no_detector_takes_is_refused(
    folder: Path, weights_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in ("-1", "7"):
        assert main(["detect", str(folder / "one_colour.jpg"), *MODELS, "--weights", str(weights_dir), "--size", size])
        assert "expected 0, or 12 or more" in capsys.readouterr().err


def test_the_staged_run_sees_all_pixels(
    folder: Path, weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.txt").write_text("1\t1\na\t1\t2\na\t1\tb\t1\n", encoding="utf-8")
    for name in ("a/a_0001.jpg", "a/a_0002.jpg", "b/b_0001.jpg"):
        (tmp_path / "lfw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 60)).save(tmp_path / "lfw" / name)
    options = ["--weights", str(weights_dir), "--embedder", "facenet.seeded", "--run", str(tmp_path / "run")]
    places = ["--data", str(tmp_path / "lfw"), "--pairs", str(tmp_path / "pairs.txt"), "--size", "640", "--staged"]
    assert main(["lfw", *places, *MODELS, *options]) != 0
    assert "the staged run sees photographs in all their pixels" in capsys.readouterr().err
