# SPDX-License-Identifier: Apache-2.0
"""train.rec and train.idx, written byte by byte; whatever is wrong with them is a DataError, never another one."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_sets import MAGIC, encoded, face, header, part, record, recordio_folder, write_records

from facepipe.errors import DataError
from facepipe.train.data import open_set
from facepipe.train.data.recordio import RecordFile

LABELS = [1, 0, 1]


def damaged(root: Path, place: int, content: bytes) -> Path:
    """Other bytes at a place of train.rec."""
    whole = bytearray((root / "train.rec").read_bytes())
    whole[place : place + len(content)] = content
    (root / "train.rec").write_bytes(bytes(whole))
    return root


def offsets(root: Path) -> list[int]:
    return [int(line.split("\t")[1]) for line in (root / "train.idx").read_text().splitlines()]


def test_keys_are_the_records_numbers_and_records_of_people_are_no_pictures(tmp_path: Path) -> None:
    faces = open_set(recordio_folder(tmp_path / "set", LABELS))
    assert list(faces.keys) == ["1", "2", "3"]
    assert faces.labels.tolist() == LABELS
    assert list(faces.classes) == ["0", "1"]
    assert all(np.array_equal(faces.picture(place), face(place)) for place in range(3))
    assert open_set(tmp_path / "set" / "train.rec").digest == faces.digest


def test_a_set_that_mxnet_wrote_is_read_as_mxnet_reads_it() -> None:
    """`mxnet/` is by `MXIndexedRecordIO` and `pack` of MXNet 1.9.1: `face(0)` to `face(3)` as PNG, the second with the
    magic number behind it three times, the third with two labels; the lengths are those that its reader gives."""
    faces = open_set(Path(__file__).parent / "mxnet")
    assert list(faces.keys) == ["1", "2", "3", "4"] and list(faces.classes) == ["0", "1"]
    assert faces.labels.tolist() == [0, 0, 1, 1]
    assert [len(faces.content(place)) for place in range(4)] == [7457, 7448, 7885, 7311]
    assert faces.content(1).endswith(MAGIC + b"tail" + MAGIC + MAGIC)
    for place in range(4):
        assert np.abs(faces.picture(place).astype(int) - face(place)).max() <= 1


def test_the_sets_of_these_tests_are_written_as_mxnet_writes_them(tmp_path: Path) -> None:
    theirs = open_set(Path(__file__).parent / "mxnet")
    labels = [0.0, 0.0, (1.0, 9.0), 1.0]
    contents = [header(label, number) + theirs.content(number - 1) for number, label in enumerate(labels, 1)]
    people = [header((1.0, 3.0), 5), header((3.0, 5.0), 6)]
    root = write_records(tmp_path / "set", [header((5.0, 7.0), 0), *contents, *people])
    for name in ("train.rec", "train.idx"):
        assert (root / name).read_bytes() == (Path(__file__).parent / "mxnet" / name).read_bytes()


def test_where_record_0_tells_nothing_all_records_are_pictures(tmp_path: Path) -> None:
    contents = [header(label, number) + encoded(face(number)) for number, label in enumerate(LABELS)]
    faces = open_set(write_records(tmp_path / "set", contents))
    assert list(faces.keys) == ["0", "1", "2"]
    assert faces.labels.tolist() == LABELS
    assert np.array_equal(faces.picture(0), face(0))


def test_the_index_may_name_the_records_in_any_order(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    lines = (root / "train.idx").read_text().splitlines(keepends=True)
    (root / "train.idx").write_text("".join(reversed(lines)))
    faces = open_set(root)
    assert [np.array_equal(faces.picture(place), face(place)) for place in range(3)] == [True] * 3


def test_a_record_that_holds_the_magic_number_comes_in_parts_and_is_joined(tmp_path: Path) -> None:
    # Behind the end of a picture anything may stand; 28 bytes of header and label, so a multiple of four lines up.
    picture = encoded(face(0))
    picture += bytes(-len(picture) % 4) + MAGIC + b"tail" + MAGIC + MAGIC + b"end"
    root = recordio_folder(tmp_path / "set", [0, 0], pictures=[picture, picture])
    content = open_set(root).content
    assert content(0) == picture and content(1) == picture
    assert (root / "train.rec").read_bytes().count(struct.pack("<I", 2 << 29)) >= 2  # a middle part of no bytes


@pytest.mark.parametrize("kinds", [(2,), (3,), (1, 0), (1, 1), (1, 2, 0), (5,)])
def test_parts_that_are_no_record_together_are_refused(tmp_path: Path, kinds: tuple[int, ...]) -> None:
    content = header(0.0, 1)
    (tmp_path / "a.rec").write_bytes(b"".join(part(content, kind) for kind in kinds) + part(content, 3))
    with pytest.raises(DataError, match=f"a part of kind {kinds[-1]}, expected"):
        RecordFile(tmp_path / "a.rec").content(0, "record")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from([MAGIC, b"abcd", b"\0\0\0\0", MAGIC[:2], b"xyz"]), max_size=12))
def test_any_content_comes_back_as_it_was(tmp_path: Path, words: list[bytes]) -> None:
    content = header(0.0, 1) + b"".join(words)
    (tmp_path / "a.rec").write_bytes(b"    " + record(content) + part(b"next"))
    assert RecordFile(tmp_path / "a.rec").content(4, "record") == content


@pytest.mark.parametrize(
    ("label", "classes", "told"),
    [
        (float("nan"), None, "the label is nan"),
        (float("inf"), None, "the label is inf"),
        (0.5, None, "the label is 0.5, expected a person's number"),
        (-1.0, None, "the label is -1, expected 0 to"),
        (2.0**24, None, "the label is 16777216, expected 0 to 16777215"),
        (2.0, 2, r"the label is 2, expected 0 to 1 \(2 people are told\)"),
    ],
)
def test_a_label_outside_the_range_is_refused(tmp_path: Path, label: float, classes: int | None, told: str) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    damaged(root, offsets(root)[3] + 8 + 4, struct.pack("<f", label))
    with pytest.raises(DataError, match=f"record 3: {told}"):
        open_set(root, classes=classes)


def test_property_beside_the_records_tells_how_many_people_there_are(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    (root / "property").write_text("9,112,112\n")
    assert len(open_set(root).classes) == 9
    (root / "property").write_text("1,112,112\n")
    with pytest.raises(DataError, match="the label is 1, expected 0 to 0"):
        open_set(root)
    (root / "property").write_text("many")
    with pytest.raises(DataError, match="'many', expected 'classes,height,width'"):
        open_set(root)


def test_another_magic_number_is_refused_by_the_record_that_has_it(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    damaged(root, offsets(root)[2], b"RIFF")
    with pytest.raises(DataError, match=r"record 2: begins with 0x46464952 at .*, expected 0xced7230a"):
        open_set(root)


def test_a_file_that_is_cut_before_a_record_begins_is_refused(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    whole = (root / "train.rec").read_bytes()
    (root / "train.rec").write_bytes(whole[: offsets(root)[3] + 4])
    with pytest.raises(DataError, match=r"record 3: begins at .* ends at") as told:
        open_set(root)
    assert told.value.attempt == "copy it again, the two files together."


def test_a_record_that_is_cut_is_a_damaged_sample_and_the_others_are_whole(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    whole = (root / "train.rec").read_bytes()
    (root / "train.rec").write_bytes(whole[: offsets(root)[3] + 60])
    faces = open_set(root)
    assert np.array_equal(faces.picture(1), face(1))
    with pytest.raises(DataError, match=r"record 3: .* expected a whole record"):
        faces.picture(2)


def test_a_length_that_no_picture_has_is_not_read(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    with (root / "train.rec").open("r+b") as file:
        file.truncate(1 << 29)  # sparse: as long as a length may be
    damaged_length = struct.pack("<I", (1 << 29) - 1)
    with (root / "train.rec").open("r+b") as file:
        file.seek(offsets(root)[3] + 4)
        file.write(damaged_length)
    with pytest.raises(DataError, match="record 3: more than 16,777,216 bytes"):
        open_set(root).picture(2)


def test_more_labels_than_the_record_holds_are_refused(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    damaged(root, offsets(root)[3] + 8, struct.pack("<I", 1 << 31))
    with pytest.raises(DataError, match="record 3: tells of 2,147,483,648 labels"):
        open_set(root)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ("", "it is empty"),
        ("0 0\n", "line 1: .*expected 'number<TAB>offset'"),
        ("0\t-4\n", "line 1: "),
        ("0\t0\n1\t40\n1\t80\n", "record 1 stands there twice"),
        ("1\t0\n", "no record 0 in it"),
        ("0\t0\n1\t40\n3\t80\n4\t120\n5\t160\n", "record 2 is absent"),
        ("0\t0\n", "pictures end before 4, expected 2 to 1"),
        ("0\t" + "9" * 60 + "\n", "line 1"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, index: str, told: str) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    (root / "train.idx").write_text(index)
    with pytest.raises(DataError, match=told):
        open_set(root)


def test_an_index_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = recordio_folder(tmp_path / "set", LABELS)
    (root / "train.idx").unlink()
    with pytest.raises(DataError, match=r"train.idx: cannot be read .*, expected the index of train.rec"):
        open_set(root)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), content=st.binary(min_size=1, max_size=8))
def test_whatever_stands_in_the_file_is_refused_or_read(tmp_path: Path, place: int, content: bytes) -> None:
    root = damaged(recordio_folder(tmp_path / "set", LABELS), place, content)
    try:
        faces = open_set(root)
        for index in range(len(faces)):
            assert faces.picture(index).shape == (112, 112, 3)
    except DataError as error:
        assert str(tmp_path) in str(error)
