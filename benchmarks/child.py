# SPDX-License-Identifier: Apache-2.0
"""A question to a process of its own, as one JSON object in and one out.

What is timed runs alone in its process: neither side of a comparison inherits the other's memory, threads or caches.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from facepipe.errors import BackendError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def ask(command: Sequence[str], question: Mapping[str, Any], *, threads: int | None = None) -> dict[str, Any]:
    """The answer of a fresh process of `command`; `threads` is what its libraries for linear algebra may use.

    Raises:
        BackendError: it failed; the last line that it wrote is shown.
    """
    allowed = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    try:
        done = subprocess.run(
            list(command),
            input=json.dumps(question),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            env={**os.environ, **allowed},
        )
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()] or ["nothing on standard error"]
        raise BackendError(f"bench: {' '.join(command)} ended with status {error.returncode}: {said[-1]}") from error
    except FileNotFoundError as error:
        raise BackendError(f"bench: {command[0]} is not there, expected a program to measure.") from error
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict), f"{command} answered with {type(answer)}"
    return answer
