# SPDX-License-Identifier: Apache-2.0
"""The folder of compiled models, which several processes share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facepipe.store.owned import require_place


@contextmanager
def turn_at(folder: Path, name: str) -> Iterator[None]:
    """Hold the folder's lock `<name>.lock`; others wait: the first of several workers compiles, the others read.

    The lock dies with its owner.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.lock"
    require_place(path)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # nothing is written into it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
