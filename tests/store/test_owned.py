# SPDX-License-Identifier: Apache-2.0
"""Which files are facepipe's own, and that the others are neither replaced nor removed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from facepipe.errors import StageError
from facepipe.store import owned
from facepipe.store.files import write_text
from facepipe.store.lock import LOCK
from facepipe.store.owned import RECORD, claim
from facepipe.store.parts import host, part_name


def test_a_folder_is_claimed_where_nothing_is_lost_by_it(tmp_path: Path) -> None:
    for name in ("absent/deep", "empty", "with parts"):
        (tmp_path / name).mkdir(parents=True) if name != "absent/deep" else None
    (tmp_path / "with parts" / part_name(RECORD, host(), 999999999, 1)).write_text("half")
    (tmp_path / "with parts" / LOCK).write_text("4711 on host\n")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("absent/deep", "empty", "with parts", "link"):
        claim(tmp_path / name)
        claim(tmp_path / name)
        assert (tmp_path / name / RECORD).read_text() == '{"format": "facepipe.owned.1"}\n'


PLANTED: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: (path / "notes.txt").touch(),
    "a hidden file": lambda path: (path / ".DS_Store").touch(),
    "a folder": lambda path: (path / "fused").mkdir(),
    "a part of somebody else": lambda path: (path / ".x.part").touch(),
    "an empty lock": lambda path: (path / LOCK).touch(),
    "a link for a lock": lambda path: (path / LOCK).symlink_to("gone"),
    "a record that is none": lambda path: (path / RECORD).write_text("[]\n"),
    "a link for a record": lambda path: (path / RECORD).symlink_to(path.with_name("record")),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_folder_with_anything_in_it_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    (tmp_path / "record").write_text('{"format": "facepipe.owned.1"}\n')
    folder = tmp_path / "folder"
    folder.mkdir()
    PLANTED[what](folder)
    (name,) = (path.name for path in folder.iterdir())
    with pytest.raises(StageError, match=rf"folder: holds 1 entry .*\(first: {name}\) .*Try: --out with another"):
        claim(folder, "--out with another folder.")
    assert [path.name for path in folder.iterdir()] == [name]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dead").symlink_to("gone")
    for name, said in (("file", "is no folder"), ("dead", "is a link to nothing")):
        with pytest.raises(StageError, match=f"{name}: {said}"):
            claim(tmp_path / name)


def test_a_file_that_is_written_beside_a_users_is_recorded_in_its_own_folder(tmp_path: Path) -> None:
    """`weights/` has no record until the first file is made there, and may hold models of the user's."""
    for folder in (tmp_path / "absent" / "deep", tmp_path / "weights"):
        if folder.name == "weights":
            folder.mkdir()
            (folder / "mine.onnx").write_text("mine")
        made = folder / "made.onnx"
        for text in ("one", "two"):
            owned.keep_record(made)
            write_text(made, text)
        assert owned.is_own(made) and owned.recorded(folder)["made.onnx"] == hashlib.sha256(b"two").hexdigest()
    assert (folder / "mine.onnx").read_text() == "mine" and not owned.is_own(folder / "mine.onnx")
    with pytest.raises(StageError, match=r"mine\.onnx: is not as facepipe wrote it"):
        write_text(folder / "mine.onnx", "ours")


def test_below_a_claimed_folder_there_is_one_record(tmp_path: Path) -> None:
    claim(tmp_path)
    owned.keep_record(tmp_path / "om" / "pnet.om")
    write_text(tmp_path / "om" / "pnet.om", "compiled")
    assert owned.is_own(tmp_path / "om" / "pnet.om")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(RECORD)] == [RECORD]


