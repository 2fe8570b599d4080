# SPDX-License-Identifier: Apache-2.0
"""The one resumable folder, held to the same rules by its three users: shards, bins, and a runner's outputs."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facepipe.errors import StageError
from facepipe.runs.embed_stage import check_record, embed_bins
from facepipe.store import owned
from facepipe.store.bins import BinTensor, batches_of, read_index, write_bins
from facepipe.store.owned import RECORD
from facepipe.store.resumable import listing
from facepipe.store.shard import write_shard
from facepipe.store.stage import Stage, begin, finish, require_complete

KEYS = tuple(f"k{number}" for number in range(7))
TENSOR = BinTensor("image", "float32", "NCHW", (3, 3, 2, 2))


@dataclass(frozen=True, slots=True)
class User:
    """One user of the resumable folder.

    Attributes:
        begun: its record of begun work.
        done: its record of complete work.
        results: where its results lie below the folder.
        keeps_begun: whether the first record stays.
        foreign: a file that is not of the work.
        work: does all that is missing, with this value of a setting; returns how many results it computed.
        require: raises unless the work is complete.
    """

    begun: str
    done: str
    results: str
    keeps_begun: bool
    foreign: str
    work: Callable[[Path, str, bool], int]
    require: Callable[[Path], object]


def rows(keys: Sequence[str], value: str) -> np.ndarray:
    return np.stack([np.full((3, 2, 2), int(key[1:]) + len(value), np.float32) for key in keys])


def do_shards(folder: Path, value: str, force: bool) -> int:
    stage = Stage(folder, "pnet", {"models": {"pnet": value}}, KEYS, 3)
    todo = begin(stage, folder.joinpath, force=force)
    for shard in todo:
        finish_shard(stage, shard, rows(stage.shard_keys(shard), value))
    finish(stage)
    return len(todo)


def finish_shard(stage: Stage, number: int, array: np.ndarray) -> None:
    """A shard of photographs that are not there."""
    shard = stage.shards()[number]
    nothing = [""] * len(shard.keys)
    write_shard(shard, {"rows": array, "sha256": np.array(nothing, np.str_)}, nothing)


def do_bins(folder: Path, value: str, force: bool) -> int:
    computed = []

    def load(keys: Sequence[str]) -> np.ndarray:
        computed.append(keys)
        return rows(keys, value)

    write_bins(folder, batches_of(KEYS, 3), load, TENSOR, {"models": {"pnet": value}}, force=force)
    return len(computed)


def do_outputs(folder: Path, value: str, force: bool) -> int:
    computed = []

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        computed.append(images)
        return (images[:, 0, 0, :2] + len(value),)

    embed_bins(packed_beside(folder), folder, run, 2, {"models": {"pnet": value}}, force=force)
    return len(computed)


def packed_beside(folder: Path) -> Path:
    packed = folder.with_name("packed")
    if not packed.is_dir():
        write_bins(packed, batches_of(KEYS, 3), lambda keys: rows(keys, "m"), TENSOR, {})
    return packed


USERS = {
    "shards": User(
        "begun.json", "manifest.json", "", True, "shard-00009.npz", do_shards, lambda at: require_complete(at, "pnet")
    ),
    "bins": User("index.begun.json", "index.json", "bins", False, "stray", do_bins, read_index),
    "outputs": User(
        "outputs.begun.json", "outputs.json", "outputs", False, "000009_output_0.bin", do_outputs,
        lambda at: check_record(packed_beside(at), at),
    ),
}  # fmt: skip


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest, tmp_path: Path) -> User:
    packed_beside(tmp_path / "work")
    return USERS[request.param]


def content(folder: Path) -> dict[str, bytes]:
    """All files but the record of them, which has a line for each time that one was written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_finished_work_is_kept_and_its_begun_record_is_as_documented(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with pytest.raises(StageError, match=rf"is not complete \(no {user.done}\): it was not begun\. Try: "):
        user.require(folder)
    assert user.work(folder, "m", False) == 3
    assert (folder / user.done).is_file() and (folder / user.begun).is_file() == user.keeps_begun
    user.require(folder)
    before = content(folder)
    assert user.work(folder, "m", False) == 0
    assert content(folder) == before


def test_what_is_missing_is_made_again_with_the_same_bytes(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    user.work(folder, "m", False)
    before = content(folder)
    one = sorted(name for name in listing(folder / user.results) if not name.endswith(".json"))[1]
    (folder / user.results / one).unlink()
    assert user.work(folder, "m", False) == 1
    assert content(folder) == before


def test_work_begun_otherwise_is_refused_with_what_was_and_what_is_asked(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    user.work(folder, "m", False)
    before = content(folder)
    with pytest.raises(StageError, match=r"begun with .*models\.pnet=m, this run asks for other\. Try: --force"):
        user.work(folder, "other", False)
    assert content(folder) == before
    assert user.work(folder, "other", True) == 3
    user.require(folder)
    assert user.work(folder, "other", False) == 0
    assert user.work(folder, "other", True) == 3, "who forces it has it done again"


def test_the_same_is_said_of_work_that_is_only_begun(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    user.work(folder, "m", False)
    owned.rename(folder / user.done, folder / user.begun)
    with pytest.raises(StageError, match="it was begun and not finished"):
        user.require(folder)
    with pytest.raises(StageError, match=r"models\.pnet=m, this run asks for other"):
        user.work(folder, "other", False)
    assert user.work(folder, "m", False) == 0, "the folder's record tells that the results are what was written"
    user.require(folder)


def test_results_of_unknown_origin_are_refused(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    user.work(folder, "m", False)
    for name in (user.begun, user.done):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(StageError, match=rf"of unknown origin .*expected {user.begun} to tell it"):
        user.work(folder, "m", False)
    assert user.work(folder, "m", True) == 3


def test_a_file_that_is_not_of_the_work_is_refused_by_name(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    user.work(folder, "m", False)
    (folder / user.results / user.foreign).write_bytes(b"")
    with pytest.raises(StageError, match=f"first: {user.foreign}"):
        user.work(folder, "m", False)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"format": 9}'])
def test_a_record_that_is_none_is_refused_and_stays(user: User, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "work"
    user.work(folder, "m", False)
    before = content(folder)
    for name in (user.begun, user.done):
        if (folder / name).is_file():
            (folder / name).write_text(text)
    damaged = content(folder)
    for force in (False, True):
        with pytest.raises(StageError):
            user.work(folder, "m", force)
        assert content(folder) == damaged
    for name in (user.begun, user.done):
        (folder / name).unlink(missing_ok=True)
    assert user.work(folder, "m", True) == 3
    assert content(folder) == before


def test_starting_over_removes_what_is_ours_alone(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    user.work(folder, "m", False)
    results = folder / user.results
    one = sorted(name for name in listing(results) if not name.endswith(".json"))[1]
    was = (results / one).read_bytes()
    (tmp_path / "mine").write_text("mine")
    for plant, name in (
        (lambda: (results / "thesis.txt").write_text("mine"), "thesis.txt"),
        (lambda: (results / "thesis.txt").symlink_to(tmp_path / "mine"), "thesis.txt"),
        (lambda: (results / one).write_text("mine"), one),
        (lambda: (results / one).symlink_to(tmp_path / "mine"), one),
    ):
        (results / name).unlink(missing_ok=True)
        plant()
        before = content(folder)
        with pytest.raises(StageError, match=rf"{name}: is .*Try: move it away"):
            user.work(folder, "other", True)
        assert content(folder) == before and (tmp_path / "mine").read_text() == "mine"
        (results / name).unlink()
        if name == one:
            (results / one).write_bytes(was)
    assert user.work(folder, "other", True) == 3


def test_every_flip_of_a_bit_of_begun_shards_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    stage = Stage(folder, "pnet", {"threshold": 0.6}, KEYS, 3)
    begin(stage, folder.joinpath)
    whole = (folder / "begun.json").read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        (folder / "begun.json").write_bytes(bytes(flipped))
        try:
            begin(stage, folder.joinpath)
        except StageError:
            continue
        assert json.loads(flipped) == json.loads(whole), f"byte {place}"


CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")


def changes_of(user: User, folder: Path, value: str, force: bool, die_at: int) -> tuple[int, bool]:
    """Do the work in a process of its own that is killed before its `die_at`-th change of a file (from 1).

    Returns:
        How many changes it made, and whether it came to its end.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: NumPy's wait for work
        child = os.fork()
    if child == 0:
        made = [0]

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if event not in CHANGES or not str(arguments[0]).startswith(str(folder)):
                return
            if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
                return
            made[0] += 1
            if made[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(watch)
            user.work(folder, value, force)
            os.write(writer, str(made[0]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as told:
        count = told.read()
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"killed before change {die_at}: status {status}"
    return int(count or die_at), status == 0


@pytest.mark.parametrize("start", ["empty", "other work, forced", "the same work, forced"])
def test_a_kill_between_any_two_changes_leaves_what_goes_on_to_the_same_bytes(
    user: User, tmp_path: Path, start: str
) -> None:
    force = start != "empty"

    def prepare(name: str) -> Path:
        folder = tmp_path / name
        if force:
            user.work(folder, "other" if start.startswith("other") else "m", False)
        return folder

    reference = prepare("work")
    changes, whole = changes_of(user, reference, "m", force, 0)
    assert whole and changes > 8
    expected = content(reference)
    for number in range(1, changes + 1):
        folder = prepare(f"killed-{number}")
        assert changes_of(user, folder, "m", force, number) == (number, False)
        try:
            user.require(folder)
        except StageError:
            pass
        else:  # what says that it is complete is: nothing is missing
            there = listing(folder / user.results)
            assert {Path(name).name for name in expected if not name.endswith(".json")} <= set(there)
        user.work(folder, "m", force)
        assert content(folder) == expected, f"killed before change {number}"
        user.require(folder)
        user.work(folder, "m", False)
