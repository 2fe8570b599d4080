# SPDX-License-Identifier: Apache-2.0
"""The lock that is a file: held by one, told by number, nobody's when its owner is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facepipe.errors import StageError
from facepipe.store.lock import held
from facepipe.store.parts import host

HOLD = (
    "import sys, time; from pathlib import Path; from facepipe.store.lock import held\n"
    "with held(Path(sys.argv[1]), RuntimeError, vanishes=True):\n"
    "    print('held', flush=True); time.sleep(float(sys.argv[2]))"
)


def busy(owner: str) -> StageError:
    return StageError(f"process {owner} has it.")


@contextmanager
def another(path: Path, seconds: float = 60) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock for so long."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.process
def test_the_owner_is_told_and_what_a_killed_one_left_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another(path) as holder:
        for seconds in (0, 0.2):
            with (
                pytest.raises(StageError, match=f"process {holder.pid} on {host()} has it"),
                held(path, busy, wait_seconds=seconds),
            ):
                pass
    assert path.read_text() == f"{holder.pid} on {host()}\n", "a killed owner leaves its file"
    with held(path, busy):
        assert path.read_text() == f"{os.getpid()} on {host()}\n"
    assert path.exists()


def test_the_number_of_a_living_process_in_an_old_file_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1 on host\n")
    with held(tmp_path / "lock", busy, vanishes=True):
        pass
    assert not (tmp_path / "lock").exists()


@pytest.mark.process
def test_an_owner_that_gives_the_lock_back_is_waited_for_though_its_file_goes(tmp_path: Path) -> None:
    with another(tmp_path / "lock", 0.3), held(tmp_path / "lock", busy, wait_seconds=20):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()} on {host()}\n"
    assert (tmp_path / "lock").exists()


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), held(tmp_path / "lock", busy, vanishes=True):
        raise ValueError("mine")
    with held(tmp_path / "lock", busy):
        pass


PLANTED: dict[str, Callable[[Path], object]] = {
    "a user's file": lambda path: path.write_text("my notes\n"),
    "an empty file": lambda path: path.touch(),
    "a number": lambda path: path.write_text("4711\n"),
    "more than a lock": lambda path: path.write_text("4711 on host\nand notes\n"),
    "a link": lambda path: path.symlink_to("mine"),
    "a link to nothing": lambda path: path.symlink_to("gone"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_no_lock_is_refused_and_stays(tmp_path: Path, what: str) -> None:
    path, mine = tmp_path / "lock", tmp_path / "mine"
    mine.write_text("1 on host\n")  # as a lock of ours: a link to it is none
    PLANTED[what](path)
    before = path.lstat()
    refused = pytest.raises(StageError, match=r"lock: is not a lock of facepipe's; it stays.* Try: move it away")
    with refused, held(path, busy, vanishes=True):
        pass
    now = path.lstat()
    assert (now.st_ino, now.st_mtime_ns, now.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert mine.read_text() == "1 on host\n"
    assert not (tmp_path / "gone").exists() and len(list(tmp_path.iterdir())) == 2


def test_a_lock_is_never_seen_half_written(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    opened = path.open("wb")
    opened.write(b"1 on host\n")
    opened.close()
    with path.open("rb") as old, held(path, busy):
        assert old.read() == b"1 on host\n", "who reads it reads the old one whole, or the new one"
        assert path.read_text() == f"{os.getpid()} on {host()}\n"
