# SPDX-License-Identifier: Apache-2.0
"""The folder of compiled models, which several processes share. What comes out is what was put in, or is made anew."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from facepipe.store.files import atomic_path
from facepipe.store.owned import require_place

DIGEST: Final = hashlib.sha256().digest_size


def kept(folder: Path, name: str, made_of: str, suffix: str, make: Callable[[], bytes]) -> bytes:
    """What `make` gives, from the folder where it lies there whole.

    Args:
        name: of the lock that is held while it is made: the first of several workers compiles, the others read.
        made_of: all that it depends on; another text is another file.
        suffix: of the file's name.
    """
    path = folder / f"{hashlib.sha256(made_of.encode()).hexdigest()}{suffix}"
    content = _read(path)
    if content is None:
        with turn_at(folder, name):
            content = _read(path)  # another process may have had the turn before
            if content is None:
                content = make()
                # Its name is a digest of ours: what lies there and is not whole was compiled here, and is damaged.
                with atomic_path(path, overwrite=True) as part, part.open("wb") as file:
                    file.write(hashlib.sha256(content).digest())
                    file.write(content)
    return content


def _read(path: Path) -> bytes | None:
    """What stands behind its digest; None where it is not there, or not whole: damaged code would be executed."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        digest, content = file.read(DIGEST), file.read()
    return content if hashlib.sha256(content).digest() == digest else None


@contextmanager
def turn_at(folder: Path, name: str) -> Iterator[None]:
    """Hold the folder's lock `<name>.lock`; others wait. The lock dies with its owner."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.lock"
    require_place(path)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # nothing is written into it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
