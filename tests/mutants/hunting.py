# SPDX-License-Identifier: Apache-2.0
"""Does a test notice? Each mutant is put into a copy of the tree, and the tests that enter its function run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import touching
from sampling import Mutant
from touching import Touching

COPIED = ("src", "tests", "benchmarks", "docs", "pyproject.toml", "README.md", "Makefile", "constraints.txt")
LINKED = ("weights", ".venv")
MEMORY = 16_000_000  # kilobytes of address space: a mutant may build without end
# Of pytest's: a test failed, or a file or conftest.py cannot be imported. Others are faults of the hunt.
NOTICED = (1, 2, 4)
STARTING, SLOWER = 60, 6  # seconds, and times as long as without the mutant: then it waits for ever
_EPOCH = 1_000_000_000


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: "killed", "timed out" or "survived", the test that noticed, and how long it took."""

    verdict: str
    by: str
    seconds: float


class Tree:
    """A copy of the repository in which files change."""

    def __init__(self, repository: Path, folder: Path, package: str = "facepipe") -> None:
        self.folder, self.package = folder, folder / "src" / package
        self._changes = 0
        for name in COPIED:
            source = repository / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, folder / name)
        for name in LINKED:
            if (repository / name).exists():
                (folder / name).symlink_to((repository / name).resolve())

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """The mutant in its place."""
        path = self.package / mutant.file
        before = path.read_text(encoding="utf-8")
        try:
            self._write(path, mutant.source)
            yield
        finally:
            self._write(path, before)

    def _write(self, path: Path, content: str) -> None:
        """Each content at a time of its own: Python and numba know compiled files by it, to the second."""
        path.write_text(content, encoding="utf-8")
        self._changes += 10
        os.utime(path, (_EPOCH + self._changes, _EPOCH + self._changes))

    def watch(self, tests: Sequence[str], timeout: float) -> tuple[Outcome, Touching]:
        """Run the tests without a mutant, and see what each enters."""
        seen = self.folder / "touching.json"
        outcome = self.test(tests, timeout, {touching.WATCHED: f"{self.package}\n{seen}"})
        return outcome, Touching(**json.loads(seen.read_text(encoding="utf-8")))

    def test(self, tests: Sequence[str], timeout: float, variables: Mapping[str, str] | None = None) -> Outcome:
        """Run the tests until one fails. Without a mutant they have to survive first, or a lack would look like a kill.

        Raises:
            RuntimeError: pytest itself fails, or there are no tests.
        """
        plugin = ("-p", "no:cacheprovider", "-p", "touching")
        words = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", *plugin, *tests]
        limited = ["sh", "-c", f'ulimit -v {MEMORY}; exec "$@"', "sh", *words]
        paths = os.pathsep.join([str(self.package.parent), str(Path(touching.__file__).parent)])
        # Threads of BLAS and of onnxruntime would wait for each other's cores.
        env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **(variables or {})}
        began = time.monotonic()
        process = subprocess.Popen(
            limited, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            output = process.communicate(timeout=timeout)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Outcome("timed out", "", time.monotonic() - began)
        seconds = time.monotonic() - began
        if process.returncode == 0:
            return Outcome("survived", "", seconds)
        if process.returncode not in NOTICED and process.returncode > 0:
            raise RuntimeError(f"pytest ended with {process.returncode}:\n{output[-2000:]}")
        named = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        return Outcome("killed", named.group(1) if named else f"status {process.returncode}", seconds)


def hunt(tree: Tree, mutant: Mutant, lines: Sequence[Touching]) -> Outcome:
    """The mutant against one line of tests after the other, until one notices."""
    choice = tree.folder / "chosen.json"
    seconds = 0.0
    outcome = Outcome("survived", "", 0.0)
    before = (tree.package / mutant.file).read_text(encoding="utf-8")
    with tree.changed(mutant):
        for line in lines:
            chosen = line.tests(mutant.file, before, mutant.line)
            choice.write_text(json.dumps({"chosen": chosen, "known": list(line.seconds)}), encoding="utf-8")
            timeout = STARTING + SLOWER * sum(line.seconds[test] for test in chosen)
            outcome = tree.test(line.files(chosen), timeout, {touching.CHOSEN: str(choice)})
            seconds += outcome.seconds
            if outcome.verdict != "survived":
                break
    return Outcome(outcome.verdict, outcome.by, round(seconds, 1))
