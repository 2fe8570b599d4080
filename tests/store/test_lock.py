# SPDX-License-Identifier: Apache-2.0
"""The lock that is a file: held by one, told by number, nobody's when its owner is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
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
    (tmp_path / "lock").write_text("1\n")
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
