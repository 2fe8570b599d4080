# SPDX-License-Identifier: Apache-2.0
"""Unfinished files: `.<name>.<host>.<process>.<start>-<random><check>.part`, and which of them nobody will finish.

The name says whose they are, so a folder can be shared by processes and by machines. `<start>` is when the process
began, in ticks of the system since it booted: a number that a later process was given again does not make it the owner.
`<check>` is made of all that stands before it: a file that somebody else called `.part` is none of ours.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from pathlib import Path

FOREIGN_SECONDS = 24 * 3600
"""Of another machine's part nobody here can ask the owner: it lives while the part was changed within this time."""

_LONGEST_NAME = 255  # bytes, on every usual file system
_FIRST_NAMESPACE = 0xEFFFFFFC  # of processes, on every Linux (include/linux/proc_ns.h, PROC_PID_INIT_INO)
_PART = re.compile(
    r"(?P<all>\..+\.(?P<host>[^.]+)\.(?P<process>\d+)\.(?P<start>\d+)-[0-9a-f]{8})(?P<check>[0-9a-f]{8})\.part",
    re.DOTALL,
)


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
    return path.with_name(part_name(path.name, host(), process, _start_of(process) or 0))


def part_name(name: str, owner: str, process: int, start: int) -> str:
    """A new part's name: of what will be `name`, by a process of the machine `owner`."""
    mark = f"{owner}.{process}.{start}-{secrets.token_hex(4)}"
    room = _LONGEST_NAME - len(f"..{mark}12345678.part")
    short = os.fsencode(name)[:room].decode(errors="ignore")  # a name that is long already loses its end here alone
    text = f".{short}.{mark}"
    return f"{text}{_check(text)}.part"


def is_part(path: Path) -> bool:
    """Whether the name is that of an unfinished file, or folder, of facepipe's."""
    match = _PART.fullmatch(path.name)
    return match is not None and _check(match["all"]) == match["check"]


def appear(part: Path, path: Path) -> bool:
    """`part` becomes `path` where nothing is there; answers whether it did. It stays where it did not."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        if os.path.lexists(path):
            return False
        part.replace(path)
        return True
    part.unlink()
    return True


def owner_lives(part: Path) -> bool:
    """Whether somebody may still be writing `part`.

    On this machine: its process is there, and began when the name says. Of another machine: it, or a file in it, was
    changed within FOREIGN_SECONDS. What is no part (`is_part`; a download, which goes on where it stopped) is nobody's
    to judge, and lives.
    """
    match = _PART.fullmatch(part.name)
    if match is None or not is_part(part):
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


def remove_parts(folder: Path) -> None:
    """Remove the parts in `folder` (files or folders) whose owner does not live; what lies deeper is not looked at."""
    try:
        there = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # not made yet, or a part that its owner has just given its name
        return
    for part in filter(is_part, there):
        if part.is_symlink() or owner_lives(part):
            continue
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif part.is_file():
            part.unlink(missing_ok=True)


def _check(text: str) -> str:
    return hashlib.sha256(b"facepipe " + os.fsencode(text)).hexdigest()[:8]


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
