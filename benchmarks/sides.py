# SPDX-License-Identifier: Apache-2.0
"""A side of a comparison: processes that are loaded and warm, and do a piece of work when they are told to.

They speak JSON, a line each way. The first line tells a process its settings, and its answer that it is ready; then
`{"shard": 3}` is answered with `{"faces": 31}` when that shard is done. What it takes is measured from here, for every
side alike: a side cannot leave out its threads, its own processes, or its last write.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.child import last_line
from benchmarks.paired import Spent
from facepipe.errors import BackendError

PROC = Path("/proc")
CLOSING_SECONDS = 10  # for a process to end by itself
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of a side, and what it said when it was ready."""

    name: str
    process: subprocess.Popen[str]
    errors: IO[str]
    ready: Answer = field(default_factory=dict)

    def ask(self, question: Mapping[str, Any]) -> Answer:
        """Its answer.

        Raises:
            BackendError: it ended instead; the last line that it wrote is shown.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            raise BackendError(f"bench: {self.name} ended with status {status}: {last_line(self.errors.read())}")
        answer = json.loads(line)
        assert isinstance(answer, dict), f"{self.name} answered with {type(answer)}"
        return answer


@dataclass(frozen=True, slots=True)
class ProcessSide:
    """A side of one process or several, which take shards as they get free."""

    name: str
    workers: tuple[Worker, ...]
    faces: dict[int, int] = field(default_factory=dict)  # by shard

    def work(self, shards: Sequence[int]) -> Spent:
        """Do the shards.

        Raises:
            BackendError: a process ended.
        """
        before, began = self._cpu_seconds(), time.perf_counter()
        waiting = deque(shards)
        if len(self.workers) == 1:
            self._empty(self.workers[0], waiting)
        else:
            with ThreadPoolExecutor(len(self.workers)) as pool:
                for done in [pool.submit(self._empty, worker, waiting) for worker in self.workers]:
                    done.result()
        return Spent(time.perf_counter() - began, self._cpu_seconds() - before)

    def warm_up(self, shards: Sequence[int]) -> None:
        """Every process does all of them once."""
        for worker in self.workers:
            self._empty(worker, deque(shards))

    def peak_memory(self) -> int:
        """Bytes that its processes held at their highest, together."""
        return sum(memory_of_process(worker.process.pid) for worker in self.workers)

    def _empty(self, worker: Worker, waiting: deque[int]) -> None:
        while True:
            try:
                shard = waiting.popleft()
            except IndexError:  # another process took the last one
                return
            self.faces[shard] = int(worker.ask({"shard": shard})["faces"])

    def _cpu_seconds(self) -> float:
        return sum(cpu_seconds_of_process(worker.process.pid) for worker in self.workers)


@contextmanager
def open_side(
    name: str, command: Sequence[str], settings: Sequence[Mapping[str, Any]], environment: Mapping[str, str]
) -> Iterator[ProcessSide]:
    """As many processes of `command` as there are settings, all ready; they are ended on every way out.

    Raises:
        BackendError: one is not there, or ended before it was ready.
    """
    with ExitStack() as stack:
        begun = [stack.enter_context(_process(name, command, environment)) for _ in settings]
        with ThreadPoolExecutor(len(begun)) as pool:  # they load at the same time
            answers = list(pool.map(Worker.ask, begun, settings))
        workers = (Worker(name, one.process, one.errors, answer) for one, answer in zip(begun, answers, strict=True))
        yield ProcessSide(name, tuple(workers))


@contextmanager
def _process(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Worker]:
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        try:
            process = subprocess.Popen(
                list(command), stdin=pipe, stdout=pipe, stderr=errors, text=True, encoding="utf-8", env=environment
            )
        except FileNotFoundError as error:
            raise BackendError(f"bench: {command[0]} is not there, expected a program to measure.") from error
        with process:
            try:
                yield Worker(name, process, errors)
                assert process.stdin is not None
                process.stdin.close()  # there is no more to do
                process.wait(CLOSING_SECONDS)
            finally:
                process.kill()


def cpu_seconds_of_process(process: int) -> float:
    """User and system time of a process and of all that it started, those that have ended included.

    Of the living by the clock that clock_getcpuclockid(3) names, which counts nanoseconds; of the ended by proc(5),
    which counts hundredths of a second.

    Raises:
        BackendError: this is not Linux, or the process is gone.
    """
    try:
        # After the command's name, which may have spaces: state is field 3, cutime and cstime are 16 and 17.
        fields = (PROC / str(process) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        own = time.clock_gettime(~process << 3 | 2)
        started = [path.read_text(encoding="utf-8").split() for path in (PROC / str(process)).glob("task/*/children")]
    except (OSError, AttributeError) as error:
        raise BackendError(
            f"bench: the time of process {process} cannot be read ({error}).", "measure on Linux."
        ) from error
    ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return own + ended + sum(cpu_seconds_of_process(int(child)) for children in started for child in children)


def memory_of_process(process: int) -> int:
    """Bytes of memory that a process held at its highest (VmHWM of proc(5)).

    getrusage's ru_maxrss is no such figure: a new process inherits the high water of the one that started it.

    Raises:
        BackendError: this is not Linux, or the process is gone.
    """
    try:
        lines = (PROC / str(process) / "status").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BackendError(
            f"bench: the memory of process {process} cannot be read ({error}).", "measure on Linux."
        ) from error
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
