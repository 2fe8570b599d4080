# SPDX-License-Identifier: Apache-2.0
"""Kills commands at any moment, lets them resume, and says what was lost.

A `Victim` is a command that writes files and says that it can be killed. `undisturbed` lets it work once; `survive`
kills it several times, each time looks at what is visible, lets it finish, and compares every file, byte for byte.
When it is killed is told by what it has finished, not by the clock alone: a loaded machine, and workers that take
seconds to start, move the clock by more than the work takes.
Anything that is not as promised raises `Broken`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from process_table import processes

from facepipe.store.owned import RECORD

NURSERY = Path(__file__).with_name("nursery.py")
PATIENCE_S = 300.0
ENDING_S = 30.0  # a worker ends within milliseconds, on a machine that has time for it


class Broken(AssertionError):
    """A promise that was not kept."""


@dataclass(frozen=True)
class Victim:
    """A command that may be killed.

    Attributes:
        words: from the folder that it works in to its command line.
        call: "lfw" stands for the whole command line, "fetch" for fetching from another address.
        imports: modules that are imported before it starts.
        once: patterns of files that are finished one by one and never written again.
        timed: names of files that hold times, so that their bytes differ from run to run.
        loose: patterns of files that hold the name of a temporary folder: only their presence is compared.
        whole: patterns of files that appear together or not at all.
        environment: further variables.
        prepare: called with the folder before anything starts.
    """

    name: str
    words: Callable[[Path], list[str]]
    call: str = "lfw"
    imports: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    timed: tuple[str, ...] = ("run.json",)
    loose: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run leaves, and how long it took.

    Attributes:
        seconds: from start to end.
        first_s: until the first file of `Victim.once` was finished.
        gap_s: from one of these files to the next, on average.
    """

    files: Mapping[str, bytes]
    seconds: float
    first_s: float = 0.0
    gap_s: float = 0.0
    finished: int = 0


@dataclass(frozen=True)
class Moment:
    """When to kill, and whom.

    Attributes:
        more: this many files of `Victim.once` must have been finished since the start; 0 is while it starts.
        delay_s: seconds from then on.
        worker: kill a worker process, where there is one, and not the command itself.
    """

    more: int
    delay_s: float
    worker: bool = False


