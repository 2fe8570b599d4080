# SPDX-License-Identifier: Apache-2.0
"""Which tests enter which function: a plugin of pytest's writes it down, and runs those tests alone when told to.

Calls in other processes and in compiled code are not seen: a function that no test was seen to enter, and what runs at
import, is for every test.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FrameType

import pytest

WATCHED = "FACEPIPE_TOUCHING_PACKAGE"
"""The variable that names the package to watch and, behind a line feed, the file to write."""
CHOSEN = "FACEPIPE_TOUCHING_CHOSEN"
"""The variable that names a file with the tests to run."""


@dataclass(frozen=True)
class Touching:
    """What a run of pytest showed: the seconds of each test and, by "file:first line" of a function, who enters it."""

    seconds: dict[str, float]
    entered: dict[str, list[str]]

    def tests(self, file: str, source: str, line: int) -> list[str]:
        """The tests that enter the innermost function around the line, or all of them."""
        first = None
        for node in ast.walk(ast.parse(source)):  # functions inside come after those around them
            if isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line <= (node.end_lineno or 0):
                first = min([node.lineno, *(entry.lineno for entry in node.decorator_list)])
        return self.entered.get(f"{file}:{first}", list(self.seconds))

    def files(self, tests: Sequence[str]) -> list[str]:
        """The tests' files, the quickest first; their tests stay together, for the sake of what they share."""
        cost: dict[str, float] = {}
        for test in tests:
            file = test.partition("::")[0]
            cost[file] = cost.get(file, 0.0) + self.seconds[test]
        return sorted(cost, key=lambda file: cost[file])


class Watching:
    """Follows the calls of each test."""

    def __init__(self, package: str, target: Path) -> None:
        self._package, self._target = f"{package}{os.sep}", target
        self._seen: set[CodeType] = set()
        self._by_test: dict[str, set[CodeType]] = {}
        self._by_file: dict[str, set[CodeType]] = {}
        self._seconds: dict[str, float] = {}

    def _enter(self, frame: FrameType, event: str, argument: object) -> None:
        self._seen.add(frame.f_code)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._seconds[item.nodeid] = round(time.monotonic() - began, 3)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        """What a fixture enters is for every test of its file, which may share it."""
        yield from self._watched(self._by_file.setdefault(item.nodeid.partition("::")[0], set()))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watched(self._by_test.setdefault(item.nodeid, set()))

    def _watched(self, into: set[CodeType]) -> Iterator[None]:
        self._seen = set()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            into |= {code for code in self._seen if code.co_filename.startswith(self._package)}

    def pytest_sessionfinish(self) -> None:
        entered: dict[str, list[str]] = {}
        for test, codes in self._by_test.items():
            functions = codes | self._by_file[test.partition("::")[0]]
            for name in {f"{code.co_filename[len(self._package) :]}:{code.co_firstlineno}" for code in functions}:
                entered.setdefault(name, []).append(test)
        self._target.write_text(json.dumps(asdict(Touching(self._seconds, entered))), encoding="utf-8")


class Choosing:
    """Runs the tests that were chosen, and those that were not there when the choice was made."""

    def __init__(self, chosen: Sequence[str], known: Sequence[str]) -> None:
        self._others = set(known) - set(chosen)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid not in self._others]


def pytest_configure(config: pytest.Config) -> None:
    if WATCHED in os.environ:
        package, target = os.environ[WATCHED].split("\n")
        config.pluginmanager.register(Watching(package, Path(target)), "watching")
    if CHOSEN in os.environ:
        choice = json.loads(Path(os.environ[CHOSEN]).read_text(encoding="utf-8"))
        config.pluginmanager.register(Choosing(choice["chosen"], choice["known"]), "choosing")
