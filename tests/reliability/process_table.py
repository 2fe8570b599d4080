# SPDX-License-Identifier: Apache-2.0
"""The processes of this machine, as proc(5) tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """One process: its number, whether it is dead and only not yet waited for, its group and its session."""

    number: int
    is_dead: bool
    group: int
    session: int


def processes() -> Iterator[Process]:
    """Every process that is there; one that ends meanwhile is passed over."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield Process(int(entry.name), fields[0] == "Z", int(fields[2]), int(fields[3]))
