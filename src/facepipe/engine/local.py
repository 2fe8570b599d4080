# SPDX-License-Identifier: Apache-2.0
"""The same work on many items, in this process or in several.

A worker opens what it needs once (models, mostly), then takes items until there are none. Results come back as they are
ready. The first error of any worker ends them all and is raised here; a worker that dies (out of memory, killed) is an
error too, never a silent gap.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from facepipe.errors import FacepipeError, StageError

Job = TypeVar("Job", contravariant=True)
Result = TypeVar("Result", covariant=True)


_CLOSING_SECONDS = 30


class Open(Protocol[Job, Result]):
    """A module-level function: opens what the job needs, yields the function that does one item."""

    def __call__(self, job: Job, worker: int, /) -> AbstractContextManager[Callable[[int], Result]]: ...


def work(open_job: Open[Job, Result], job: Job, items: Sequence[int], workers: int) -> Iterator[tuple[int, Result]]:
    """Each item with its result, in the order in which they get ready.

    Args:
        open_job: called once in each worker, with the worker's number from 0.
        job: what it works on; must pickle when there is more than one worker.
        items: numbers of pieces of work that do not depend on each other.
        workers: processes. 1 works in this process.

    Raises:
        StageError: a worker died.
        FacepipeError: what a worker raised.
    """
    if workers <= 1 or len(items) <= 1:
        with open_job(job, 0) as do:
            for item in items:
                yield item, do(item)
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


def _hand_out(pipes: list[tuple[Connection, BaseProcess]], items: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Give every idle worker the next item until all results are in."""
    waiting = list(reversed(items))
    busy: dict[Connection, int] = {}
    processes = dict(pipes)

    def give(here: Connection) -> None:
        if waiting:
            with _worker_lives(processes[here]):
                here.send(waiting[-1])
            busy[here] = waiting.pop()

    for here, _ in pipes:
        give(here)
    while busy:
        for here in (ready for ready in wait(list(busy)) if isinstance(ready, Connection)):
            with _worker_lives(processes[here]):
                result, error, text = here.recv()
            item = busy.pop(here)
            if isinstance(error, FacepipeError | OSError):
                raise error
            if error is not None:
                raise RuntimeError(f"in a worker process:\n{text}") from error
            give(here)
            yield item, result


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


def _serve(
    open_job: Open[Job, Result],
    job: Job,
    number: int,
    pipe: Connection,
) -> None:
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
