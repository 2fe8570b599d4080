# SPDX-License-Identifier: Apache-2.0
"""Work in several processes: all items come back, and a worker that dies is an error at any moment."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facepipe.engine import Died, or_error
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
def open_dying_at(items: tuple[int, ...], worker: int) -> Iterator[Callable[[int], int]]:
    yield lambda item: os._exit(7) if item in items else item


@contextmanager
def open_segfault(job: int, worker: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: os.kill(os.getpid(), signal.SIGSEGV)


@contextmanager
def open_hungry(hungry: int, worker: int) -> Iterator[Callable[[int], int]]:
    def do(item: int) -> int:
        if item == hungry:
            raise MemoryError
        return item

    yield do


@contextmanager
def open_bounded(most: int, worker: int) -> Iterator[Callable[[int], int]]:
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def do(size: int) -> int:
        bytearray(size)
        return size

    yield do


@contextmanager
def open_broken(job: int, worker: int) -> Iterator[Callable[[int], int]]:
    os._exit(9)
    yield lambda item: item


@contextmanager
def open_process_number(job: int, worker: int) -> Iterator[Callable[[int], int]]:
    yield lambda _: os.getpid()


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_comes_back_once(workers: int) -> None:
    assert sorted(Local(workers).map(open_doubling, 2, range(5))) == [(item, 2 * item) for item in range(5)]


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_whose_process_dies_comes_back_as_that_and_the_others_go_on(workers: int) -> None:
    answers = dict(Local(workers).map(open_dying_at, (2, 5), range(6), apart=True))
    assert answers == {0: 0, 1: 1, 2: Died("ended with status 7"), 3: 3, 4: 4, 5: Died("ended with status 7")}


@pytest.mark.process
def test_the_signal_that_ended_a_process_is_named() -> None:
    assert list(Local(1).map(open_segfault, 0, [0], apart=True)) == [(0, Died("ended with signal SIGSEGV"))]


@pytest.mark.process
@pytest.mark.parametrize(("workers", "apart"), [(1, False), (1, True), (2, False)])
def test_an_item_for_which_there_is_no_memory_comes_back_as_died_and_the_others_go_on(
    workers: int, apart: bool
) -> None:
    answers = dict(Local(workers).map(open_hungry, 1, range(3), apart=apart))
    assert answers == {0: 0, 1: Died("ran out of memory"), 2: 2}


@pytest.mark.process
def test_real_memory_that_is_short_comes_back_as_died() -> None:
    answers = dict(Local(1).map(open_bounded, 2_000_000_000, [1, 4 << 30, 2], apart=True))
    assert answers == {0: 1, 1: Died("ran out of memory"), 2: 2}


@pytest.mark.process
def test_a_worker_that_dies_between_two_items_costs_no_item() -> None:
    assert sorted(place for place, _ in Local(2).map(open_deadly, 1, range(6))) == list(range(6))


@pytest.mark.process
def test_workers_that_die_before_they_are_given_anything_are_an_error_and_no_loop() -> None:
    with pytest.raises(StageError, match="3 worker processes in a row ended with status 9 before they were given"):
        list(Local(2).map(open_broken, 1, range(4)))


@pytest.mark.process
def test_apart_nothing_is_done_in_this_process() -> None:
    assert next(iter(Local(1).map(open_process_number, 0, [0], apart=True)))[1] != os.getpid()
    assert next(iter(Local(1).map(open_process_number, 0, [0])))[1] == os.getpid()


def test_work_that_cannot_do_without_an_answer_says_how_the_process_died() -> None:
    assert or_error(3) == 3
    with pytest.raises(StageError, match="a worker process ended with signal SIGKILL while it had work to do"):
        or_error(Died("ended with signal SIGKILL"))
