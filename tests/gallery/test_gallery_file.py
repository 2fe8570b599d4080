# SPDX-License-Identifier: Apache-2.0
"""The gallery file: the same comes back, equal galleries are equal bytes, and damage or foreign models are refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facepipe.backends.base import MadeBy
from facepipe.compat.port_index import read_port_index
from facepipe.errors import DataError, StageError
from facepipe.gallery.file import (
    Gallery,
    Threshold,
    empty_gallery,
    read_gallery,
    require_model,
    require_writable,
    update_gallery,
    with_rows,
    without,
    write_gallery,
)
from facepipe.store.sealed_json import sealed

SHA = "ab" * 32


def unit(count: int, dimension: int = 128, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def friends() -> Gallery:
    gallery = with_rows(
        empty_gallery("mobilefacenet.ms1m", SHA, 128),
        ["Ana", "瑞秋", "Ana"],
        ["a/1.jpg", "r/1.jpg", "a/2.jpg"],
        unit(3),
    )
    return replace(gallery, threshold=Threshold(0.41, 1e-3, "lfw.bin, 3,000 different pairs"))


def test_a_gallery_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_gallery(tmp_path / "f.gallery", friends())
    back = read_gallery(tmp_path / "f.gallery")
    assert (back.model, back.weights_sha256, back.threshold) == ("mobilefacenet.ms1m", SHA, friends().threshold)
    assert back.labels == ("Ana", "瑞秋", "Ana")
    assert back.people() == {"Ana": 2, "瑞秋": 1}
    np.testing.assert_array_equal(back.embeddings, friends().embeddings)


def test_the_bytes_are_those_of_the_described_format_and_depend_on_the_content_alone(tmp_path: Path) -> None:
    write_gallery(tmp_path / "a.gallery", friends())
    write_gallery(tmp_path / "b.gallery", friends())
    content = (tmp_path / "a.gallery").read_bytes()
    assert content == (tmp_path / "b.gallery").read_bytes()
    assert content[:8] == b"FACEGAL2"
    (length,) = struct.unpack("<Q", content[8:16])
    assert (16 + length) % 64 == 0
    header = json.loads(content[16 : 16 + length])
    body = {name: value for name, value in header.items() if name != "seal"}
    written = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    assert header["seal"] == hashlib.sha256(written).hexdigest()
    assert header["labels"] == ["Ana", "瑞秋", "Ana"]
    assert header["threshold"] == {"similarity": 0.41, "far": 1e-3, "source": "lfw.bin, 3,000 different pairs"}
    assert content[16 + length :] == friends().embeddings.tobytes()


def test_what_made_it_is_kept_and_may_be_unknown(tmp_path: Path) -> None:
    made_by = MadeBy("native+openvino", "f32")
    write_gallery(tmp_path / "m.gallery", replace(friends(), made_by=made_by))
    assert read_gallery(tmp_path / "m.gallery").made_by == made_by
    write_gallery(tmp_path / "u.gallery", friends())
    assert read_gallery(tmp_path / "u.gallery").made_by is None


def test_an_empty_gallery_is_a_gallery(tmp_path: Path) -> None:
    write_gallery(tmp_path / "e.gallery", empty_gallery("facenet.casia", SHA, 512))
    back = read_gallery(tmp_path / "e.gallery")
    assert (len(back), back.dimension) == (0, 512)


def test_what_is_added_twice_is_there_once_with_the_newer_row() -> None:
    newer = unit(2, seed=9)
    gallery = with_rows(friends(), ["Ana", "Ben"], ["a/1.jpg", "b/1.jpg"], newer)
    assert gallery.labels == ("瑞秋", "Ana", "Ana", "Ben")
    assert gallery.sources == ("r/1.jpg", "a/2.jpg", "a/1.jpg", "b/1.jpg")
    np.testing.assert_array_equal(gallery.embeddings[2:], newer)
    twice = with_rows(friends(), ["Ben", "Ben"], ["b/1.jpg", "b/1.jpg"], newer)
    assert twice.people() == {"Ana": 2, "Ben": 1, "瑞秋": 1}
    np.testing.assert_array_equal(twice.embeddings[3], newer[1])


def test_a_person_or_one_picture_can_be_removed() -> None:
    assert without(friends(), "Ana").labels == ("瑞秋",)
    assert without(friends(), "Ana", "a/2.jpg").sources == ("a/1.jpg", "r/1.jpg")
    with pytest.raises(DataError, match="there is no 'Zoe' in it"):
        without(friends(), "Zoe")
    with pytest.raises(DataError, match=r"there is no 'Ana' from 'a/9\.jpg' in it"):
        without(friends(), "Ana", "a/9.jpg")


def test_the_two_forms_of_a_name_are_one_person() -> None:
    gallery = with_rows(friends(), ["Jose\u0301", "Jos\u00e9"], ["1", "2"], unit(2, seed=9))
    assert gallery.people() == {"Ana": 2, "Jos\u00e9": 2, "瑞秋": 1}
    assert without(gallery, "Jose\u0301").people() == friends().people()


def test_a_name_that_is_none_and_a_source_that_is_no_text_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be a person's name"):
        with_rows(friends(), ["Unknown"], ["x.jpg"], unit(1))
    with pytest.raises(DataError, match=r"'\\udce9\.jpg' is no text in UTF-8"):
        with_rows(friends(), ["Ben"], ["\udce9.jpg"], unit(1))


def test_rows_that_are_no_unit_vectors_are_refused() -> None:
    with pytest.raises(DataError, match=r"embeddings are \[1, 64\], expected \[1, 128\]"):
        with_rows(friends(), ["Ben"], ["b"], unit(1, 64))
    with pytest.raises(DataError, match="row 0 has length 2, expected 1"):
        with_rows(friends(), ["Ben"], ["b"], unit(1) * 2)
    with pytest.raises(DataError, match="row 0 has length nan"):
        with_rows(friends(), ["Ben"], ["b"], unit(1) * np.nan)


def test_a_gallery_of_another_model_or_other_weights_is_refused() -> None:
    require_model(friends(), "mobilefacenet.ms1m", SHA, "f.gallery")
    with pytest.raises(DataError, match=r"f\.gallery: its embeddings are of mobilefacenet\.ms1m, expected facenet"):
        require_model(friends(), "facenet.vggface2", SHA, "f.gallery")
    with pytest.raises(DataError, match=r"made with weights abababababab\.\.\. .* here has cdcdcdcdcdcd"):
        require_model(friends(), "mobilefacenet.ms1m", "cd" * 32, "f.gallery")


def header_of(content: bytes) -> dict[str, object]:
    (length,) = struct.unpack("<Q", content[8:16])
    return json.loads(content[16 : 16 + length])


def with_header(content: bytes, text: bytes) -> bytes:
    """The gallery's bytes with another header."""
    (length,) = struct.unpack("<Q", content[8:16])
    text += b" " * (-(16 + len(text)) % 64)
    return content[:8] + struct.pack("<Q", len(text)) + text + content[16 + length :]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"format": 3}, "gallery format 3, expected 2"),
        ({"format": True}, "gallery format True, expected 2"),
        ({"format": 2.0}, "gallery format 2.0, expected 2"),
        ({"metric": "euclidean"}, "metric 'euclidean', expected 'cosine'"),
        ({"dimension": 64}, "bytes, expected"),
        ({"dimension": -1}, "3 labels and 3 sources"),
        ({"dimension": True}, "field 'dimension' is True, expected int"),
        ({"labels": ["Ana"]}, "1 labels and 3 sources"),
        ({"labels": ["Ana", 7, "Ana"]}, "7 among its labels"),
        ({"labels": ["Ana", "unknown", "Ana"]}, "cannot be a person's name"),
        ({"labels": ["Ana", "Jose\u0301", "Ana"]}, "not in Unicode's composed form"),
        ({"model": None}, "field 'model' is None"),
        ({"threshold": 0.5}, "its threshold is 0.5"),
        ({"threshold": {"similarity": 2, "far": None, "source": ""}}, "its threshold is"),
        ({"made_by": "onnxruntime"}, "its made_by is 'onnxruntime', expected backend and precision"),
        ({"made_by": {"backend": "onnxruntime", "precision": 1}}, "its made_by is"),
        ({"rows_sha256": "00"}, "its rows are not those that its header describes"),
        ({"note": ""}, "the field 'note' is lacking in its header, or is none"),
    ],
)
def test_a_header_that_does_not_fit_is_named(tmp_path: Path, fields: dict[str, object], said: str) -> None:
    """Sealed as it should be, by a program that writes other things."""
    path = tmp_path / "f.gallery"
    write_gallery(path, friends())
    content = path.read_bytes()
    body = {name: value for name, value in header_of(content).items() if name != "seal"}
    path.write_bytes(with_header(content, json.dumps(sealed(body | fields)).encode()))
    with pytest.raises(DataError, match=said):
        read_gallery(path)


