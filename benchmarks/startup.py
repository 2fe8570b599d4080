# SPDX-License-Identifier: Apache-2.0
"""How long a command takes before it has done anything, and one photograph in a fresh process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facepipe.errors import BackendError


def measure_startup(
    photograph: Path, weights: Path, backends: Sequence[str], repeats: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Seconds from the start of a process to its end, the median of `repeats`.

    Raises:
        BackendError: a command failed.
    """
    base = [sys.executable, "-m", "facepipe"]
    commands = {"help": [*base, "--help"]}
    for backend in backends:
        words = ["detect", str(photograph), "--weights", str(weights), "--backend", backend]
        commands[f"detect_{backend}"] = [*base, *words]
    found = {}
    for name, command in commands.items():
        seconds = [_seconds(command) for _ in range(repeats)]
        found[name] = {"seconds": statistics.median(seconds), "each": seconds}
        progress(f"start-up, {name}: {found[name]['seconds']:.2f} s")
    return found


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    try:
        subprocess.run(list(command), check=True, capture_output=True, env={**os.environ, "COLUMNS": "100"})
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise BackendError(f"bench: {' '.join(command)} ended with status {error.returncode}: {said[-1]}") from error
    return time.perf_counter() - began
