# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE's labels, VOC's folders and sets of boxes: the published generator's answers, and input that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from facepipe.cli import main
from facepipe.datasets.images import read
from facepipe.errors import DataError, StageError
from facepipe.train.detection.box_set import open_voc, open_wider
from facepipe.train.detection.voc import annotation, read_annotation, read_list
from facepipe.train.detection.wider_labels import read_labels
from facepipe.train.detection.wider_voc import sorted_out, voc_face, write_wider_voc

PAINT = (123, 117, 104)  # the mean, in RGB
POINTS = "50 40 0 70 40 0 60 50 0 52 60 0 68 60 1"
NO_POINTS = " ".join(["-1"] * 15)


def labelled(folder: Path, text: str, sizes: dict[str, tuple[int, int]], suffix: str = ".png") -> tuple[Path, Path]:
    """A label file, and white photographs of (width, height)."""
    (folder / "label.txt").write_text(text, encoding="utf-8")
    for name, size in sizes.items():
        path = (folder / "images" / name).with_suffix(suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "white").save(path)
    return folder / "label.txt", folder / "images"


def told(entry: ElementTree.Element) -> dict[str, Any]:
    """An object of the XML in the words of the stored answers."""
    answer: dict[str, Any] = {}
    for child in entry:
        inner = {one.tag: one.text for one in child}
        answer |= inner if child.tag == "bndbox" else {child.tag: inner or child.text}
    return answer


@pytest.mark.assets
@pytest.mark.parametrize("kind", ["wider", "made"])
def test_the_rule_and_the_xml_are_the_published_generators(golden: Path, tmp_path: Path, kind: str) -> None:
    answers = json.loads((golden / "training/voc.json").read_text(encoding="utf-8"))
    assert len(answers[kind]) == {"wider": 16, "made": 4}[kind]
    for group in sorted({case["set"] for case in answers[kind]}):
        cases = [case for case in answers[kind] if case["set"] == group]
        text = "".join("\n".join([f"# {case['label_name']}", *case["rows"]]) + "\n" for case in cases)
        (tmp_path / "label.txt").write_text(text, encoding="utf-8")
        written = []
        for case, photograph in zip(cases, read_labels(tmp_path / "label.txt"), strict=True):
            kept, _, _ = sorted_out(photograph)
            assert [photograph.faces.index(label) for label in kept] == case["kept_rows"]
            if not case["written"]:
                assert not kept
                continue
            flat = case["flat_name"]
            written.append(flat.removesuffix(".jpg"))
            path = tmp_path / flat.replace(".jpg", ".xml")
            path.write_text(annotation(flat, 9, 9, [voc_face(one, group == "train") for one in kept]), encoding="utf-8")
            assert [told(entry) for entry in ElementTree.parse(path).iter("object")] == case["objects"]
            faces = read_annotation(path, first_pixel=1)
            np.testing.assert_array_equal(faces.boxes, case["reader_boxes"])
            np.testing.assert_array_equal(read_annotation(path).boxes, faces.boxes + 1)
            assert faces.known.tolist() == [entry.get("has_lm") == "1" for entry in case["objects"]]
        assert written == answers[f"{kind}_sets"]["trainval" if group == "train" else "test"]


def test_small_faces_are_painted_out_on_the_photograph_and_the_others_are_written(tmp_path: Path) -> None:
    small = [f"{box} {NO_POINTS} 0" for box in ("0 0 9 9", "90 90 5 30", "30 3 8 8")]
    text = "\n".join(["# a/one.jpg", small[0], f"40 30 40 40 {POINTS} .5", *small[1:]])
    labels, photographs = labelled(tmp_path, text, {"a/one.jpg": (100, 100)})
    done = write_wider_voc(labels, photographs, tmp_path / "voc", "trainval")
    assert (done.photographs, done.faces, done.painted) == (1, 1, 3)
    seen = read(tmp_path / "voc/JPEGImages/a_one.jpg").astype(int)
    for rows, columns in ((slice(0, 8), slice(0, 8)), (slice(90, 100), slice(91, 94)), (slice(4, 10), slice(31, 37))):
        assert np.abs(seen[rows, columns] - PAINT).max() <= 12, "but for what JPEG does"
    assert (seen[30:70, 40:80] > 250).all()
    opened = open_voc(tmp_path / "voc")
    assert opened.keys == ("a_one.jpg",) and opened.notes == ()
    assert opened.faces[0].boxes.tolist() == [[40, 30, 80, 70]]
    assert opened.faces[0].landmarks.tolist() == [[[50, 40], [70, 40], [60, 50], [52, 60], [68, 60]]]
    assert opened.faces[0].known.tolist() == [True]