@pytest.mark.parametrize(
    ("found", "instead", "said"),
    [
        (b'"similarity": 0.41', b'"similarity": 0.11', "not what its 'seal' was made of"),
        (b'"similarity": 0.41', b'"similarity": 0.41, "similarity": 0.11', "key 'similarity' stands there twice"),
        (b'"similarity": 0.41', b'"similarity": NaN', "NaN, which JSON has not"),
        (b'"a/1.jpg"', b'"a/\\ud800.jpg"', "half a surrogate pair"),
        (b'"seal"', b'"Seal"', "it has no 'seal'"),
    ],
)
def test_a_header_that_was_edited_is_refused(tmp_path: Path, found: bytes, instead: bytes, said: str) -> None:
    path = tmp_path / "f.gallery"
    write_gallery(path, friends())
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[8:16])
    text = content[16 : 16 + length].rstrip()
    assert found in text
    path.write_bytes(with_header(content, text.replace(found, instead)))
    with pytest.raises(DataError, match=said):
        read_gallery(path)


def test_a_header_that_is_not_padded_to_its_multiple_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.gallery"
    write_gallery(path, friends())
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[8:16])
    path.write_bytes(
        content[:8] + struct.pack("<Q", length + 1) + content[16 : 16 + length] + b" " + content[16 + length :]
    )
    with pytest.raises(DataError, match="expected one whose end is a multiple of 64"):
        read_gallery(path)


