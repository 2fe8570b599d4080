# SPDX-License-Identifier: Apache-2.0
"""The engine of one machine: this process, or several beside it.

Results come back as they are ready. The first error of any worker ends them all and is raised here. A worker that dies
(a crash in a decoder, out of memory, killed) is told in place of its item's result, and another one takes its place.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from facepipe.engine import Died, Item, Job, Open, Result
from facepipe.errors import FacepipeError, StageError

_CLOSING_SECONDS = 30
_STARTS = 3  # workers that die in a row before any of them answered: then it is no item's doing
_OUT_OF_MEMORY = errno.ENOMEM  # the status of a worker that ended itself after a MemoryError


@dataclass(frozen=True, slots=True)
class Local:
    """Processes of this machine; 1 works in this very process, unless it has to be apart."""

    workers: int = 1

    def map(
        self, open_job: Open[Job, Item, Result], job: Job, items: Sequence[Item], *, apart: bool = False
    ) -> Generator[tuple[int, Result | Died]]:
        """As `Engine.map` says."""
        if not apart and (self.workers <= 1 or len(items) <= 1):
            yield from _here(open_job, job, items)
        else:
            yield from _beside(open_job, job, items, min(self.workers, len(items)))


@dataclass(slots=True)
class _Worker:
    """A worker process, the pipe to it, and the place of the item that it has; None while it starts, or idles."""

    number: int
    process: BaseProcess
    pipe: Connection
    place: int | None = None


def _here(open_job: Open[Job, Item, Result], job: Job, items: Sequence[Item]) -> Generator[tuple[int, Result | Died]]:
    with open_job(job, 0) as do:
        for place, item in enumerate(items):
            answer: Result | Died
            try:
                answer = do(item)
            except MemoryError:
                answer = Died("ran out of memory")
            yield place, answer


def _beside(
    open_job: Open[Job, Item, Result], job: Job, items: Sequence[Item], workers: int
) -> Generator[tuple[int, Result | Died]]:
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that hold locks
    crew: list[_Worker] = []
    done = False

    def start(number: int) -> None:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(open_job, job, number, there), daemon=True)
        process.start()
        there.close()
        crew.append(_Worker(number, process, here))

    try:
        for number in range(workers):
            start(number)
        yield from _hand_out(crew, start, items)
        done = True
    finally:
        for worker in crew:
            worker.pipe.close()
        for worker in crew:
            if done:
                worker.process.join(_CLOSING_SECONDS)  # a worker with a device gives it back in order
            worker.process.terminate()
        for worker in crew:
            worker.process.join()


def _hand_out(crew: list[_Worker], start: Callable[[int], None], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Give every worker that is ready the next item until each has its answer; start a worker for each that died."""
    waiting = list(reversed(range(len(items))))
    answered, lost = 0, 0  # lost: workers that died without an item since the last answer
    while answered < len(items):
        for worker in _speaking(crew):
            place = worker.place
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):  # OSError: in the middle of a message
                answer = Died(_end(worker, crew))
                if waiting:
                    lost = lost + 1 if place is None else 0
                    if lost == _STARTS:
                        raise _cannot_start(answer.how) from None
                    start(worker.number)
            else:
                answer = _result(*message)
                lost = lost if place is None else 0
                _give_next(worker, waiting, items)
            if place is not None:
                answered += 1
                yield place, answer


def _speaking(crew: list[_Worker]) -> list[_Worker]:
    """The workers that have answered, or died; waits for the first."""
    speaking = wait([worker.pipe for worker in crew])
    return [worker for worker in crew if worker.pipe in speaking]


def _result(result: Any, error: Exception | None, text: str) -> Any:
    """What a worker answers: a result, or at first that it is ready. Its error is raised."""
    if isinstance(error, FacepipeError | OSError):
        raise error
    if error is not None:
        raise RuntimeError(f"in a worker process:\n{text}") from error
    return result


def _give_next(worker: _Worker, waiting: list[int], items: Sequence[object]) -> None:
    """Hand out the next item, if there is one; one that died between two items is noticed by the next look at it."""
    worker.place = None
    if waiting:
        with suppress(ConnectionResetError, BrokenPipeError):
            worker.pipe.send(items[waiting[-1]])
            worker.place = waiting.pop()


def _end(worker: _Worker, crew: list[_Worker]) -> str:
    """Take leave of a worker that died; how it did, in the words of `Died`."""
    crew.remove(worker)
    worker.pipe.close()
    worker.process.join()
    status = worker.process.exitcode or 0
    if status == _OUT_OF_MEMORY:
        return "ran out of memory"
    return f"ended with signal {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _cannot_start(how: str) -> StageError:
    return StageError(
        f"{_STARTS} worker processes in a row {how} before they were given anything, expected them to start.",
        "run the same command again to resume, with fewer --workers where memory is short; --workers 1 shows more.",
    )


def _follow_parent() -> None:
    """End this process as soon as its parent is gone, in the middle of an item too.

    A worker that outlived a killed run would write its shard into a folder that may belong to another run by then.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _serve(open_job: Open[Any, Any, Any], job: object, number: int, pipe: Connection) -> None:
    """A worker process: open once, say that it is ready, answer items until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal sends the signal to all
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        with open_job(job, number) as do:
            answer = None  # that it is ready
            while _told(pipe, (answer, None, "")):
                answer = do(pipe.recv())
    except EOFError:
        return  # the parent is done, or gone
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except Exception as error:  # whatever it is, it is raised again in the parent
        text = traceback.format_exc()
        try:
            _told(pipe, (None, error, text))
        except (TypeError, AttributeError, ValueError):  # an error that does not pickle still has a text
            _told(pipe, (None, RuntimeError(text), text))


def _told(pipe: Connection, message: tuple[Any, Exception | None, str]) -> bool:
    """Send the parent a message; False where it is done, or gone."""
    try:
        pipe.send(message)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True
