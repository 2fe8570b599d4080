# SPDX-License-Identifier: Apache-2.0
"""Photographs of files and folders: what is looked at, where its drawing goes, and what is told of it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from squares import Squares, picture

from facepipe.errors import DataError, StageError
from facepipe.escape import for_json
from facepipe.faces.pipeline import FacePipeline
from facepipe.reports.detected import (
    Detected,
    detect_photographs,
    drawing_paths,
    in_another_format,
    photographs_given,
    standard_input,
)
from facepipe.results import Detections, Unread

PIPELINE = FacePipeline(Squares(), None, None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a/IMG_1.jpg, b/IMG_1.jpg and b/c/x.gif, which is the working folder."""
    for number, name in enumerate(("photos/a/IMG_1.jpg", "photos/b/IMG_1.jpg", "photos/b/c/x.gif")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture((10 + number, 10, 40))).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*given: str, draw: str, overwrite: bool = False) -> dict[str, str]:
    asked = [Path(one) for one in given]
    photographs = photographs_given(asked, Path(draw))
    found = drawing_paths(asked, photographs, Path(draw), overwrite=overwrite)
    return {str(photograph): str(drawing) for photograph, drawing in found.items()}


def test_a_folder_is_the_photographs_in_it(here: Path) -> None:
    assert list(map(str, photographs_given([Path("photos"), Path("nothing.jpg")]))) == [
        "photos/a/IMG_1.jpg",
        "photos/b/IMG_1.jpg",
        "photos/b/c/x.gif",
        "nothing.jpg",
    ]


def test_drawings_that_lie_in_the_folder_are_no_photographs_of_the_next_call(here: Path) -> None:
    first = paths("photos", draw="photos/drawn")
    for drawing in first.values():
        Path(drawing).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("photos/a/IMG_1.jpg", drawing)
    assert list(first) == list(map(str, photographs_given([Path("photos")], Path("photos/drawn"))))
    assert len(photographs_given([Path("photos")])) == 6