@pytest.mark.parametrize("what", ["a record that is none", "a link for a record", "a folder"])
def test_what_is_in_the_records_place_and_is_none_stays(tmp_path: Path, what: str) -> None:
    (tmp_path / "record").write_text('{"format": "facepipe.owned.1"}\n')
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / RECORD).mkdir() if what == "a folder" else PLANTED[what](folder)
    with pytest.raises(StageError, match=rf"{RECORD}: is no record of facepipe's.*Try: move it away"):
        owned.keep_record(folder / "made.onnx")
    assert [path.name for path in folder.iterdir()] == [RECORD]
    assert (tmp_path / "record").read_text() == '{"format": "facepipe.owned.1"}\n'


def test_a_file_is_ours_by_its_path_and_its_content(tmp_path: Path) -> None:
    claim(tmp_path)
    path = tmp_path / "sub" / "a.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert owned.is_own(path)
    path.write_text("one")  # as after a kill before the second rename
    write_text(path, "three")
    shutil.copy(path, tmp_path / "b.txt")
    assert not owned.is_own(tmp_path / "b.txt"), "another path"
    for content in ("mine", ""):
        path.write_text(content)
        with pytest.raises(StageError, match=r"a\.txt: is not as facepipe wrote it.*Try: move it away"):
            write_text(path, "four")
        with pytest.raises(StageError, match=r"a\.txt: is not as facepipe wrote it"):
            owned.remove(path)
        assert path.read_text() == content
    write_text(path, "four", overwrite=True)
    assert path.read_text() == "four"
    owned.remove(path)
    owned.remove(path)
    assert not path.exists()


def test_the_same_content_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("same")
    before = (tmp_path / "a.txt").stat()
    write_text(tmp_path / "a.txt", "same")
    after = (tmp_path / "a.txt").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    with pytest.raises(StageError, match=r"a\.txt: is not as facepipe wrote it"):
        write_text(tmp_path / "a.txt", "other")


def test_no_link_below_the_record_is_followed(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    claim(run)
    (run / "fused").symlink_to(outside)
    (run / "a.txt").symlink_to(outside / "a.txt")
    (run / "rnet").touch()
    for path, said in (("fused/x.npz", "fused: is a link"), ("a.txt", "is a link"), ("rnet/x.npz", "rnet: is a file")):
        for overwrite in (False, True):
            with pytest.raises(StageError, match=f"{said}, expected a f"):
                write_text(run / path, "x", overwrite=overwrite)
    assert list(outside.iterdir()) == []


def test_a_line_that_a_full_disk_cut_off_costs_its_own_file_alone(tmp_path: Path) -> None:
    claim(tmp_path)
    write_text(tmp_path / "a.txt", "one")
    with (tmp_path / RECORD).open("ab") as record:
        record.write(b'{"path": "lost/b.txt", "sha2')
    write_text(tmp_path / "deep" / "c.txt", "one")
    write_text(tmp_path / "a.txt", "two")
    write_text(tmp_path / "deep" / "c.txt", "two")
    assert owned.folders_written(tmp_path) == [tmp_path, tmp_path / "deep"]


def test_every_flip_of_the_record_leaves_a_users_file_alone(tmp_path: Path) -> None:
    claim(tmp_path)
    write_text(tmp_path / "a.txt", "ours")
    whole = (tmp_path / RECORD).read_bytes()
    (tmp_path / "a.txt").write_text("mine")
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / RECORD).write_bytes(bytes(flipped))
        with pytest.raises(StageError):
            write_text(tmp_path / "a.txt", "ours, again")
    assert (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["a b.txt", "ä.txt", "line\nbreak.txt", 'quote".txt', "\udc80.txt", '{"path": "x"}'])
def test_any_name_can_be_recorded(tmp_path: Path, name: str) -> None:
    claim(tmp_path)
    for content in ("one", "two"):
        write_text(tmp_path / "sub" / name, content)
    lines = [json.loads(line) for line in (tmp_path / RECORD).read_text().splitlines()]
    assert [line.get("path") for line in lines[1:]] == [f"sub/{name}"] * 2
    assert owned.folders_written(tmp_path) == [tmp_path, tmp_path / "sub"]
