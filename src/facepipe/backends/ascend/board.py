# SPDX-License-Identifier: Apache-2.0
"""What the board says of itself: its chip, and its memory.

The chip is asked of pyACL (`acl.get_soc_name` gives ATC's own name for it, of A3 and 950 too), in a process of its own:
the library of this process belongs to the session that initialises it. Memory is read from the table of `npu-smi info`.
"""

from __future__ import annotations

import re
import subprocess
import sys

from facepipe.catalogue.chips import HOW_TO_NAME, Soc, soc_by_name
from facepipe.errors import DataError

_ASK = "import sys; sys.path[:] = filter(None, sys.path); import acl; print(acl.get_soc_name() or '')"
_LONGEST_S = 60.0  # a driver that hangs must not hang the question


def board_soc() -> Soc | None:
    """The chip of this board; None where there is no CANN, or no device.

    Raises:
        DataError: it has a name that is not known here.
    """
    try:
        asked = subprocess.run(
            (sys.executable, "-c", _ASK), capture_output=True, text=True, check=False, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        return None
    name = asked.stdout.strip()
    return soc_by_name(name) if asked.returncode == 0 and name else None


def require_soc(name: str | None) -> Soc:
    """The chip of that name; without one the board's.

    Raises:
        DataError: it is not known here, or there is neither a name nor a board.
    """
    if name is not None:
        return soc_by_name(name)
    soc = board_soc()
    if soc is None:
        raise DataError("no chip is named, and here is no board that could be asked.", f"--soc: {HOW_TO_NAME}.")
    return soc


_ROW = re.compile(r"^\|\s*\d+\s+\S.*\|\s*$", re.MULTILINE)
_PAIR = re.compile(r"(\d+)\s*/\s*(\d+)")


def memory_of_devices(table: str) -> list[tuple[int, int]]:
    """(used, all) megabytes of every device in what `npu-smi info` prints, in its order.

    Each device has two rows; the second has the bus and, as its last pair "used / all", the memory: the first may have
    a pair of its own, huge pages of 310P (Ascend/ModelZoo-PyTorch, FaceNet's README), and the second of 910B has DDR
    before HBM. The table of processes below has no such pair.
    """
    rows = [row.group(0) for row in _ROW.finditer(table.partition("Process id")[0])]
    pairs = [_PAIR.findall(row) for row in rows[1::2]]
    return [(int(found[-1][0]), int(found[-1][1])) for found in pairs if found]