def test_no_bit_of_a_gallery_changes_without_being_found(tmp_path: Path) -> None:
    """Every single one, through the reader: it is refused in words, or what is read is the same."""
    path = tmp_path / "s.gallery"
    small = with_rows(empty_gallery("facenet.casia", SHA, 8), ["Ana", "瑞秋"], ["a/1.jpg", "é"], unit(2, 8))
    small = replace(small, threshold=Threshold(0.41, 1e-3, "lfw.bin"))
    write_gallery(path, small)
    content = bytearray(path.read_bytes())
    unnoticed = []
    with path.open("r+b", buffering=0) as file:
        for bit in range(8 * len(content)):
            place, value = bit // 8, content[bit // 8] ^ 1 << bit % 8
            os.pwrite(file.fileno(), bytes([value]), place)
            try:
                back = read_gallery(path)
            except DataError as error:
                assert str(path) in str(error)
            else:
                if not same(back, small):
                    unnoticed.append((place, value))
            os.pwrite(file.fileno(), content[place : place + 1], place)
    assert not unnoticed
    assert same(read_gallery(path), small)


def same(one: Gallery, other: Gallery) -> bool:
    def told(gallery: Gallery) -> tuple[object, ...]:
        return gallery.model, gallery.weights_sha256, gallery.threshold, gallery.labels, gallery.sources

    return told(one) == told(other) and np.array_equal(one.embeddings, other.embeddings)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_an_error_of_ours_or_the_same_gallery(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "f.gallery"
    path.unlink(missing_ok=True)
    write_gallery(path, friends())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        back = read_gallery(path)
    except DataError as error:
        assert "gallery" in str(error)
    else:
        assert same(back, friends())


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "index.bin").write_bytes(pickle.dumps({"label": [], "feature": []}))
    with pytest.raises(DataError, match=r"expected a gallery .FACEGAL2.*`facepipe gallery import` reads"):
        read_gallery(tmp_path / "index.bin")
    with pytest.raises(DataError, match="cannot be opened"):
        read_gallery(tmp_path / "absent.gallery")
    (tmp_path / "old.gallery").write_bytes(b"FACEGAL1" + bytes(120))
    with pytest.raises(
        DataError, match=r"begins with b'FACEGAL1', .* build it again, where it is of an older facepipe"
    ):
        read_gallery(tmp_path / "old.gallery")