@pytest.mark.parametrize("last, painted", [("60 60 5 5", True), ("60 60 20 20", False), ("60 60 0 5", False)])
def test_the_seeds_paint_is_the_last_lines_alone(tmp_path: Path, last: str, painted: bool) -> None:
    labels, photographs = labelled(tmp_path, f"# a.jpg\n10 10 5 5\n20 20 30 30\n{last}\n", {"a.jpg": (90, 90)})
    done = write_wider_voc(labels, photographs, tmp_path / "voc", "trainval", seed_paint=True)
    seen = read(tmp_path / "voc/JPEGImages/a.jpg").astype(int)
    assert done.painted == painted
    assert (seen[10:15, 10:15] > 240).all(), "the first small face stays as it is"
    assert (np.abs(seen[62, 62] - PAINT).max() <= 12) == painted


def test_ten_pixels_are_the_originals_where_the_file_is_smaller(tmp_path: Path) -> None:
    text = "# e/a.jpg 1000 500\n100 100 110 110\n300 300 309 330\n500 101 561 162\n"
    labels, photographs = labelled(tmp_path, text, {"e/a.jpg": (640, 320)}, ".webp")
    done = write_wider_voc(labels, photographs, tmp_path / "voc", "test")
    assert (done.faces, done.painted) == (2, 1)
    assert open_voc(tmp_path / "voc", "test").faces[0].boxes.tolist() == [
        [64, 64, 70.4, 70.4],
        [320, 64.64, 359.04, 103.68],
    ]
    same = open_wider(labels, photographs)
    assert same.keys == ("e/a.webp",)
    np.testing.assert_allclose(same.faces[0].boxes[0], [64, 64, 70.4, 70.4])
    assert same.picture(0).shape == (320, 640, 3)


def test_two_lists_share_a_folder_and_a_list_that_is_there_stays(tmp_path: Path) -> None:
    labels, photographs = labelled(
        tmp_path, "# a.jpg\n1 1 20 20\n# b.jpg\n1 1 3 3\n", {"a.jpg": (40, 40), "b.jpg": (40, 40)}
    )
    for name in ("trainval", "test"):
        done = write_wider_voc(labels, photographs, tmp_path / "voc", name)
        assert done.without == ("b.jpg",)
        assert read_list(tmp_path / "voc", name) == ["a"]
    with pytest.raises(DataError, match="is there already"):
        write_wider_voc(labels, photographs, tmp_path / "voc", "test")
    write_wider_voc(labels, photographs, tmp_path / "voc", "test", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    with pytest.raises(StageError, match="thesis"):
        write_wider_voc(labels, photographs, tmp_path / "mine", "test")


def test_a_stop_leaves_no_list_and_another_call_does_it_all(tmp_path: Path) -> None:
    sizes = {f"{name}.jpg": (40, 40) for name in "abc"}
    labels, photographs = labelled(tmp_path, "".join(f"# {name}\n1 1 20 20\n" for name in sizes), sizes)
    seen = []

    def stop(count: int) -> None:
        seen.append(count)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_wider_voc(labels, photographs, tmp_path / "voc", "trainval", progress=stop)
    assert not (tmp_path / "voc/ImageSets").exists()
    assert write_wider_voc(labels, photographs, tmp_path / "voc", "trainval").photographs == 3
    assert len(open_voc(tmp_path / "voc")) == 3


def test_boxes_that_are_none_are_named_and_left_out(tmp_path: Path) -> None:
    text = "# a.jpg\n5 5 20 20\n5 5 -3 9\n5 5 9 0\n60 5 9 9\n-5 -5 20 20\n# none.jpg\n"
    labels, photographs = labelled(tmp_path, text, {"a.jpg": (50, 50), "none.jpg": (50, 50)})
    opened = open_wider(labels, photographs)
    assert opened.faces[0].boxes.tolist() == [[5, 5, 25, 25], [0, 0, 15, 15]]
    assert len(opened.faces[1]) == 0, "a photograph without a face is one to learn from"
    assert opened.notes == (
        "label.txt: a box of negative size: 1 left out (line 3)",
        "label.txt: a box of no area: 1 left out (line 4)",
        "label.txt: a box outside its picture: 1 left out (line 5)",
    )
    (tmp_path / "label.txt").write_text("# a.jpg\n5 5 0 20\n", encoding="utf-8")
    with pytest.raises(DataError, match="no area: 1 left out"):
        open_wider(labels, photographs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# a.jpg\n1 2 3\n", "line 2: has 3 numbers, expected 4"),
        ("# a.jpg\n1 2 3 4\n1 2 3 4 5\n", "line 3: has 5 numbers"),
        (f"# a.jpg\n1 2 30 40\n1 2 30 40 {NO_POINTS} 0\n", "line 3: has 20 numbers, expected 4 as the lines before"),
        (f"# a.jpg 50 50\n1 2 30 40 {NO_POINTS} 0\n", "line 2: has 20 numbers, expected 4"),
        ("# a.jpg\n1 2 3 x\n", "line 2: is '1 2 3 x', expected numbers"),
        ("# a.jpg\n1 2 nan 4\n", "line 2: is '1 2 nan 4', expected numbers that are finite"),
        ("1 2 3 4\n", "line 1: is '1 2 3 4', expected '# event/name.jpg'"),
        ("# a.jpg 50\n", "line 1: is '# a.jpg 50'"),
        ("# ../a.jpg\n", "line 1: is '# ../a.jpg'"),
        ("# a.jpg\n1 1 20 20\n# a.jpg\n2 2 20 20\n", "line 3: names a.jpg again, first on line 1"),
        ("# a.jpg\n1 1 20 20\n# gone.jpg\n2 2 20 20\n", "1 photographs that .* names are not there .gone.jpg."),
        ("# a.jpg\n1 1 20 20\n# a.png\n2 2 20 20\n", "a.jpg and a.png are one file"),
        ("# a.jpg 90 10\n1 1 20 20\n", "has 50x50 pixels, expected the shape of 90x10"),
        ("", "no line begins with '#'"),
    ],
)
def test_a_label_file_that_is_wrong_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    labels, photographs = labelled(tmp_path, text, {"a.jpg": (50, 50)})
    with pytest.raises(DataError, match=expected):
        open_wider(labels, photographs)


