# SPDX-License-Identifier: Apache-2.0
"""Unfinished files: `.<name>.<host>.<process>.<start>-<random>.part`, and which of them nobody will finish.

The name says whose they are, so a folder can be shared by processes and by machines. `<start>` is when the process
began, in ticks of the system since it booted: a number that a later process was given again does not make it the owner.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

FOREIGN_SECONDS = 24 * 3600
"""Of another machine's part nobody here can ask the owner: it lives while the part was changed within this time."""

_LONGEST_NAME = 255  # bytes, on every usual file system
_FIRST_NAMESPACE = 0xEFFFFFFC  # of processes, on every Linux (include/linux/proc_ns.h, PROC_PID_INIT_INO)
_PART = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<process>\d+)\.(?P<start>\d+)-[0-9a-f]{8}\.part", re.DOTALL)


def host() -> str:
    """This machine's name without dots; in a container of its own processes also the number of that."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", platform.node()) or "unnamed"
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # no Linux
        return name
    return name if namespace == _FIRST_NAMESPACE else f"{name}-{namespace}"


def part_of(path: Path) -> Path:
    """A new name beside `path` for what will become it; no other call gives the same."""
    process = os.getpid()
    mark = f"{host()}.{process}.{_start_of(process) or 0}-{secrets.token_hex(4)}"
    room = _LONGEST_NAME - len(f"..{mark}.part")
    name = path.name.encode()[:room].decode(errors="ignore")  # a name that is long already loses its end here alone
    return path.with_name(f".{name}.{mark}.part")


def owner_lives(part: Path) -> bool:
    """Whether somebody may still be writing `part`.

    On this machine: its process is there, and began when the name says. Of another machine: it, or a file in it, was
    changed within FOREIGN_SECONDS. A name without an owner (a download, which goes on where it stopped) is nobody's to
    judge, and lives.
    """
    match = _PART.fullmatch(part.name)
    if match is None:
        return True
    if match["host"] != host():
        return time.time() - _last_change(part) < FOREIGN_SECONDS
    process, start = int(match["process"]), int(match["start"])
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's, which is there
        pass
    now = _start_of(process)
    return (now is None and not Path("/proc/self/stat").exists()) or (now is not None and start in (0, now))


def remove_parts(folder: Path, *, below: bool = False) -> None:
    """Remove the parts in `folder` (files or folders) whose owner does not live; with `below` at any depth."""
    for part in list(_parts(folder, below)):
        if owner_lives(part):
            continue
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _parts(folder: Path, below: bool) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:  # not made yet, or a part that its owner has just given its name
        return
    for entry in entries:
        if entry.name.startswith(".") and entry.name.endswith(".part"):
            yield Path(entry.path)
        elif below and entry.is_dir(follow_symlinks=False):
            yield from _parts(Path(entry.path), below)


def _start_of(process: int) -> int | None:
    """Ticks from the boot to the process's start; None when it has ended, or where the system has no /proc.

    Source: proc_pid_stat(5); field 3 is the state (Z: ended, not yet asked for), field 22 the start.
    """
    try:
        content = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = content.rpartition(")")[2].split()  # the program's name, field 2, may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def _last_change(part: Path) -> float:
    """When it, or the newest file in it, was changed; 0 when it is gone."""
    times = [0.0]
    for path in (part, *part.rglob("*")):
        try:
            times.append(path.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)
