# SPDX-License-Identifier: Apache-2.0
"""Work in several processes: all items come back, and a worker that dies is an error at any moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facepipe.engine.local import Local
from facepipe.errors import StageError


class _KillsItsSender:
    """A result that kills the process that sent it, while it is being received."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return _kill_and_see_it_gone, (os.getpid(),)


def _kill_and_see_it_gone(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
        time.sleep(0.001)


@contextmanager
def open_doubling(job: int, worker: int) -> Iterator[Callable[[int], int]]:
    yield lambda item: job * item


@contextmanager
def open_deadly(job: int, worker: int) -> Iterator[Callable[[int], _KillsItsSender]]:
    yield lambda _: _KillsItsSender()


@contextmanager
def open_dying(job: int, worker: int) -> Iterator[Callable[[int], int]]:
    yield lambda _: os._exit(7)


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_comes_back_once(workers: int) -> None:
    assert sorted(Local(workers).map(open_doubling, 2, range(5))) == [(item, 2 * item) for item in range(5)]


@pytest.mark.process
def test_a_worker_that_dies_at_its_work_is_named_with_its_status() -> None:
    with pytest.raises(StageError, match=r"worker process \d+ ended with status 7 while it had work to do"):
        list(Local(2).map(open_dying, 1, range(4)))


@pytest.mark.process
def test_a_worker_that_dies_between_two_items_is_named_too() -> None:
    with pytest.raises(StageError, match=r"worker process \d+ ended with status -9 while it had work to do"):
        list(Local(2).map(open_deadly, 1, range(6)))
