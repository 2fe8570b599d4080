# SPDX-License-Identifier: Apache-2.0
"""Shards, manifests, locks, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facepipe.engine import Died
from facepipe.engine.local import Local
from facepipe.errors import DataError, StageError
from facepipe.store.files import atomic_path, read_arrays, write_arrays, write_text
from facepipe.store.parts import host, part_name
from facepipe.store.shard import write_shard
from facepipe.store.stage import Stage, begin, finish, locked, require_complete

KEYS = tuple(f"k{number}" for number in range(10))


def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "s", "pnet", {"threshold": 0.6, "models": {"pnet": "aa"}}, KEYS, 4)


def finish_shard(item: Stage, number: int) -> None:
    """A shard of photographs that are not there."""
    shard = item.shards()[number]
    nothing = [""] * len(shard.keys)
    write_shard(shard, {"a": np.zeros(1), "sha256": np.array(nothing, np.str_)}, nothing)


def test_shards_cover_every_key_once(tmp_path: Path) -> None:
    item = stage(tmp_path)
    assert item.shard_count == 3
    assert [key for shard in range(3) for key in item.shard_keys(shard)] == list(KEYS)


def test_a_stage_resumes_with_what_is_missing_and_finishes_once(tmp_path: Path) -> None:
    item = stage(tmp_path)
    assert begin(item, tmp_path.joinpath) == [0, 1, 2]
    finish_shard(item, 1)
    (item.folder / part_name("shard-00002.npz", host(), 77, 1)).write_bytes(b"half")
    assert begin(item, tmp_path.joinpath) == [0, 2]
    assert not list(item.folder.glob(".*.part"))
    with pytest.raises(StageError, match=r"2 of 3 shards are absent \(first: 0\)"):
        finish(item)
    with pytest.raises(StageError, match="is not complete"):
        require_complete(item.folder, "pnet")
    for shard in (0, 2):
        finish_shard(item, shard)
    finish(item)
    before = (item.folder / "manifest.json").read_bytes()
    finish(item)
    assert (item.folder / "manifest.json").read_bytes() == before
    assert require_complete(item.folder, "pnet")["shards"]


def test_other_parameters_are_refused_by_name(tmp_path: Path) -> None:
    item = stage(tmp_path)
    begin(item, tmp_path.joinpath)
    other = replace(item, parameters={"threshold": 0.7, "models": {"pnet": "aa"}})
    with pytest.raises(StageError, match=r"begun with threshold=0\.6, this run asks for 0\.7"):
        begin(other, tmp_path.joinpath)
    with pytest.raises(StageError, match=r"models\.pnet=aa, this run asks for bb"):
        begin(replace(item, parameters={"threshold": 0.6, "models": {"pnet": "bb"}}), tmp_path.joinpath)
    finish_shard(item, 0)
    assert begin(other, tmp_path.joinpath, force=True) == [0, 1, 2]


def test_shards_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    item = stage(tmp_path)
    finish_shard(item, 0)
    with pytest.raises(StageError, match=r"holds 2 entries that facepipe did not make \(first: shard-00000\.json\)"):
        begin(item, tmp_path.joinpath)
    for path in item.folder.iterdir():
        path.unlink()
    begin(item, tmp_path.joinpath)
    (item.folder / "begun.json").unlink()
    finish_shard(item, 0)
    with pytest.raises(StageError, match=r"holds 2 files of unknown origin \(first: shard-00000\.json\)"):
        begin(item, tmp_path.joinpath)


@pytest.mark.process
def test_two_runs_into_one_folder_are_refused_with_the_owner(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from facepipe.store.stage import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        owner = f"process {holder.pid} on {host()} is working in this folder"
        with pytest.raises(StageError, match=owner), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    with locked(tmp_path):  # the lock died with its owner
        pass


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError, match="half-way"), atomic_path(target) as part:
        part.write_text("half")
        raise RuntimeError("half-way")
    assert list((tmp_path / "deep").iterdir()) == []
    write_text(target, "whole")
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_arrays_are_read_in_their_own_dtype_only(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.zeros(3), "names": np.array(["a", "b"])})
    assert read_arrays(path, {"names": "<U"})["names"].tolist() == ["a", "b"]
    with pytest.raises(StageError, match="'x' is float64, expected float32"):
        read_arrays(path, {"x": "float32"})
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StageError, match="cannot be read"):
        read_arrays(path, {"x": "float32"})


@contextmanager
def open_squares(offset: int, worker: int) -> Iterator[Callable[[int], int]]:
    yield lambda item: item * item + offset


@contextmanager
def open_failing(kind: str, worker: int) -> Iterator[Callable[[int], int]]:
    def do(item: int) -> int:
        if item == 2 and kind == "data":
            raise DataError("photo.jpg: is broken, expected whole.", "another one.")
        if item == 2 and kind == "bug":
            raise ZeroDivisionError("a bug")
        if item == 2 and kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    yield do


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_comes_back_with_its_own_result(workers: int) -> None:
    assert dict(Local(workers).map(open_squares, 5, range(9))) == {item: item * item + 5 for item in range(9)}


@pytest.mark.process
def test_an_error_of_a_worker_is_raised_whole() -> None:
    with pytest.raises(DataError, match=r"photo\.jpg: is broken, expected whole\. Try: another one\.") as caught:
        dict(Local(2).map(open_failing, "data", range(5)))
    assert caught.value.attempt == "another one."


@pytest.mark.process
def test_a_bug_in_a_worker_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in a worker process.*ZeroDivisionError: a bug"):
        dict(Local(2).map(open_failing, "bug", range(5)))


@pytest.mark.process
def test_a_worker_that_dies_is_told_and_not_a_gap() -> None:
    answers = dict(Local(2).map(open_failing, "killed", range(5)))
    assert answers == {0: 0, 1: 1, 2: Died("ended with signal SIGKILL"), 3: 3, 4: 4}


def test_as_many_other_keys_are_another_work(tmp_path: Path) -> None:
    """One photograph exchanged for another, or the same ones in another order: what is done is not theirs."""
    item = stage(tmp_path)
    begin(item, tmp_path.joinpath)
    for keys in ((*KEYS[:-1], "other"), KEYS[::-1]):
        with pytest.raises(StageError, match="was begun with keys"):
            begin(replace(item, keys=keys), tmp_path.joinpath)
    assert begin(item, tmp_path.joinpath) == [0, 1, 2]
