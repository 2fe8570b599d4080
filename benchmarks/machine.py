# SPDX-License-Identifier: Apache-2.0
"""The machine that a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from facepipe.engine.cores import cores


def machine() -> dict[str, object]:
    """Processor, cores that this process may use, memory and system; what cannot be told is left out."""
    found: dict[str, object] = {
        "system": platform.platform(),
        "cores": cores(),
    }
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.startswith("model name"):
                found["processor"] = line.partition(":")[2].strip()
        flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
        found["instructions"] = [name for name in flags if name.startswith(("avx", "amx", "sse4"))]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return found
