# SPDX-License-Identifier: Apache-2.0
"""One file from one address: resumed where it was cut, checked, and there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facepipe import __version__
from facepipe.errors import AssetError
from facepipe.store.files import sha256_of_file
from facepipe.store.owned import place, require_place

Progress = Callable[[int, int | None], None]
"""Told (bytes here so far, bytes in all or None where the server does not say)."""

TIMEOUT_S = 30.0  # without a byte
PIECE_BYTES = 1 << 18
# A connection that is cut again and again, each time after some progress, is given up on at last.
MAX_CONNECTIONS = 50


def silent(done: int, total: int | None) -> None:
    """A progress that says nothing."""


class _Refused(Exception):
    """The server or the network said no; the text is the reason."""


def download(
    url: str,
    target: Path,
    sha256: str | None,
    size: int | None = None,
    progress: Progress = silent,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Put the file of `url` at `target` and return its sha256.

    Bytes gather in `part_of_download`, which outlives a cut connection, a kill and a full disk; the next call asks for
    the rest only. `target` appears by a rename after the digest was checked. Two processes take turns.

    Args:
        url: http or https.
        target: where the file is to be.
        sha256: the digest it must have; None when nobody published one.
        size: its bytes, where known.
        progress: told how far it is.
        timeout_s: longest wait for the next byte.

    Raises:
        AssetError: no network, a refusal of the server, or another content than expected. The error names the file,
            the address, and the place where it may be put by hand.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of_download(url, target)
    require_place(part)
    with _turn(target.parent):
        if target.is_file():  # another process was faster
            return sha256_of_file(target)
        require_place(target)
        resumed = part.is_file() and part.stat().st_size > 0
        seen = _fill(url, part, target, size, progress, timeout_s)
        if resumed and sha256 not in (None, seen):
            # The beginning came from an older try, perhaps of another file at that address: once more from nothing.
            part.unlink()
            seen = _fill(url, part, target, size, progress, timeout_s)
        if sha256 not in (None, seen):
            part.unlink()
            raise AssetError(
                f"{target}: what {url} serves has sha256 {seen}, expected {sha256}; it was thrown away.",
                f"a network without a log-in page or filter, or put the right file at {target} by hand.",
            )
        with part.open("rb") as whole:
            os.fsync(whole.fileno())
        place(part, target)
    return seen


def part_of_download(url: str, target: Path) -> Path:
    """Where the bytes gather. The name tells what they are, so that a file which somebody else called so is none."""
    mark = hashlib.sha256(f"facepipe {url} {target.name}".encode()).hexdigest()[:16]
    return target.with_name(f".{target.name}.{mark}.part")


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One download into `folder` at a time, over processes. The lock is on the folder and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _fill(url: str, part: Path, target: Path, size: int | None, progress: Progress, timeout_s: float) -> str:
    """Bring `part` to its full length, over as many connections as it takes while each changes something."""
    for _ in range(MAX_CONNECTIONS):
        before = part.stat().st_size if part.is_file() else 0
        try:
            _receive(url, part, size, progress, timeout_s)
            return sha256_of_file(part)
        except (_Refused, OSError, http.client.HTTPException) as error:
            after = part.stat().st_size if part.is_file() else 0
            if isinstance(error, OSError) and error.filename is not None:
                raise  # our own disk, not the network
            if after != before and not isinstance(error, _Refused):
                continue
            kept = f"; {after:,} bytes are kept, the same command resumes" if after else ""
            raise AssetError(
                f"{target}: no such file, and {url} cannot be downloaded ({_reason(error)}){kept}.",
                f"put it at {target} by hand; it comes from {url}",
            ) from error
    raise AssetError(
        f"{target}: {url} was cut {MAX_CONNECTIONS} times, {part.stat().st_size:,} bytes are kept.",
        "the same command resumes.",
    )


def _receive(url: str, part: Path, size: int | None, progress: Progress, timeout_s: float) -> None:
    """One connection: append to `part` what it lacks. Returns only when `part` is complete.

    Raises:
        _Refused: another try would end the same way.
        OSError, HTTPException: the connection broke.
    """
    have = part.stat().st_size if part.is_file() else 0
    if size is not None and have >= size:
        if have == size:
            return
        have = 0
    with _open(url, have, timeout_s) as response:
        if response.status == 206 and _first(response.headers.get("Content-Range")) != have:
            raise _Refused("the server answers with another range than was asked for")
        if response.status == 416 and _total(response.headers.get("Content-Range")) == have:
            return
        if response.status != 206:
            have = 0  # the server sends the whole file
        if response.status == 416:
            part.unlink()
            raise ConnectionError("the bytes kept were more than the file has")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else size
        progress(have, total)
        with part.open("ab" if have else "wb") as sink:
            while piece := response.read(PIECE_BYTES):
                sink.write(piece)
                have += len(piece)
                progress(have, total)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _open(url: str, have: int, timeout_s: float) -> Any:
    """The answer to a request for all bytes from `have`: 200, 206, or 416 when there are none."""
    headers = {"User-Agent": f"facepipe/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        # Not urlopen: it keeps the proxies of the process's first call for ever.
        opener = urllib.request.build_opener()
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            return error  # an HTTPError is an answer too
        with error:
            raise _Refused(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Refused(_reason(error)) from error


def _first(content_range: str | None) -> int | None:
    """The first byte of "bytes 100-199/200"."""
    match = re.match(r"bytes (\d+)-", content_range or "")
    return int(match[1]) if match else None


def _total(content_range: str | None) -> int | None:
    """The length in "bytes */200"."""
    match = re.match(r"bytes [^/]*/(\d+)$", content_range or "")
    return int(match[1]) if match else None


def _reason(error: BaseException) -> str:
    """What went wrong, in words: the innermost cause that has any."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection was cut {error.expected:,} bytes before the end"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
