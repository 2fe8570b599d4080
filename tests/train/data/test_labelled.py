# SPDX-License-Identifier: Apache-2.0
"""label.txt of the Paddle port: records and plain pictures; labels are held against their range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_sets import encoded, face, labelled_folder

from facepipe.errors import DataError
from facepipe.train.data import open_set


def test_lines_may_name_plain_pictures_beside_records(tmp_path: Path) -> None:
    root = labelled_folder(tmp_path / "set", [0, 1])
    (root / "images" / "2.jpg").write_bytes(encoded(face(2), "JPEG"))
    (root / "label.txt").write_text("images/0.bin\t0\nimages/1.bin\t1\nimages/2.jpg\t1\n")
    faces = open_set(root / "label.txt")
    assert faces.keys == ("images/0.bin", "images/1.bin", "images/2.jpg")
    assert faces.labels.tolist() == [0, 1, 1]
    assert np.abs(faces.picture(2).astype(int) - face(2)).mean() < 8  # JPEG
    assert np.array_equal(faces.picture(1), face(1))


@pytest.mark.parametrize(
    ("label", "classes", "told"),
    [
        ("2", 2, r"images/1.bin: the label is 2, expected 0 to 1 \(2 people are told\)"),
        ("16777216", None, "the label is 16777216, expected 0 to 16777215"),
        ("-1", None, "the label is '-1', expected a person's number"),
        ("1.5", None, "the label is '1.5', expected a person's number"),
        ("9" * 5000, None, "expected a person's number"),
        ("٣", None, "expected a person's number"),
    ],
)
def test_a_label_outside_the_range_is_refused(tmp_path: Path, label: str, classes: int | None, told: str) -> None:
    root = labelled_folder(tmp_path / "set", [0, 1])
    (root / "label.txt").write_text(f"images/0.bin\t0\nimages/1.bin\t{label}\n")
    with pytest.raises(DataError, match=told):
        open_set(root, classes=classes)


def test_a_told_number_of_people_counts(tmp_path: Path) -> None:
    assert len(open_set(labelled_folder(tmp_path / "set", [0, 1]), classes=7).classes) == 7


def test_a_picture_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    root = labelled_folder(tmp_path / "set", [0, 1])
    (root / "label.txt").write_text("images/0.bin\t0\n./images/0.bin\t1\n")
    with pytest.raises(DataError, match="stands there twice"):
        open_set(root)


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = labelled_folder(tmp_path / "set", [0, 1])
    (root / "images" / "1.bin").unlink()
    with pytest.raises(DataError, match=r"images/1.bin: cannot be read"):
        open_set(root)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content[:-10], "bytes follow the key"),
        (lambda content: content[:3], "3 bytes, expected a record"),
        (lambda content: content.replace(b"\x8e", b"c", 1).replace(b"\x80\x04\x95", b"cos\nsystem\n", 1), "1.bin: "),
    ],
    ids=["cut", "nothing", "code"],
)
def test_a_damaged_record_is_an_error_of_that_record_alone(tmp_path: Path, damage, told: str) -> None:
    root = labelled_folder(tmp_path / "set", [0, 1])
    path = root / "images" / "1.bin"
    path.write_bytes(damage(path.read_bytes()))
    faces = open_set(root)
    assert np.array_equal(faces.picture(0), face(0))
    with pytest.raises(DataError, match=told):
        faces.picture(1)