@dataclass(frozen=True)
class Kills:
    """Kills after which a command was not done, or went on without a worker.

    Attributes:
        commands: of the command's own process.
        beside_workers: those of them during which worker processes lived.
        workers: of a worker process.
        at_work: all those between the first finished file since the start and the last.
    """

    commands: int = 0
    beside_workers: int = 0
    workers: int = 0
    at_work: int = 0

    @property
    def total(self) -> int:
        return self.commands + self.workers

    def __add__(self, other: Kills) -> Kills:
        return Kills(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


class Nursery:
    """A process that starts commands quickly; see nursery.py."""

    def __init__(self, imports: Sequence[str], environment: Mapping[str, str]) -> None:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **environment}
        self._process = subprocess.Popen(
            [sys.executable, str(NURSERY), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
        )

    def start(self, victim: Victim, folder: Path, environment: Mapping[str, str] | None = None) -> int:
        """Start the victim; return its process id."""
        log = folder.parent / f"{folder.name}.log"
        order = {
            "call": victim.call,
            "words": victim.words(folder),
            "log": str(log),
            "environment": {**victim.environment, **(environment or {})},
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def wait(self) -> int:
        """The status of the process that was started last; minus the signal where it was killed."""
        return int(self._line())

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.stdout.close()  # type: ignore[union-attr]
        self._process.wait(timeout=30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery is gone")
        return line


@contextmanager
def nursery(victim: Victim) -> Iterator[Nursery]:
    """A nursery for this victim, closed on every way out."""
    opened = Nursery(victim.imports, victim.environment)
    try:
        yield opened
    finally:
        opened.close()


def undisturbed(nest: Nursery, victim: Victim, folder: Path) -> Reference:
    """Let the victim do its work in `folder`, which must be new."""
    _new(victim, folder)
    began = time.time()
    seconds = finish(nest, victim, folder)
    times = sorted(path.stat().st_mtime - began for path in _finished(victim, folder))
    first, last = (times[0], times[-1]) if times else (seconds, seconds)
    files = {name: path.read_bytes() for name, path in visible(folder)}
    return Reference(files, seconds, first, (last - first) / max(1, len(times) - 1), len(times))


def survive(
    nest: Nursery,
    victim: Victim,
    folder: Path,
    reference: Reference,
    moments: Sequence[Moment],
    environment: Mapping[str, str] | None = None,
) -> Kills:
    """Kill the victim once at each moment, unless it is done before, then let it finish.

    Raises:
        Broken: a partial file was visible, a finished one was written again, a worker outlived its parent or ended it,
            rubbish was left, or the results differ.
    """
    _new(victim, folder)
    kills = Kills()
    done: dict[str, tuple[int, int]] = {}
    groups = []
    for moment in moments:
        process = nest.start(victim, folder, environment)
        groups.append(process)
        killed = _kill_at(moment, victim, folder, process, reference)
        status = nest.wait()
        if status not in (0, -signal.SIGKILL):
            raise Broken(f"{victim.name}: status {status} after {moment}; {_log(folder)}")
        done = after_a_death(victim, folder, reference, done)
        if status == 0 and not killed.workers:  # it was faster
            break
        kills += killed
        if status == 0:  # another worker did what the dead one had
            break
    finish(nest, victim, folder, environment)
    whole_again(victim, folder, reference, done, groups)
    return kills


def _kill_at(moment: Moment, victim: Victim, folder: Path, process: int, reference: Reference) -> Kills:
    """Wait for the moment and kill; return what was killed, nothing when the process ended before."""
    before = len(_finished(victim, folder))
    until = time.monotonic() + PATIENCE_S
    while len(_finished(victim, folder)) < before + moment.more:
        if not _lives(process):
            return Kills()
        if time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
            raise Broken(f"{victim.name}: nothing finished in {PATIENCE_S:g} s")
        time.sleep(0.001)
    time.sleep(moment.delay_s)
    at_work = moment.more > 0 and len(_finished(victim, folder)) < reference.finished
    workers = workers_of(process)
    try:
        if moment.worker and workers:
            os.kill(workers[0], signal.SIGKILL)
            return Kills(workers=1, at_work=at_work)
        os.kill(process, signal.SIGKILL)
        return Kills(commands=1, beside_workers=bool(workers), at_work=at_work)
    except ProcessLookupError:  # it was faster
        return Kills()


def die_everywhere(
    nest: Nursery,
    victim: Victim,
    folder: Path,
    reference: Reference,
    environment: Mapping[str, str] | None = None,
    first: int = 1,
    step: int = 1,
) -> int:
    """Let the victim die just before its first change of a file, its second, and so on; return how many there were.

    With `step` above 1 only some of those moments are tried, from `first` on. Each begins in a new folder.

    Raises:
        Broken: as `survive`.
    """
    number, deaths = first, 0
    while True:
        place = folder.with_name(f"{folder.name}-{number}")
        _new(victim, place)
        dying = {**(environment or {}), "DIE_AT": str(number), "DIE_BELOW": str(place)}
        process = nest.start(victim, place, dying)
        status = nest.wait()
        if status == 0:
            return deaths
        if status != -signal.SIGKILL and "DIE_IN_WORKER" not in dying:
            raise Broken(f"{victim.name}, change {number}: status {status}; {_log(place)}")
        deaths += 1
        done = after_a_death(victim, place, reference, {})
        finish(nest, victim, place, environment)
        whole_again(victim, place, reference, done, [process])
        number += step


def finish(nest: Nursery, victim: Victim, folder: Path, environment: Mapping[str, str] | None = None) -> float:
    """Let the victim run to its end; return the seconds.

    Raises:
        Broken: its status is not 0.
    """
    began = time.monotonic()
    nest.start(victim, folder, environment)
    status = nest.wait()
    if status != 0:
        raise Broken(f"{victim.name}: status {status}, expected 0; {_log(folder)}")
    return time.monotonic() - began


def after_a_death(
    victim: Victim, folder: Path, reference: Reference, before: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Look at what a killed process left visible; return the files that are finished once and for all.

    Raises:
        Broken: a file is there under its final name and is not whole, or one that was finished was written again.
    """
    there = dict(visible(folder))
    for name, path in there.items():
        if name.endswith(".part") or any(fnmatch(name, pattern) for pattern in victim.loose):
            continue  # a download, which goes on where it stopped; its final name has no such end
        content = path.read_bytes()
        if name in reference.files and path.name not in victim.timed:
            if content != reference.files[name]:
                raise Broken(f"{victim.name}: {name} is visible and not whole ({len(content)} bytes)")
        elif not _is_json(content):
            raise Broken(f"{victim.name}: {name} is visible, and is neither a result nor whole JSON")
    for pattern in victim.whole:
        expected = [name for name in reference.files if fnmatch(name, pattern)]
        found = [name for name in expected if name in there]
        if found and found != expected:
            raise Broken(f"{victim.name}: {len(found)} of {len(expected)} files of {pattern} are visible")
    _not_written_again(victim, there, before)
    return {
        name: _stamp(path) for name, path in there.items() if any(fnmatch(name, pattern) for pattern in victim.once)
    }


def whole_again(
    victim: Victim,
    folder: Path,
    reference: Reference,
    done: Mapping[str, tuple[int, int]],
    groups: Sequence[int],
    ending_s: float = ENDING_S,
) -> None:
    """Hold a finished run against the undisturbed one. Processes have `ending_s` to end after the one they belong to.

    Raises:
        Broken: they differ, rubbish was left, or a process of an earlier try still lives.
    """
    there = dict(visible(folder))
    if there.keys() != reference.files.keys():
        differing = sorted(there.keys() ^ reference.files.keys())
        raise Broken(f"{victim.name}: other files than undisturbed: {differing[:5]}")
    for name, path in there.items():
        exact = path.name not in victim.timed and not any(fnmatch(name, pattern) for pattern in victim.loose)
        if exact and path.read_bytes() != reference.files[name]:
            raise Broken(f"{victim.name}: {name} has other bytes than undisturbed")
    _not_written_again(victim, there, done)
    rubbish = [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".part")]
    if rubbish:
        raise Broken(f"{victim.name}: left behind: {sorted(str(path.relative_to(folder)) for path in rubbish)[:5]}")
    for group in groups:
        if members := outliving(group, ending_s):
            raise Broken(f"{victim.name}: processes {members} outlive the one that was killed")


def visible(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files below a folder that somebody would take for results: no hidden name on the way, no lock, no record."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if (
            path.is_file()
            and not any(part.startswith(".") for part in inside.parts)
            and path.name not in ("lock", RECORD)
        ):
            yield inside.as_posix(), path


def living(group: int) -> list[int]:
    """The processes of a process group that are not dead already."""
    return [one.number for one in processes() if one.group == group and not one.is_dead]


def outliving(group: int, ending_s: float = ENDING_S) -> list[int]:
    """The processes of a group that are still there after `ending_s`; it returns as soon as there are none."""
    until = time.monotonic() + ending_s
    while (members := living(group)) and time.monotonic() < until:
        time.sleep(0.02)
    return members


def appears(path: Path) -> None:
    """Wait for a file that a process is going to write.

    Raises:
        Broken: it did not.
    """
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > until:
            raise Broken(f"{path} is not there after {PATIENCE_S:g} s")
        time.sleep(0.005)


def workers_of(process: int) -> list[int]:
    """The worker processes of a process group that have begun to run Python."""
    found = []
    for pid in living(process):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if pid != process and b"spawn_main" in words:
            found.append(pid)
    return found


def moments_of(seed: int, kills: int, reference: Reference, workers: bool = False) -> list[Moment]:
    """When to kill, the same for the same seed: one in four while it starts, the others while it works.

    The files to wait for are so few that all kills together find the run unfinished. With `workers` every other moment
    is for a worker.
    """
    source = random.Random(seed)
    most = max(1, reference.finished // (kills + 1))
    found = []
    for number in range(kills):
        more = 0 if source.random() < 0.25 else source.randint(1, most)
        delay = source.uniform(0, reference.first_s if more == 0 else reference.gap_s)
        found.append(Moment(more, delay, workers and number % 2 == 1))
    return found


def _finished(victim: Victim, folder: Path) -> list[Path]:
    """The files of `Victim.once` that are there."""
    return [path for pattern in victim.once for path in folder.glob(pattern) if not path.name.startswith(".")]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _new(victim: Victim, folder: Path) -> None:
    folder.mkdir(parents=True)
    if victim.prepare is not None:
        victim.prepare(folder)


def _not_written_again(victim: Victim, there: Mapping[str, Path], before: Mapping[str, tuple[int, int]]) -> None:
    for name, stamp in before.items():
        if name not in there or _stamp(there[name]) != stamp:
            raise Broken(f"{victim.name}: {name} was finished, and was written again")


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _log(folder: Path) -> str:
    log = folder.parent / f"{folder.name}.log"
    return log.read_text(errors="replace")[-800:] if log.is_file() else "it said nothing"
