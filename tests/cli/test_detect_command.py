# SPDX-License-Identifier: Apache-2.0
"""`facepipe detect`: files, folders and standard input; what is printed where, and the exit status."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from facepipe.cli import main

pytestmark = pytest.mark.weights


@pytest.fixture
def photographs(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/: two photographs of a face, one in a folder below, and one that is empty."""
    (tmp_path / "photos/below").mkdir(parents=True)
    shutil.copy(album / "people/Person_01/Person_01_0001.jpg", tmp_path / "photos/below/one.jpg")
    shutil.copy(album / "people/Person_02/Person_02_0001.jpg", tmp_path / "photos/two.jpg")
    (tmp_path / "photos/empty.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.fixture
def options(weights_dir: Path) -> list[str]:
    return ["--weights", str(weights_dir), "--min-face", "60"]


def test_a_folder_as_json_has_a_line_for_every_photograph(
    photographs: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "photos", "--json", *options]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["photograph"] for line in lines] == ["photos/below/one.jpg", "photos/empty.jpg", "photos/two.jpg"]
    assert lines[1]["error"] == "is empty (0 bytes)"
    assert [(line["width"], line["height"], len(line["faces"])) for line in (lines[0], lines[2])] == [(250, 250, 1)] * 2
    (photographs / "empty.jpg").unlink()
    assert main(["detect", "photos", "--json", *options]) == 0


def test_words_have_a_header_and_what_fails_is_told_apart(
    photographs: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "photos", *options]) == 1
    told = capsys.readouterr()
    header, first, face, *_ = told.out.splitlines()
    assert header.split()[:5] == ["x1", "y1", "x2", "y2", "score"]
    assert first == "photos/below/one.jpg: 1 face"
    assert [header.index(word) + 2 for word in ("x1", "y1", "x2", "y2")] == [10, 19, 28, 37]
    assert all(face[end - 1].isdigit() and face[end] == " " for end in (10, 19, 28, 37)), "under their words"
    assert "facepipe detect: photos/empty.jpg: is empty (0 bytes)." in told.err
    assert "photograph/s" not in told.err, "nobody watches"


def test_a_bar_is_shown_to_whoever_watches_many_photographs(
    photographs: Path, options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main(["detect", "photos", *options])
    assert "detect: 100%" in capsys.readouterr().err
    main(["detect", "photos/two.jpg", *options])
    assert "detect: 100%" not in capsys.readouterr().err


def test_drawings_of_a_folder_lie_below_the_same_folders(
    photographs: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open("photos/two.jpg") as image:
        image.save("photos/three.gif")
    assert main(["detect", "photos", "--draw", "drawn", *options]) == 1
    drawn = sorted(path.relative_to("drawn").as_posix() for path in Path("drawn").rglob("*") if path.is_file())
    assert drawn == ["below/one.jpg", "owned.jsonl", "three.gif.png", "two.jpg"]
    assert "1 (first: drawn/three.gif.png)" in capsys.readouterr().err


def test_a_name_that_holds_no_drawing_is_refused_before_any_work(
    photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "photos/two.jpg", "--draw", "x.gif", "--weights", "nowhere"]) == 1
    assert "x.gif: no drawing is written as '.gif', expected one of .jpg" in capsys.readouterr().err
