# SPDX-License-Identifier: Apache-2.0
"""faces.jsonl and embeddings.npy come back as they were written, as streams, and wrong files are named by line."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from facepipe.errors import DataError
from facepipe.results import Face, FaceLine, Killed, NoFace, UncutFace, Unread
from facepipe.store.run_faces import (
    Written,
    read_embeddings,
    read_faces,
    read_main_faces,
    write_embeddings,
    write_faces,
)


def _face(seed: int, landmarks: int = 5, number: int = 0) -> Face:
    rng = np.random.default_rng(seed)
    box, points = rng.uniform(-20, 270, 4), rng.uniform(0, 250, (landmarks, 2))
    score, sharpness = (float(np.float32(value)) for value in (rng.uniform(), rng.uniform(0, 9000)))
    return Face(box.astype(np.float32), score, points.astype(np.float32), number, sharpness)


def _records() -> list[FaceLine]:
    return [
        FaceLine("A b/ä 1.jpg", _face(1)),
        FaceLine("A b/猫.png", NoFace("no face found")),
        FaceLine("B/1.jpg", _face(2, number=4)),
        FaceLine('C/"line\nbreak\u2028.jpg', _face(3, landmarks=0)),
    ]


def test_every_bit_comes_back(tmp_path):
    written = write_faces(tmp_path / "faces.jsonl", _records())
    lines = list(read_faces(tmp_path / "faces.jsonl"))
    assert (written.images, written.faces) == (4, 3)
    assert [line.key for line in lines] == [record.key for record in _records()]
    assert [line.row for line in lines] == [0, None, 1, 2]
    assert lines[1].outcome == NoFace("no face found")
    for line, record in zip(lines, _records(), strict=True):
        if isinstance(line.outcome, Face):
            for name in ("box", "landmarks"):
                one, other = getattr(line.outcome, name), getattr(record.outcome, name)
                assert one.dtype == np.float32 and one.shape == other.shape and one.tobytes() == other.tobytes()
            assert line.outcome.score == record.outcome.score
            assert (line.outcome.number, line.outcome.sharpness) == (record.outcome.number, record.outcome.sharpness)


def test_a_photograph_has_a_line_for_each_face_and_one_that_was_not_cut_has_no_row(tmp_path):
    uncut = UncutFace(Face(np.arange(4, dtype=np.float32), 0.5, np.zeros((0, 2), np.float32), 3), "covers no pixel")
    records = [
        FaceLine("a.jpg", _face(1)),
        FaceLine("a.jpg", _face(2, number=1)),
        FaceLine("a.jpg", uncut),
        FaceLine("b.jpg", UncutFace(uncut.face, "is elsewhere")),
        FaceLine("c.jpg", NoFace("no face found")),
        FaceLine("d.jpg", Unread("is empty")),
        FaceLine("e.jpg", Killed("ended")),
        FaceLine("f.jpg", _face(3, number=2), group="person-0001", weak="has a side of 12 pixels"),
    ]
    written = write_faces(tmp_path / "f", records)
    assert written == Written(images=6, faces=3, unread=1, faceless=2)
    lines = list(read_faces(tmp_path / "f"))
    assert [line.row for line in lines] == [0, 1, None, None, None, None, None, 2]
    assert [line.key for line in lines] == [record.key for record in records]
    assert isinstance(lines[2].outcome, UncutFace)
    assert (lines[2].outcome.reason, lines[2].outcome.face.number) == ("covers no pixel", 3)
    assert lines[2].outcome.face.box.tolist() == [0, 1, 2, 3]
    assert (lines[7].group, lines[7].weak) == ("person-0001", "has a side of 12 pixels")
    with pytest.raises(
        DataError, match=r"f: a\.jpg has several lines, expected a run of one face .*without --faces all"
    ):
        list(read_main_faces(tmp_path / "f"))


def test_faces_of_a_photograph_are_in_order_and_alone(tmp_path):
    first, second, nobody = FaceLine("a", _face(1)), FaceLine("a", _face(2, number=1)), FaceLine("a", NoFace("none"))
    for wrong, message in (
        ([second, first], "face 0 of 'a' comes after face 1, expected sorted faces, each once"),
        ([first, first], "face 0 of 'a' comes after face 0, expected sorted faces, each once"),
        ([first, nobody], "'a' comes after 'a', expected sorted keys, each once"),
        ([nobody, first], "'a' comes after 'a', expected sorted keys, each once"),
    ):
        with pytest.raises(DataError, match=message):
            write_faces(tmp_path / "f", wrong)


def test_lines_have_the_documented_fields_and_few_digits(tmp_path):
    face = Face(np.array([1, 2.5, 84.1, 90], np.float32), 0.999, np.full((5, 2), 0.1, np.float32))
    write_faces(tmp_path / "f", [FaceLine("ä.jpg", face), FaceLine("ö.jpg", NoFace("is empty"))])
    assert (tmp_path / "f").read_text(encoding="utf-8").splitlines() == [
        '{"key": "ä.jpg", "face": 0, "box": [1.0, 2.5, 84.1, 90.0], "score": 0.999, "landmarks": '
        "[[0.1, 0.1], [0.1, 0.1], [0.1, 0.1], [0.1, 0.1], [0.1, 0.1]], " + '"row": 0}',
        '{"key": "ö.jpg", "reason": "is empty"}',
    ]


def test_a_run_without_embeddings_has_no_rows(tmp_path):
    write_faces(tmp_path / "f", _records(), with_rows=False)
    assert [line.row for line in read_faces(tmp_path / "f")] == [None] * 4


def test_records_must_be_sorted_and_single_and_leave_nothing_when_they_are_not(tmp_path):
    records = _records()
    for wrong in (records[::-1], [records[1], records[1]]):
        with pytest.raises(DataError, match="expected sorted keys, each once"):
            write_faces(tmp_path / "f", wrong)
    with pytest.raises(DataError, match=r"'A\.jpg' cannot be written .*not JSON compliant"):
        write_faces(tmp_path / "f", [FaceLine("A.jpg", Face(np.full(4, np.nan), 0.5, np.zeros((0, 2))))])
    with pytest.raises(DataError, match=r"cannot be written .*surrogates not allowed"):
        write_faces(tmp_path / "f", [FaceLine("\udc80.jpg", NoFace("?"))])
    assert list(tmp_path.iterdir()) == []


GOOD = {"key": "b", "face": 0, "box": [1, 2, 3, 4], "score": 0.5, "landmarks": [[1, 2]] * 5, "row": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"key": "b", ', "is no JSON"),
        ("", "is no JSON"),
        ("[1]", "is list, expected an object"),
        ('{"key": "b"}', "has the fields key, expected key, face, box, score, landmarks and perhaps sharpness, row"),
        ('{"key": "b", "reason": "none", "row": 1}', "has the fields key, reason, row, expected"),
        ('{"key": 7, "reason": "none"}', "'key' is 7, expected a path"),
        ('{"key": "b", "reason": null}', "'reason' is None, expected words"),
        ({"box": [1, 2, 3]}, r"'box' is \[1, 2, 3\], expected four numbers"),
        ({"box": ["1", "2", "3", "4"]}, "expected four numbers"),
        ({"box": [True, False, True, True]}, "expected four numbers"),
        ({"box": [1, 2, 3, float("nan")]}, r"'box' is \[1, 2, 3, NaN\], expected four numbers"),
        ({"box": None}, "'box' is null, expected four numbers"),
        ({"landmarks": [[1, 2], [3]]}, r"expected a list of \[x, y\]"),
        ({"landmarks": [1, 2]}, r"expected a list of \[x, y\]"),
        ({"landmarks": [[]]}, r"'landmarks' is \[\[\]\], expected a list of \[x, y\]"),
        ({"landmarks": {}}, r"'landmarks' is {}, expected a list of \[x, y\]"),
        ({"box": []}, r"'box' is \[\], expected four numbers"),
        ({"score": []}, r"'score' is \[\], expected a number"),
        ({"score": 1.5}, "'score' is 1.5, expected 0 to 1"),
        ({"score": "high"}, "'score' is \"high\", expected a number"),
        ({"row": -1}, "'row' is -1, expected a whole number from 0"),
        ({"row": 0.0}, "'row' is 0.0, expected a whole number from 0"),
        ({"row": True}, "'row' is True, expected a whole number from 0"),
        ({"row": 3}, "'row' is 3, expected 0"),
        ({"face": -1}, "'face' is -1, expected a whole number from 0"),
        ({"face": True}, "'face' is True, expected a whole number from 0"),
        ({"sharpness": "much"}, "'sharpness' is \"much\", expected a number"),
        ({"group": 1}, "'group' is 1, expected words"),
        ({"reason": "none"}, "has the fields box, face, key, landmarks, reason, row, score, expected"),
        ({"key": "a"}, "'a' comes after 'a', expected sorted keys, each once"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "faces.jsonl"
    text = line if isinstance(line, str) else json.dumps(GOOD | line)
    path.write_text('{"key": "a", "reason": "none"}\n' + text + "\n")
    with pytest.raises(DataError, match=r"faces\.jsonl, line 2: .*" + message):
        list(read_faces(path))


def test_rows_that_come_and_go_are_refused(tmp_path):
    path = tmp_path / "f"
    numbered, bare = (json.dumps({k: v for k, v in GOOD.items() if k != drop}) for drop in ("-", "row"))
    for lines, message in (
        ([bare, numbered.replace('"b"', '"c"')], "line 2: 'row' is 0, expected None"),
        ([numbered, bare.replace('"b"', '"c"')], "line 2: 'row' is None, expected 1"),
    ):
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(DataError, match=message):
            list(read_faces(path))


def test_a_file_that_is_not_there_or_no_text_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read \(No such file.*Try: finish the run"):
        next(read_faces(tmp_path / "faces.jsonl"))
    (tmp_path / "f").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="line 1: is no JSON"):
        next(read_faces(tmp_path / "f"))


def test_many_lines_are_not_held(tmp_path):
    face = _face(0)

    def both_ways(count: int) -> int:
        """Peak of memory while `count` lines are written and read."""
        tracemalloc.start()
        (tmp_path / "f").unlink(missing_ok=True)
        write_faces(tmp_path / "f", (FaceLine(f"{i:07d}.jpg", face) for i in range(count)))
        assert sum(1 for _ in read_faces(tmp_path / "f")) == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    both_ways(10)  # first use of json and numpy's printing
    assert both_ways(5000) < both_ways(50) + 100_000  # 5,000 lines are over a million bytes


def test_embeddings_are_the_bytes_of_numpy_save_and_come_as_they_are_needed(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10, 8)).astype(np.float32)
    write_embeddings(tmp_path / "e.npy", 10, 8, iter([rows[:3], rows[3:3], rows[3:]]))
    np.save(tmp_path / "n.npy", rows)
    assert (tmp_path / "e.npy").read_bytes() == (tmp_path / "n.npy").read_bytes()
    read = read_embeddings(tmp_path / "e.npy", rows=10)
    assert isinstance(read, np.memmap) and not read.flags.writeable
    np.testing.assert_array_equal(read, rows)


def test_no_face_at_all_gives_an_embedding_file_of_no_rows(tmp_path):
    write_embeddings(tmp_path / "e.npy", 0, 512, [])
    assert read_embeddings(tmp_path / "e.npy", rows=0).shape == (0, 512)


def test_embeddings_that_do_not_fit_are_refused_and_leave_nothing(tmp_path):
    rows = np.zeros((4, 8), np.float32)
    path = tmp_path / "e.npy"
    with pytest.raises(DataError, match="4 rows came, expected 5"):
        write_embeddings(path, 5, 8, [rows])
    with pytest.raises(DataError, match=r"a block is float64 \[4, 8\], expected float32 \[any, 8\]"):
        write_embeddings(path, 4, 8, [rows.astype(np.float64)])
    with pytest.raises(DataError, match=r"expected float32 \[any, 9\]"):
        write_embeddings(path, 4, 9, [rows])
    assert list(tmp_path.iterdir()) == []
    write_embeddings(path, 4, 8, [rows])
    with pytest.raises(DataError, match=r"4 rows, expected 5, one for each face in faces\.jsonl"):
        read_embeddings(path, rows=5)
    np.save(path, rows.astype(np.float64))
    with pytest.raises(DataError, match=r"is float64 \[4, 8\], expected float32 \[F, D\]"):
        read_embeddings(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        read_embeddings(path)
