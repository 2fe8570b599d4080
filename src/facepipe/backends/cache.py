# SPDX-License-Identifier: Apache-2.0
"""The folder of compiled models, which several processes share."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn_at(folder: Path, name: str) -> Iterator[None]:
    """Hold the folder's lock `<name>.lock`; others wait: the first of several workers compiles, the others read.

    The lock dies with its owner.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
