# SPDX-License-Identifier: Apache-2.0
"""A question to a process of its own, as one JSON object in and one out.

What is timed runs alone in its process: neither side of a comparison inherits the other's memory, threads or caches.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facepipe.errors import BackendError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ROOT = Path(__file__).resolve().parents[1]


def environment(*, threads: int | None = None, sources: Path | None = None) -> dict[str, str]:
    """What a process is started with: this package can be imported, from whatever folder it is started.

    Args:
        threads: what its libraries for linear algebra may use; None leaves it to them.
        sources: a folder that holds another checkout's `facepipe`, which is imported instead of the installed one.
    """
    paths = [str(ROOT), *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])]
    if sources is not None:
        paths.insert(0, str(sources.resolve()))
    allowed = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **allowed}


def last_line(said: str) -> str:
    """The last line of what a process wrote before it ended."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"


def ask(command: Sequence[str], question: Mapping[str, Any], *, threads: int | None = None) -> dict[str, Any]:
    """The answer of a fresh process of `command`; `threads` is what its libraries for linear algebra may use.

    Raises:
        BackendError: it failed; the last line that it wrote is shown.
    """
    try:
        done = subprocess.run(
            list(command),
            input=json.dumps(question),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            env=environment(threads=threads),
        )
    except subprocess.CalledProcessError as error:
        raise BackendError(
            f"bench: {' '.join(command)} ended with status {error.returncode}: {last_line(error.stderr)}"
        ) from error
    except FileNotFoundError as error:
        raise BackendError(f"bench: {command[0]} is not there, expected a program to measure.") from error
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict), f"{command} answered with {type(answer)}"
    return answer