@pytest.mark.parametrize("protocol", range(5))
def test_the_ports_index_is_read(tmp_path: Path, protocol: int) -> None:
    rows = unit(3) * 7
    content = {"label": ["Rachel", "莫妮卡", "Rachel"], "feature": [row[None] for row in rows]}
    (tmp_path / "index.bin").write_bytes(pickle.dumps(content, protocol))
    gallery = read_port_index(tmp_path / "index.bin", "mobilefacenet.paddle", SHA, 128)
    assert gallery.people() == {"Rachel": 2, "莫妮卡": 1}
    assert gallery.sources[1] == "index.bin#1"
    np.testing.assert_allclose(gallery.embeddings, unit(3), atol=1e-6)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"label": ["A"], "feature": [unit(1, 512)]}, r"embeddings of \[512\] numbers, expected as many of 128"),
        ({"label": ["A", "B"], "feature": [unit(1)]}, "2 labels and 1 embeddings"),
        ({"label": [1], "feature": [unit(1)]}, "of kind 'int'"),
        ({"label": ["A"]}, "expected a dictionary of 'label' and 'feature'"),
        ({"label": ["A"], "feature": ["x"]}, "its features are no list of arrays"),
        ({"label": ["A"], "feature": [np.array([None])]}, "array of dtype 'O8'"),
    ],
)
def test_an_index_of_another_form_is_named(tmp_path: Path, value: object, said: str) -> None:
    (tmp_path / "index.bin").write_bytes(pickle.dumps(value, 3))
    with pytest.raises(DataError, match=said):
        read_port_index(tmp_path / "index.bin", "mobilefacenet.paddle", SHA, 128)


def test_an_index_that_would_run_code_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "index.bin").write_bytes(b"\x80\x03cos\nmkdir\nX\x04\x00\x00\x00made\x85R.")
    with pytest.raises(DataError, match=r"it names 'os\.mkdir'"):
        read_port_index(tmp_path / "index.bin", "mobilefacenet.paddle", SHA, 128)


def test_a_header_of_brackets_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "deep.gallery"
    path.write_bytes(b"FACEGAL2" + struct.pack("<Q", 200_000 - 16) + b"[" * (200_000 - 16))
    with pytest.raises(DataError, match=r"deep\.gallery: its header cannot be used \(brackets in brackets"):
        read_gallery(path)


def test_a_place_that_takes_no_gallery_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    require_writable(tmp_path / "new" / "folders" / "p.gallery", overwrite=False)
    with pytest.raises(DataError, match=r"nothing can be written into .*file, expected a folder"):
        require_writable(tmp_path / "file" / "p.gallery", overwrite=False)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]


def test_a_gallery_takes_the_place_of_a_gallery_alone_and_only_when_told_to(tmp_path: Path) -> None:
    path, notes = tmp_path / "p.gallery", tmp_path / "notes.txt"
    notes.write_bytes(b"mine")
    (tmp_path / "link.gallery").symlink_to(notes)
    for place in (notes, tmp_path / "link.gallery"):
        for overwrite in (False, True):
            said = pytest.raises(
                DataError, match=r"it begins with b'mine', expected a gallery .* It stays\. Try: another"
            )
            with said:
                require_writable(place, overwrite=overwrite)
            with said:
                write_gallery(place, friends(), overwrite=overwrite)
            assert notes.read_bytes() == b"mine"
    write_gallery(path, friends())
    write_gallery(path, friends())  # the same bytes: nothing is lost
    other = empty_gallery("m", "0" * 64, friends().dimension)
    before = path.read_bytes()
    with pytest.raises(StageError, match=r"p\.gallery: is there already, expected no file\. Try: --overwrite"):
        require_writable(path, overwrite=False)
    with pytest.raises(StageError, match=r"p\.gallery: is not as facepipe wrote it"):
        write_gallery(path, other)
    assert path.read_bytes() == before
    require_writable(path, overwrite=True)
    write_gallery(path, other, overwrite=True)
    assert same(read_gallery(path), other)


def test_the_folders_of_a_gallery_are_made(tmp_path: Path) -> None:
    path = tmp_path / "of" / "mine" / "p.gallery"
    write_gallery(path, friends())
    assert same(read_gallery(path), friends())


def test_a_gallery_that_is_not_there_is_not_changed_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p\.gallery"):
        update_gallery(tmp_path / "mistyped" / "p.gallery", lambda gallery: gallery)
    assert not list(tmp_path.iterdir())
