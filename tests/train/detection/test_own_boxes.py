# SPDX-License-Identifier: Apache-2.0
"""One's own boxes, as YOLO's and COCO's tools leave them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facepipe.errors import DataError
from facepipe.train.detection.own_boxes import open_coco, open_yolo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images/a.png", "images/sub/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100), "white").save(tmp_path / name)
    return tmp_path


def coco(**changes: Any) -> dict[str, Any]:
    body = {
        "images": [{"id": 7, "file_name": "a.png", "width": 400, "height": 200}, {"id": 8, "file_name": "sub/b.png"}],
        "categories": [{"id": 3, "name": "face"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [40, 20, 80, 60]},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5]},
            {"id": 3, "image_id": 8, "category_id": 3, "bbox": [4, 2, 8, 6]},
            {"id": 4, "image_id": 8, "category_id": 3, "bbox": [0, 0, 99, 99], "iscrowd": 1},
            {"id": 5, "image_id": 8, "category_id": 3, "bbox": [4, 2, -8, 6]},
        ],
    }
    return body | changes


def written(folder: Path, body: object) -> Path:
    path = folder / "faces.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def test_yolo_has_shares_about_the_centre_and_a_photograph_without_a_text_has_no_face(folder: Path) -> None:
    (folder / "labels").mkdir()
    (folder / "labels/a.txt").write_text(
        "0 0.5 0.5 0.2 0.4\n1 .1 .1 .1 .1\n0 .95 .5 .2 .2\n0 .5 .5 0 .1\n", encoding="utf-8"
    )
    opened = open_yolo(folder)
    assert opened.keys == ("a.png", "sub/b.png")
    assert opened.faces[0].boxes.tolist() == [[80, 30, 120, 70], [170, 40, 200, 60]]
    assert not opened.faces[0].known.any() and len(opened.faces[1]) == 0
    assert opened.notes == ("labels: a box of no area: 1 left out (a.txt, face 3)",)
    np.testing.assert_allclose(open_yolo(folder, face=1).faces[0].boxes, [[10, 5, 30, 15]])
    again = pickle.loads(pickle.dumps(opened))
    assert again.digest == opened.digest and again.picture(0).shape == (100, 200, 3)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 .5 .5 .1", "line 1: is '0 .5 .5 .1', expected 'class"),
        ("face .5 .5 .1 .1", "expected 'class"),
        ("0 .5 .5 nan .1", "expected four numbers"),
        ("0 100 50 20 20", "expected shares"),
        ("", "no photograph has a box"),
    ],
)
def test_yolo_lines_that_are_wrong_are_named(folder: Path, line: str, expected: str) -> None:
    (folder / "images/a.txt").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=expected):
        open_yolo(folder)


def test_yolo_without_any_text_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no photograph of .* has a text here"):
        open_yolo(folder)


def test_coco_has_pixels_of_the_stated_size_and_its_crowds_are_no_faces(folder: Path) -> None:
    opened = open_coco(written(folder, coco()), folder / "images")
    assert opened.keys == ("a.png", "sub/b.png")
    assert [faces.boxes.tolist() for faces in opened.faces] == [[[20, 10, 60, 40]], [[4, 2, 12, 8]]]
    assert opened.notes == ("faces.json: a box of negative size: 1 left out (sub/b.png, face 2)",)
    assert open_coco(written(folder, coco()), folder / "images", face="dog").faces[0].boxes.tolist() == [
        [0.5, 0.5, 3, 3]
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": None}, "has another form"),
        ({"images": [{"id": 7, "file_name": "a.png", "width": "wide", "height": 3}]}, "has another form"),
        ({"images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "a.png"}]}, "a photograph or an id twice"),
        ({"images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "gone.png"}]}, "gone.png is not there"),
        ({"images": [{"id": 7, "file_name": "../images/a.png"}]}, "belongs to no photograph"),
        ({"images": [{"id": 7, "file_name": "../images/a.png"}], "annotations": []}, "a.png is not there"),
        ({"images": [{"id": 7, "file_name": "a.png"}]}, "annotation 3: belongs to no photograph"),
        ({"categories": [{"id": 3, "name": "Face"}]}, "has no category 'face' .Face.*did you mean 'Face'"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}]}, "expected four numbers"),
        ({"annotations": [{"image_id": 7, "category_id": 3}]}, "its box is None"),
    ],
)
def test_coco_that_is_wrong_is_refused(folder: Path, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        open_coco(written(folder, coco(**changes)), folder / "images")
