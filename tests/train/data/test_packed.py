# SPDX-License-Identifier: Apache-2.0
"""A packed set: damage is left out and told when it is packed, and found out when it comes later."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from made_sets import encoded, face, labelled_folder, people_folder

from facepipe.errors import BackendError, DataError, StageError
from facepipe.train.data import open_set
from facepipe.train.data.packed import pack

PEOPLE = {"Ann": 2, "Bob": 2, "Cem": 1}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return people_folder(tmp_path / "people", PEOPLE)


@pytest.fixture
def packed(source: Path, tmp_path: Path) -> Path:
    pack(open_set(source), tmp_path / "set.faces")
    return tmp_path / "set.faces"


def changed(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content  # in pages that are used no more too
    path.write_bytes(content.replace(old, new))


def test_a_damaged_sample_is_left_out_counted_and_named(source: Path, tmp_path: Path) -> None:
    (source / "Bob" / "00.png").write_bytes(encoded(face(2))[:-30])
    (source / "Ann" / "01.png").write_bytes(b"no picture")
    steps: list[int] = []
    told = pack(open_set(source), tmp_path / "set.faces", progress=steps.append)
    assert (told.faces, told.people, sum(steps)) == (3, 3, 5)
    assert [(sample.key, sample.index, sample.label) for sample, _ in told.left_out] == [
        ("Ann/01.png", 1, 0),
        ("Bob/00.png", 2, 1),
    ]
    assert all(reason for _, reason in told.left_out)
    faces = open_set(tmp_path / "set.faces")
    assert list(faces.keys) == ["Ann/00.png", "Bob/01.png", "Cem/00.png"]
    assert faces.labels.tolist() == [0, 1, 2]
    assert np.array_equal(faces.picture(1), face(3))
    assert faces.notes[-1].startswith("2 damaged pictures were left out when it was packed (first: Ann/01.png: ")


def test_a_set_without_a_whole_picture_is_refused_and_nothing_is_left(source: Path, tmp_path: Path) -> None:
    for path in source.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"none of its 5 pictures is whole \(first: "):
        pack(open_set(source), tmp_path / "set.faces")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["people"]


def test_a_record_whose_checksum_fails_is_named_and_the_others_are_read(packed: Path) -> None:
    content = encoded(face(3))
    changed(packed, content[:-20], content[:-21] + b"!")
    faces = open_set(packed)
    assert np.array_equal(faces.picture(2), face(2))
    with pytest.raises(DataError, match=r"face 3 \('Bob/01.png'\): its checksum is another") as told:
        faces.picture(3)
    assert told.value.attempt == "`facepipe train-data pack` again."


def test_an_index_that_gives_another_faces_record_is_found_out(packed: Path) -> None:
    with lmdb.open(str(packed), subdir=False, lock=False) as database, database.begin(write=True) as entries:
        entries.put(struct.pack(">Q", 1), entries.get(struct.pack(">Q", 2)))
    faces = open_set(packed)
    assert np.array_equal(faces.picture(2), face(2))
    with pytest.raises(DataError, match=r"face 1 \('Bob/00.png'\): its checksum is another"):
        faces.picture(1)


def test_an_entry_that_is_larger_than_any_face_is_not_read(packed: Path) -> None:
    opened = lmdb.open(str(packed), subdir=False, lock=False, map_size=1 << 26)
    with opened as database, database.begin(write=True) as entries:
        entries.put(struct.pack(">Q", 1), bytes(1 << 25))
    with pytest.raises(DataError, match=r"face 1: is not there"):
        open_set(packed).picture(1)


@pytest.mark.parametrize(("old", "new"), [(b'"Cem"', b'"Cat"'), (b'"side": 112', b'"side": 113')])
def test_a_head_that_was_changed_is_refused(packed: Path, old: bytes, new: bytes) -> None:
    changed(packed, old, new)
    with pytest.raises(DataError, match="damaged"):
        open_set(packed)


@pytest.mark.parametrize("bytes_left", [0, 10, 4096, 8192, 20_000])
def test_a_file_that_is_cut_is_refused_and_ends_no_process(packed: Path, bytes_left: int) -> None:
    packed.write_bytes(packed.read_bytes()[:bytes_left])
    with pytest.raises(DataError, match=r"expected a packed set|it is cut"):
        open_set(packed)


def test_another_database_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "other.faces"), subdir=False, lock=False) as other, other.begin(write=True) as put:
        put.put(b"a", b"b")
    with pytest.raises(DataError, match="no 'set' in it"):
        open_set(tmp_path / "other.faces")


def test_what_is_packed_is_there_whole_or_not_at_all(source: Path, tmp_path: Path) -> None:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(open_set(source), tmp_path / "set.faces", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["people"]


def test_a_file_of_somebody_elses_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "set.faces").write_bytes(b"mine")
    with pytest.raises(StageError):
        pack(open_set(source), tmp_path / "set.faces")
    assert (tmp_path / "set.faces").read_bytes() == b"mine"
    pack(open_set(source), tmp_path / "set.faces", overwrite=True)
    assert len(open_set(tmp_path / "set.faces")) == 5


def test_a_name_by_which_it_would_not_be_known_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a packed set's name ends in '.faces'"):
        pack(open_set(source), tmp_path / "set.lmdb")


def test_the_digest_is_of_the_content_and_not_of_the_files(source: Path, tmp_path: Path) -> None:
    first = pack(open_set(source), tmp_path / "one.faces").digest
    os.utime(source / "Ann" / "00.png", (1, 1))
    assert pack(open_set(source), tmp_path / "two.faces").digest == first
    (source / "Ann" / "00.png").write_bytes(encoded(face(99)))
    assert pack(open_set(source), tmp_path / "three.faces").digest != first


def test_the_digest_tells_how_many_people_there_are(tmp_path: Path) -> None:
    root = labelled_folder(tmp_path / "port", [0, 1])
    first = pack(open_set(root), tmp_path / "two.faces").digest
    assert pack(open_set(root, classes=3), tmp_path / "three.faces").digest != first


def test_two_sets_of_one_file_are_read_side_by_side_and_one_that_was_replaced_is_refused(packed: Path) -> None:
    one, two = open_set(packed), open_set(packed)
    assert np.array_equal(one.picture(0), two.picture(0))
    content = packed.read_bytes()
    packed.unlink()
    packed.write_bytes(content)
    with pytest.raises(DataError, match="was replaced while it is open here"):
        open_set(packed)
    assert np.array_equal(one.picture(4), face(4))  # what is open goes on
    del one, two
    assert len(open_set(packed)) == 5


def test_without_lmdb_other_forms_are_read_and_packing_says_what_to_install(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    faces = open_set(source)
    with pytest.raises(BackendError, match="needs the module 'lmdb'") as told:
        pack(faces, tmp_path / "set.faces")
    assert told.value.attempt == "pip install 'facepipe[train]'."


def test_a_map_that_is_too_small_grows(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facepipe.train.data.packed._FIRST_SIZE", 1 << 15)
    for name, count in {"Dan": 30, "Eva": 30}.items():
        people_folder(source, {name: count})
    pack(open_set(source), tmp_path / "set.faces")
    faces = open_set(tmp_path / "set.faces")
    assert [faces.picture(place).shape for place in range(65)] == [(112, 112, 3)] * 65


READ = """
import sys, pathlib
from facepipe.train.data import open_set
print(open_set(pathlib.Path(sys.argv[1])).picture(0).sum())
"""


@pytest.mark.process
def test_a_set_is_read_where_nobody_may_write(packed: Path) -> None:
    packed.chmod(0o444)
    packed.parent.chmod(0o555)
    try:
        command = [sys.executable, "-c", READ, str(packed)]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        packed.parent.chmod(0o755)
    assert int(told.stdout) == int(face(0).sum())
    assert sorted(path.name for path in packed.parent.iterdir()) == ["people", "set.faces"]
