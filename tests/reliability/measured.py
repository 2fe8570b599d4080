# SPDX-License-Identifier: Apache-2.0
"""A command as a process of its own, with what it took: time, peak memory, open files, temporary files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from process_table import processes


@dataclass(frozen=True)
class Measured:
    """What one command took.

    Attributes:
        peak_bytes: the largest resident memory of the command or of any one of its workers.
        samples: for each look, the seconds since the start, and of all its processes together the resident bytes, the
            open files, and the seconds of processor time.
        temporary: what it left in its folder for temporary files.
    """

    status: int
    text: str
    seconds: float
    peak_bytes: int
    samples: tuple[tuple[float, int, int, float], ...]
    temporary: tuple[str, ...]
    started: float = field(default=0.0)


def facepipe(words: Sequence[str], timeout_s: float = 600, every_s: float = 0.05) -> Measured:
    """Run `facepipe WORDS` and look at it again and again.

    Raises:
        TimeoutError: it is still running after `timeout_s`; it was killed.
    """
    with tempfile.TemporaryDirectory(prefix="facepipe-tests-") as scratch:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": scratch}
        began, wall = time.monotonic(), time.time()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "facepipe", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            samples, peaks = [], [0]
            while process.poll() is None:
                seen = [_look(pid) for pid in _group(process.pid)]
                peaks += [peak for _, peak, _, _ in seen]
                now, _, files, busy = (sum(column) for column in zip(*seen, strict=True)) if seen else (0, 0, 0, 0.0)
                samples.append((time.monotonic() - began, int(now), int(files), busy))
                if time.monotonic() - began > timeout_s:
                    os.killpg(process.pid, 9)
                    process.wait()
                    raise TimeoutError(f"facepipe {words[0]} is still running after {timeout_s:g} s")
                time.sleep(every_s)
            output.seek(0)
            text = output.read().decode(errors="replace")
        left = tuple(sorted(path.name for path in Path(scratch).iterdir()))
        return Measured(process.returncode, text, time.monotonic() - began, max(peaks), tuple(samples), left, wall)


def embed_folder(folder: Path, run: Path, weights: Path, *more: str, timeout_s: float = 600) -> Measured:
    """`facepipe embed` over a folder, in one process."""
    words = ["embed", str(folder), "--out", str(run), "--weights", str(weights), "--embedder", "facenet.seeded"]
    return facepipe([*words, "--workers", "1", *more], timeout_s)


def _group(leader: int) -> list[int]:
    """The processes of a session that was started for one command."""
    return [one.number for one in processes() if one.session == leader]


def _look(pid: int) -> tuple[int, int, int, float]:
    """(resident bytes now, at most, open files, seconds of processor time); zeros when it is gone.

    The peak is VmHWM of proc(5). The ru_maxrss of getrusage(2) is no such figure: a new process inherits the high water
    of the one that started it.
    """
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        now, peak = (int(lines[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        busy = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return now, peak, len(list(Path(f"/proc/{pid}/fd").iterdir())), busy
    except (OSError, KeyError, ValueError):
        return 0, 0, 0, 0.0
