# SPDX-License-Identifier: Apache-2.0
"""A lock that is a file with its owner's process number and machine, and that dies with its owner.

The system holds the lock (flock), the file only tells by whom: what a killed owner left is nobody's, and the next one
takes it. The file is never written into: it appears whole, and who takes it puts another in its place. A file of that
name that is no lock of ours is refused and stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facepipe.errors import FacepipeError, StageError
from facepipe.store.parts import appear, host, part_of

LOCK = "lock"
"""The name of a run's lock."""

_ASK_SECONDS = 0.05
_LONGEST = 512  # bytes; a machine's name has 64 at most
_OWNER = re.compile(rb"[0-9]+ on [A-Za-z0-9-]+\n")


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
        StageError: what lies there is no lock of ours.
    """
    until = time.monotonic() + wait_seconds
    mine = part_of(path)
    try:
        mine.write_text(f"{os.getpid()} on {host()}\n", encoding="ascii")
        with mine.open("rb+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            while not _taken(mine, path):
                if time.monotonic() >= until:
                    raise busy(_content(path).decode("ascii", "replace").strip() or "unknown")
                time.sleep(_ASK_SECONDS)
            try:
                yield
            finally:
                if vanishes:
                    path.unlink(missing_ok=True)  # while it is held: who waits sees that its file is gone
                fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        mine.unlink(missing_ok=True)


def is_lock(path: Path) -> bool:
    """Whether a file is a lock of ours, held or left behind; no link is followed."""
    try:
        return _OWNER.fullmatch(_content(path)) is not None
    except OSError:
        return False


def _taken(mine: Path, path: Path) -> bool:
    """Whether `mine`, which is held, lies at `path` now; False while another's does.

    Raises:
        StageError: what lies there is no lock of ours.
    """
    if appear(mine, path):
        return True
    try:
        there = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:  # its owner has just removed it
        return False
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise _no_lock(path) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(there).st_mode) or not _OWNER.fullmatch(os.read(there, _LONGEST)):
            raise _no_lock(path)
        fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(there), path.lstat()):
            return False
        mine.replace(path)  # who waits for the old file sees that it is gone
        return True
    except (BlockingIOError, FileNotFoundError):  # held; or removed by its owner just now
        return False
    finally:
        os.close(there)


def _content(path: Path) -> bytes:
    try:
        there = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    try:
        return os.read(there, _LONGEST) if stat.S_ISREG(os.fstat(there).st_mode) else b""
    finally:
        os.close(there)


def _no_lock(path: Path) -> StageError:
    return StageError(
        f"{path}: is not a lock of facepipe's; it stays, expected nothing of that name.", "move it away, or rename it."
    )
