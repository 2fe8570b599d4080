# SPDX-License-Identifier: Apache-2.0
"""The engine of one machine: this process, or several beside it.

Results come back as they are ready. The first error of any worker ends them all and is raised here; a worker that dies
(out of memory, killed) is an error too, never a silent gap.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from facepipe.engine import Item, Job, Open, Result
from facepipe.errors import FacepipeError, StageError

_CLOSING_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Local:
    """Processes of this machine; 1 works in this very process."""

    workers: int = 1

    def map(self, open_job: Open[Job, Item, Result], job: Job, items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """As `Engine.map` says."""
        return _mapped(open_job, job, items, self.workers)


def _mapped(
    open_job: Open[Job, Item, Result], job: Job, items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result]]:
    if workers <= 1 or len(items) <= 1:
        with open_job(job, 0) as do:
            for place, item in enumerate(items):
                yield place, do(item)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that hold locks
    pipes: list[tuple[Connection, BaseProcess]] = []
    done = False
    try:
        for number in range(min(workers, len(items))):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(open_job, job, number, there), daemon=True)
            process.start()
            there.close()
            pipes.append((here, process))
        yield from _hand_out(pipes, items)
        done = True
    finally:
        for here, _ in pipes:
            here.close()
        for _, started in pipes:
            if done:
                started.join(_CLOSING_SECONDS)  # a worker with a device gives it back in order
            started.terminate()
        for _, started in pipes:
            started.join()


def _hand_out(pipes: list[tuple[Connection, BaseProcess]], items: Sequence[object]) -> Iterator[tuple[int, Any]]:
    """Give every idle worker the next item until all results are in."""
    waiting = list(reversed(range(len(items))))
    busy: dict[Connection, int] = {}
    processes = dict(pipes)

    def give(here: Connection) -> None:
        if waiting:
            with _worker_lives(processes[here]):
                here.send(items[waiting[-1]])
            busy[here] = waiting.pop()

    for here, _ in pipes:
        give(here)
    while busy:
        for here in (ready for ready in wait(list(busy)) if isinstance(ready, Connection)):
            with _worker_lives(processes[here]):
                result, error, text = here.recv()
            place = busy.pop(here)
            if isinstance(error, FacepipeError | OSError):
                raise error
            if error is not None:
                raise RuntimeError(f"in a worker process:\n{text}") from error
            give(here)
            yield place, result


@contextmanager
def _worker_lives(process: BaseProcess) -> Iterator[None]:
    """A pipe that breaks while it is open is a worker that died."""
    try:
        yield
    except (EOFError, ConnectionResetError, BrokenPipeError) as gone:
        process.join(5)
        raise StageError(
            f"worker process {process.pid} ended with status {process.exitcode} while it had work to do.",
            "run the same command again to resume; a worker killed for memory wants a smaller --batch "
            "or fewer --workers.",
        ) from gone


def _follow_parent() -> None:
    """End this process as soon as its parent is gone, in the middle of an item too.

    A worker that outlived a killed run would write its shard into a folder that may belong to another run by then.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _serve(open_job: Open[Any, Any, Any], job: object, number: int, pipe: Connection) -> None:
    """A worker process: open once, answer items until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal sends the signal to all
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        with open_job(job, number) as do:
            while True:
                item = pipe.recv()
                pipe.send((do(item), None, ""))
    except EOFError:
        return  # the parent is done, or gone
    except Exception as error:  # whatever it is, it is raised again in the parent
        text = traceback.format_exc()
        try:
            pipe.send((None, error, text))
        except (TypeError, AttributeError, ValueError):  # an error that does not pickle still has a text
            pipe.send((None, RuntimeError(text), text))
