# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end a run by the way of an exception, so that temporary files go and locks are given back.

An exception that a signal raises can land anywhere: in a destructor, where Python prints and forgets it, or in the
import of a C extension, which answers with an ImportError of its own. So the handler notes that a stop was asked for,
and raises again every fifth of a second until the command has ended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

AGAIN_SECONDS = 0.2


class Stopped(BaseException):
    """A stop was asked for. Not an Exception: nothing that handles errors may handle it."""


@dataclass(slots=True)
class StopRequest:
    """The signal that asked for the stop; None until one does."""

    number: int | None = None


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """While open, SIGINT and SIGTERM raise Stopped; on the way out the handlers are as they were.

    Outside the main thread, where Python takes no signals, it does nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def stop(number: int, frame: object) -> None:
        if number != signal.SIGALRM:
            request.number = number
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    try:
        yield request
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
