# SPDX-License-Identifier: Apache-2.0
"""A shard knows its photographs, its work and its own bytes: what is another is told by name."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facepipe.errors import StageError
from facepipe.store.files import read_json, write_json
from facepipe.store.shard import (
    SHARD_FORMAT,
    UNSETTLED_SECONDS,
    Shard,
    changed_photographs,
    read_record,
    read_shard,
    require_whole,
    stamp_of,
    write_shard,
)

KEYS = ("a.jpg", "b/c.jpg", "d.jpg")
FINGERPRINT = hashlib.sha256(b"the work").hexdigest()
DTYPES = {"scores": "float32", "sha256": "<U"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photographs that are old enough for their stamps to tell."""
    folder = tmp_path / "photographs"
    for key in KEYS:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(f"the photograph {key}".encode())
        age(folder / key)
    return folder


def age(path: Path, seconds: float = 900) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def done(root: Path, out: Path) -> Shard:
    """The shard as a worker leaves it that has looked at these photographs just now."""
    shard = Shard(0, KEYS, out / "shard-00000.npz", FINGERPRINT)
    paths = [root / key for key in KEYS]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths]
    stamps = [stamp_of(path.stat()) if path.is_file() else "" for path in paths]
    arrays = {"scores": np.arange(3, dtype=np.float32), "sha256": np.array(digests, np.str_)}
    write_shard(shard, arrays, stamps)
    return shard


def changed(shard: Shard, root: Path) -> list[tuple[str, str]]:
    return list(changed_photographs(shard, read_record(shard), root.joinpath))


def test_photographs_that_nobody_touched_cost_a_look_at_their_stamps(root: Path, tmp_path: Path) -> None:
    shard = done(root, tmp_path)
    shard.path.unlink()  # where the digests are: nobody asks for them
    assert changed(shard, root) == []


def other_content(path: Path) -> None:
    """Of the same size, with the same time of content."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def appended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b".")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def copied(path: Path) -> None:
    shutil.copyfile(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


@pytest.mark.parametrize(
    ("touch", "told"),
    [
        (other_content, "another file"),
        (appended, "another file"),
        (Path.unlink, "gone"),
        (a_folder, "gone"),
        (Path.touch, None),
        (copied, None),
    ],
)
def test_each_photograph_that_is_another_now_is_told(
    root: Path, tmp_path: Path, touch: Callable[[Path], object], told: str | None
) -> None:
    shard = done(root, tmp_path)
    for key in ("d.jpg", "b/c.jpg"):
        touch(root / key)
    assert changed(shard, root) == ([] if told is None else [("b/c.jpg", told), ("d.jpg", told)])


def test_a_photograph_that_was_not_there_is_told_when_it_is(root: Path, tmp_path: Path) -> None:
    content = (root / "a.jpg").read_bytes()
    (root / "a.jpg").unlink()
    shard = done(root, tmp_path)
    assert changed(shard, root) == []
    (root / "a.jpg").write_bytes(content)
    assert changed(shard, root) == [("a.jpg", "there now")]


def test_a_stamp_says_nothing_of_a_file_that_could_change_again_in_the_same_tick(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    for seconds in (0.0, UNSETTLED_SECONDS - 1.5, -3600.0):  # the last one: of a clock that goes before this one
        age(path, seconds)
        assert stamp_of(path.stat()) == "", seconds
    age(path, UNSETTLED_SECONDS + 1)
    status = path.stat()
    assert stamp_of(status) == f"5 {status.st_mtime_ns} {status.st_ctime_ns}"


def test_a_photograph_that_was_young_when_it_was_read_is_known_by_its_digest(root: Path, tmp_path: Path) -> None:
    path = root / "a.jpg"
    path.touch()
    shard = done(root, tmp_path)
    assert [bool(stamp) for stamp in read_record(shard).stamps] == [False, True, True]
    age(path)
    assert changed(shard, root) == []
    other_content(path)
    assert changed(shard, root) == [("a.jpg", "another file")]


def test_a_record_of_other_work_is_refused_with_what_is_and_what_was_expected(root: Path, tmp_path: Path) -> None:
    shard = done(root, tmp_path)
    other = hashlib.sha256(b"other work").hexdigest()
    with pytest.raises(StageError) as refused:
        read_record(replace(shard, fingerprint=other))
    assert str(refused.value) == (
        f"{shard.record}: its fingerprint is {FINGERPRINT[:12]}, expected {other[:12]}. "
        "Try: it is of other work: move the shard away, and run the same command again."
    )
    with pytest.raises(StageError, match=r"its shard is 0, expected 1\."):
        read_record(replace(shard, number=1))
    body = read_json(shard.record)
    for name, value, told in (
        ("format", SHARD_FORMAT - 1, f"its format is {SHARD_FORMAT - 1}, expected {SHARD_FORMAT}"),
        ("format", float(SHARD_FORMAT), "its format is"),
        ("shard", False, "its shard is False, expected 0"),
        ("stamps", ["", ""], "2 stamps, expected 3"),
        ("stamps", None, "is no record of a shard"),
    ):
        write_json(shard.record, {**body, name: value}, overwrite=True)
        with pytest.raises(StageError, match=told):
            read_record(shard)


def test_results_that_are_not_those_that_were_written_are_refused_with_both_digests(root: Path, tmp_path: Path) -> None:
    shard = done(root, tmp_path)
    assert read_shard(shard, DTYPES)["scores"].tolist() == [0, 1, 2]
    record = read_record(shard)
    require_whole(shard, record)
    content = bytearray(shard.path.read_bytes())
    content[len(content) // 2] ^= 1
    shard.path.write_bytes(bytes(content))
    digests = f"sha256 is {hashlib.sha256(content).hexdigest()[:12]}..., expected {record.sha256[:12]}... as it was"
    for read in (lambda: read_shard(shard, DTYPES), lambda: require_whole(shard, record)):
        with pytest.raises(StageError) as refused:
            read()
        assert str(refused.value).startswith(f"{shard.path}: {digests} written. Try: delete it")