def test_the_working_folder_is_no_folder_of_drawings(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("photos/b")
    assert len(photographs_given([Path("..")])) == 3


@pytest.mark.parametrize(
    ("given", "drawings"),
    [
        (["photos"], ["out/a/IMG_1.jpg", "out/b/IMG_1.jpg", "out/b/c/x.gif.png"]),
        (["photos/a/IMG_1.jpg", "photos/b/IMG_1.jpg"], ["out/a/IMG_1.jpg", "out/b/IMG_1.jpg"]),
        (["photos/b/IMG_1.jpg", "photos/b/c"], ["out/IMG_1.jpg", "out/c/x.gif.png"]),
        (["photos/a", "photos/b/c/x.gif"], ["out/a/IMG_1.jpg", "out/b/c/x.gif.png"]),
        (["photos/a/IMG_1.jpg"], ["out/IMG_1.jpg"]),
    ],
)
def test_drawings_keep_the_folders_of_their_photographs(here: Path, given: list[str], drawings: list[str]) -> None:
    assert list(paths(*given, draw="out").values()) == drawings


def test_one_photograph_is_drawn_to_the_file_that_was_named(here: Path) -> None:
    assert paths("photos/a/IMG_1.jpg", draw="boxes.png") == {"photos/a/IMG_1.jpg": "boxes.png"}
    with pytest.raises(DataError, match=r"boxes\.gif: no drawing is written as '\.gif'"):
        paths("photos/a/IMG_1.jpg", draw="boxes.gif")
    for given in (["photos/a", "photos/b/IMG_1.jpg"], ["photos/a"]):
        with pytest.raises(DataError, match=r"boxes\.png: one drawing for \d photographs, expected a folder"):
            paths(*given, draw="boxes.png")
    assert not Path("boxes.png").exists()


def test_nothing_of_the_users_is_drawn_over(here: Path) -> None:
    for given, draw in (("photos/a/IMG_1.jpg", "photos/a/IMG_1.jpg"), ("photos", "photos"), ("photos/a", "photos/a")):
        with pytest.raises(DataError, match="would be drawn over a photograph"):
            paths(given, draw=draw, overwrite=True)
    with pytest.raises(StageError, match="holds 1 entry that facepipe did not make"):
        paths("photos/b", draw="photos/a", overwrite=True)
    Path("boxes.png").write_text("mine")
    with pytest.raises(StageError, match=r"boxes\.png: is there already"):
        paths("photos/a/IMG_1.jpg", draw="boxes.png")
    assert paths("photos/a/IMG_1.jpg", draw="boxes.png", overwrite=True)


def test_one_photograph_twice_has_no_two_drawings(here: Path) -> None:
    with pytest.raises(DataError, match=r"IMG_1\.jpg: was given twice"):
        paths("photos/a/IMG_1.jpg", "photos/a/../a/IMG_1.jpg", draw="out")
    assert not Path("out").exists()


def test_another_format_is_said(here: Path) -> None:
    drawings = drawing_paths([Path("photos")], photographs_given([Path("photos")]), Path("out"))
    told = in_another_format(drawings)
    assert told is not None and told.endswith("1 (first: out/b/c/x.gif.png)")
    assert in_another_format({Path("a.jpg"): Path("out/a.jpg"), Path("b.jpg"): Path("b.png")}) is None


def test_each_photograph_is_drawn_in_its_own_format_as_it_comes(here: Path) -> None:
    photographs = photographs_given([Path("photos")])
    drawings = drawing_paths([Path("photos")], photographs, Path("out"))
    seen = []
    for one in detect_photographs(PIPELINE, photographs, 1, drawings=drawings):
        seen.append(one.name)
        assert sum(path.is_file() for path in drawings.values()) == len(seen)
        assert one.found.boxes.tolist() == [[10, 9 + len(seen), 50, 49 + len(seen)]]  # type: ignore[union-attr]
    assert seen == [str(path) for path in photographs]
    for (path, drawing), kind in zip(drawings.items(), ("JPEG", "JPEG", "PNG"), strict=True):
        with Image.open(path) as before, Image.open(drawing) as after:
            assert after.format == kind
            assert before.size == after.size and (np.asarray(before.convert("RGB")) != np.asarray(after)).any()


def test_a_call_again_replaces_its_own_drawings_alone(here: Path) -> None:
    for _ in range(2):
        photographs = photographs_given([Path("photos")], Path("out"))
        drawings = drawing_paths([Path("photos")], photographs, Path("out"))
        assert len(list(detect_photographs(PIPELINE, photographs, 4, drawings=drawings))) == 3
    Path("out/a/IMG_1.jpg").write_bytes(b"edited")
    with pytest.raises(StageError, match=r"out/a/IMG_1\.jpg: is there already"):
        paths("photos", draw="out")


def test_a_line_of_json_has_the_frame_and_brings_every_number_back() -> None:
    box = np.array([84.1, 1 / 3, 1e-7, 2**24 + 1], np.float32)
    found = Detections(box[None], np.array([0.9999999], np.float32), np.array([[[0.1, 2.7]]], np.float32))
    line = for_json(Detected("a\n.jpg", 40, 60, found).as_json())
    told = json.loads(line)
    assert "\n" not in line
    assert (told["photograph"], told["width"], told["height"]) == ("a\n.jpg", 60, 40)
    (face,) = told["faces"]
    assert set(face) >= {"box", "score", "landmarks"}, "the words of faces.jsonl"
    assert np.array_equal(np.array(face["box"], np.float32), box)
    assert "84.1," in line and "0.33333334" in line and "[0.1, 2.7]" in line, "no digit too many"


def test_a_photograph_that_fails_has_its_line(here: Path) -> None:
    Path("photos/a/empty.jpg").write_bytes(b"")
    lines = [one.as_json() for one in detect_photographs(PIPELINE, photographs_given([Path("photos")]), 8)]
    assert [len(line.get("faces", [])) for line in lines] == [1, 0, 1, 1]
    assert lines[1] == {"photograph": "photos/a/empty.jpg", "error": "is empty (0 bytes)"}


def test_boxes_are_those_of_the_upright_photograph(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    image = Image.fromarray(picture((10, 100, 40))[:80])
    image.save(tmp_path / "turned.png", exif=turned)
    (one,) = detect_photographs(PIPELINE, [tmp_path / "turned.png"], 1)
    assert (one.height, one.width) == (200, 80)


def test_standard_input_is_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.fromarray(picture((10, 10, 40))).save(content, "PNG")

    class Given:
        buffer = io.BytesIO(content.getvalue())

    monkeypatch.setattr("sys.stdin", Given)
    found = standard_input([Path("-")])
    (one,) = detect_photographs(PIPELINE, [Path("-")], 1, content=found)
    assert (one.name, one.height, one.width) == ("-", 200, 200)
    assert not isinstance(one.found, Unread) and len(one.found) == 1
    with pytest.raises(DataError, match="standard input: no bytes came, expected a photograph"):
        standard_input([Path("-")])
    assert standard_input([Path("a.jpg")]) == {}