def test_two_photographs_that_get_one_name_are_refused(tmp_path: Path) -> None:
    text = "# a/b_c.jpg\n1 1 20 20\n# a_b/c.jpg\n1 1 20 20\n"
    labels, photographs = labelled(tmp_path, text, {"a/b_c.jpg": (50, 50), "a_b/c.jpg": (50, 50)})
    with pytest.raises(DataError, match=r"a/b_c.jpg and a_b/c.jpg both become a_b_c"):
        write_wider_voc(labels, photographs, tmp_path / "voc", "trainval")
    assert not (tmp_path / "voc").exists()


def test_a_damaged_photograph_is_told_and_the_others_are_written(tmp_path: Path, capsys) -> None:
    labels, photographs = labelled(tmp_path, "# a.jpg\n1 1 20 20\n# b.jpg\n1 1 20 20\n", {"a.jpg": (50, 50)})
    (photographs / "b.jpg").write_bytes(b"\xff\xd8no picture")
    out = tmp_path / "voc"
    assert main(["train-data", "wider-voc", str(labels), str(photographs), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "1 photographs, 1 faces, 0 painted over" in shown.out and "b.jpg: left out" in shown.err
    assert read_list(out, "trainval") == ["a"]
    opened = open_wider(labels, photographs)
    assert opened.keys == ("a.png",)
    assert opened.notes == ("label.txt: a photograph that cannot be read: 1 left out (b.jpg)",)
    assert main(["train-data", "wider-voc", str(labels), str(photographs), "--out", str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("ImageSets/Main/trainval.txt", "a\na\n"), "names a twice"),
        (("ImageSets/Main/trainval.txt", "../a\n"), "by a path"),
        (("ImageSets/Main/trainval.txt", "gone\n"), "gone.jpg: is not there"),
        (("ImageSets/Main/trainval.txt", "\n"), "names no photograph"),
        (("Annotations/a.xml", "<annotation>"), "is no XML"),
        (("Annotations/a.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><x/>"), "defines entities"),
        (("Annotations/a.xml", "<x><object><name>face</name></object></x>"), "bndbox/xmin is None, expected a number"),
        (("Annotations/a.xml", "<x/>"), "no photograph has a box"),
    ],
)
def test_a_voc_folder_that_is_wrong_is_refused(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    labels, photographs = labelled(tmp_path, "# a.jpg\n1 1 20 20\n", {"a.jpg": (50, 50)})
    write_wider_voc(labels, photographs, tmp_path / "voc", "trainval")
    (tmp_path / "voc" / change[0]).write_text(change[1], encoding="utf-8")
    with pytest.raises(DataError, match=expected):
        open_voc(tmp_path / "voc")


@pytest.mark.assets
def test_the_training_photographs_at_hand_are_a_set(assets: Path) -> None:
    """999 photographs, 36,691 lines of which eight have no area; files of 640 pixels, boxes of 1,024."""
    opened = open_wider(assets / "widerface_train/train.txt", assets / "widerface_train/train")
    assert (len(opened), sum(map(len, opened.faces))) == (999, 36683)
    assert [note.partition(" left out")[0] for note in opened.notes] == ["train.txt: a box of no area: 8"]
    for index in (0, 500, 998):
        height, width = opened.picture(index).shape[:2]
        assert max(height, width) == 640
        assert (opened.faces[index].boxes <= [width, height, width, height]).all()
