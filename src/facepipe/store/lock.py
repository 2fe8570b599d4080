# SPDX-License-Identifier: Apache-2.0
"""A lock that is a file with its owner's process number and machine, and that dies with its owner.

The system holds the lock (flock), the file only tells by whom: what a killed owner left is nobody's, and the next one
takes it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from facepipe.errors import FacepipeError
from facepipe.store.parts import host

_ASK_SECONDS = 0.05


@contextmanager
def held(
    path: Path, busy: Callable[[str], FacepipeError], *, wait_seconds: float = 0, vanishes: bool = False
) -> Iterator[None]:
    """Hold the lock `path` alone.

    Args:
        path: the lock's file; its folder exists.
        busy: makes the error from the owner: "4711 on board-3".
        wait_seconds: how long another owner is waited for.
        vanishes: remove the file when the lock is given back.

    Raises:
        What `busy` makes: another process holds it still.
    """
    until = time.monotonic() + wait_seconds
    while (handle := _taken(path)) is None:
        if time.monotonic() >= until:
            raise busy(_owner(path))
        time.sleep(_ASK_SECONDS)
    with handle:
        try:
            handle.seek(0)
            handle.truncate()
            handle.write(f"{os.getpid()} on {host()}\n")
            handle.flush()
            yield
        finally:
            if vanishes:
                path.unlink(missing_ok=True)  # while it is held: who waits sees that its file is gone, and opens anew
            fcntl.flock(handle, fcntl.LOCK_UN)


def _taken(path: Path) -> TextIO | None:
    """The lock's open file when it is ours; None while it is another's."""
    handle = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here = os.fstat(handle.fileno())
        if path.exists() and os.path.samestat(here, path.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):  # held; or removed by its owner just now
        pass
    except BaseException:
        handle.close()
        raise
    handle.close()
    return None


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip() or "unknown"
    except (OSError, UnicodeDecodeError):
        return "unknown"
