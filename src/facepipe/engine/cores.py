# SPDX-License-Identifier: Apache-2.0
"""How many processes this machine has room for."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use; in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
