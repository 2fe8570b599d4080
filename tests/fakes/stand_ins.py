# SPDX-License-Identifier: Apache-2.0
"""Puts the stand-ins of CANN's programs and modules where a process looks for them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).resolve().parent
PROGRAMS, MODULES, DEVLIB = FAKES / "bin", FAKES / "cann", FAKES / "devlib"


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child process that finds the stand-ins first, and this Python before any other."""
    path = os.pathsep.join([str(PROGRAMS), str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    libraries = os.pathsep.join([str(DEVLIB), os.environ.get("LD_LIBRARY_PATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(MODULES), "LD_LIBRARY_PATH": libraries, **changes}


def stand_in(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """The same for this process and its children."""
    for name, value in environment(**changes).items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
