# SPDX-License-Identifier: Apache-2.0
"""One set in every form: the same labels, the same pictures; and what is wrong with a set is named."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from made_sets import encoded, face, labelled_folder, people_folder, recordio_folder

from facepipe.datasets.images import Decoded, decode_or_reason
from facepipe.errors import DataError
from facepipe.results import Unread
from facepipe.train.data import FaceSet, open_set
from facepipe.train.data.packed import pack

LABELS = [0, 0, 1, 1, 2]


def folders(root: Path) -> Path:
    return people_folder(root, {"Ann": 2, "Bob": 2, "Cem": 1})


def labelled(root: Path) -> Path:
    return labelled_folder(root, LABELS)


def recordio(root: Path) -> Path:
    return recordio_folder(root, LABELS)


FORMS = (folders, labelled, recordio)


def packed_of(source: Path, out: Path) -> Path:
    pack(open_set(source), out)
    return out


def name_of(form: object) -> str:
    return f"packed-{form[0].__name__}" if isinstance(form, tuple) else form.__name__  # type: ignore[attr-defined]


@pytest.fixture(params=[*FORMS, *[(form, "packed") for form in FORMS]], ids=name_of)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if isinstance(request.param, tuple):
        return packed_of(request.param[0](tmp_path / "source"), tmp_path / "set.faces")
    return request.param(tmp_path / "set")


def pictures(faces: FaceSet) -> list[bytes]:
    return [faces.picture(index).tobytes() for index in range(len(faces))]


def picture_in_another_process(faces: FaceSet, index: int) -> bytes:
    return faces.picture(index).tobytes()


def test_a_set_has_the_same_labels_and_pictures_in_every_form(made: Path) -> None:
    faces = open_set(made)
    assert (len(faces), faces.side, len(faces.classes)) == (5, 112, 3)
    assert faces.labels.dtype == np.int64 and faces.labels.tolist() == LABELS
    assert pictures(faces) == [face(seed).tobytes() for seed in range(5)]
    assert len(set(faces.keys)) == len(faces.keys) == 5
    assert faces.sample(3).key == faces.keys[3] and faces.sample(3).label == 1
    assert list(faces.keys[1:3]) == [faces.keys[1], faces.keys[2]]


@pytest.mark.parametrize("form", FORMS)
def test_a_packed_set_has_the_keys_and_people_of_what_it_was_made_from(form, tmp_path: Path) -> None:
    source = open_set(form(tmp_path / "set"))
    packed = open_set(packed_of(tmp_path / "set", tmp_path / "set.faces"))
    assert list(packed.keys) == list(source.keys)
    assert list(packed.classes) == list(source.classes)


def test_a_set_crosses_to_another_process_as_its_path(made: Path) -> None:
    faces = open_set(made)
    assert len(pickle.dumps(faces)) < 1000
    again = pickle.loads(pickle.dumps(faces))
    assert (again.digest, list(again.keys)) == (faces.digest, list(faces.keys))
    assert pictures(again) == pictures(faces)


@pytest.mark.process
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_that_were_forked_or_spawned_read_the_same_pictures(tmp_path: Path, start: str) -> None:
    sets = [open_set(form(tmp_path / form.__name__)) for form in FORMS]
    sets.append(open_set(packed_of(tmp_path / "folders", tmp_path / "set.faces")))
    assert all(faces.picture(0).any() for faces in sets)  # they are open here already
    asked = [(faces, index) for faces in sets for index in range(5)]
    with multiprocessing.get_context(start).Pool(2) as pool:
        answers = pool.starmap(picture_in_another_process, asked)
    assert answers == [faces.picture(index).tobytes() for faces, index in asked]


def test_the_digest_is_the_same_wherever_the_set_is_mounted_and_tells_a_change(made: Path, tmp_path: Path) -> None:
    digest = open_set(made).digest
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = Path(shutil.move(made, elsewhere / made.name))
    assert open_set(moved).digest == digest
    if moved.is_dir():
        first = next(path for path in sorted(moved.rglob("*")) if path.is_file() and path.suffix != ".idx")
        os.utime(first, (1, 1))
        assert open_set(moved).digest != digest


def test_a_set_that_was_changed_meanwhile_is_refused_where_it_is_opened_again(tmp_path: Path) -> None:
    sent = pickle.dumps(open_set(folders(tmp_path / "set")))
    (tmp_path / "set" / "Ann" / "02.png").write_bytes(encoded(face(9)))
    with pytest.raises(DataError, match="is another set than it was"):
        pickle.loads(sent)


def test_a_damaged_picture_is_an_error_of_that_picture_alone(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    content = (root / "Bob" / "01.png").read_bytes()
    (root / "Bob" / "01.png").write_bytes(content[:-40])
    (root / "Cem" / "00.png").write_bytes(b"")
    (root / "Ann" / "01.png").write_bytes(encoded(face(1, 100)))
    faces = open_set(root)
    assert np.array_equal(faces.picture(0), face(0)) and np.array_equal(faces.picture(2), face(2))
    for index, told in (
        (1, r"Ann/01.png: has 100x100 pixels, expected 112x112"),
        (3, "Bob/01.png: "),
        (4, "Cem/00.png"),
    ):
        with pytest.raises(DataError, match=told):
            faces.picture(index)


def test_a_picture_of_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folders(tmp_path / "set")
    (root / "Ann" / "00.png").write_bytes(encoded(np.zeros((9000, 9000), np.bool_)))
    answers: list[Decoded | Unread] = []

    def watched(content: bytes, max_pixels: int) -> Decoded | Unread:
        answers.append(decode_or_reason(content, max_pixels))
        return answers[-1]

    monkeypatch.setattr("facepipe.train.data.face_set.decode_or_reason", watched)
    with pytest.raises(DataError, match=r"Ann/00.png: has 9000x9000 pixels, expected 112x112"):
        open_set(root).picture(0)
    assert [type(answer) for answer in answers] == [Unread]


def test_people_with_one_photograph_are_kept_and_told_and_folders_without_any_are_told(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    (root / "Eve").mkdir()
    (root / "Eve" / "notes.txt").write_text("none yet")
    faces = open_set(root)
    assert faces.classes == ("Ann", "Bob", "Cem")
    alone, empty = faces.notes
    assert alone.startswith("1 person with one photograph alone, kept") and "(Cem)" in alone
    assert empty == "1 folder holds no photograph, left out (Eve)"


def test_a_number_without_any_photograph_is_told_and_keeps_its_place(tmp_path: Path) -> None:
    faces = open_set(labelled_folder(tmp_path / "set", [0, 0, 3, 3]))
    assert len(faces.classes) == 4
    assert faces.notes == ("2 people without any photograph, kept: the number has a place among the classes (1, 2)",)


@pytest.mark.parametrize("other", ["ANN", unicodedata.normalize("NFD", "Zoë")], ids=["case", "accent"])
def test_two_folders_of_one_name_are_refused_by_name(tmp_path: Path, other: str) -> None:
    root = people_folder(tmp_path / "set", {"Ann": 1, unicodedata.normalize("NFC", "Zoë"): 1, other: 1})
    with pytest.raises(DataError, match="differ in case or in how an accent is written alone") as told:
        open_set(root)
    assert f"'{other}'" in told.value.what
    assert told.value.attempt is not None


def test_pictures_in_nobodys_folder_are_refused(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    (root / "loose.png").write_bytes(encoded(face(7)))
    with pytest.raises(DataError, match=r"1 pictures lie in no person's folder \(first: loose.png\)"):
        open_set(root)


def test_photographs_that_are_no_aligned_faces_are_refused_with_the_command_that_aligns_them(tmp_path: Path) -> None:
    root = people_folder(tmp_path / "set", {"Ann": 3, "Bob": 3}, side=250)
    with pytest.raises(DataError, match="have 250x250 pixels, expected aligned faces of 112x112") as told:
        open_set(root)
    assert told.value.attempt == f"`facepipe train-data align {root} --out FOLDER`."
    assert len(open_set(root, side=250)) == 6


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such set, expected a folder of people"):
        open_set(tmp_path / "nothing")
    (tmp_path / "film.mp4").write_bytes(b"film")
    with pytest.raises(DataError, match="is a file, expected a folder of people"):
        open_set(tmp_path / "film.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photograph in it"):
        open_set(tmp_path / "empty")
