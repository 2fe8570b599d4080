# SPDX-License-Identifier: Apache-2.0
"""The acceptance runner: what passes, fails, raises or cannot run ends up as that in the record."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "acceptance"

PLANTED = """
from checks import Check, Measured, NotRun, at_least, at_most

def raises():
    raise ValueError("a planted error")

def cannot():
    raise NotRun("no board here")

CHECKS = (
    Check("good", "a good one", "at least 1", lambda: at_least(1.0, 1.0, "a note")),
    Check("low", "a low one", "at least 1", lambda: at_least(0.999, 1.0)),
    Check("high", "a high one", "at most 1", lambda: at_most(1.001, 1.0)),
    Check("broken", "one that raises", "anything", raises),
    Check("elsewhere", "one that cannot run", "anything", cannot),
)
"""


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A copy of the runner with planted checks only, in a repository of its own."""
    folder = tmp_path / "tests" / "acceptance"
    folder.mkdir(parents=True)
    for name in ("__main__.py", "checks.py"):
        shutil.copy(FOLDER / name, folder)
    (folder / "planted.py").write_text(PLANTED)
    return folder


def accept(runner: Path, *names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(runner), *names], check=False, capture_output=True, text=True)


def record(runner: Path) -> dict[str, dict[str, object]]:
    content = json.loads((runner.parents[1] / "runs" / "accept.json").read_text(encoding="utf-8"))
    return dict(content["checks"])


def test_every_verdict_is_recorded_and_a_failure_ends_with_status_1(runner: Path) -> None:
    done = accept(runner)
    assert done.returncode == 1
    found = record(runner)
    assert {name: row["verdict"] for name, row in found.items()} == {
        "good": "pass",
        "low": "FAIL",
        "high": "FAIL",
        "broken": "FAIL",
        "elsewhere": "not run",
    }
    assert (found["good"]["measured"], found["good"]["note"], found["good"]["bound"]) == (1.0, "a note", "at least 1")
    assert found["broken"]["note"] == "ValueError: a planted error"
    assert found["elsewhere"]["note"] == "no board here"
    assert "3 failed: low, high, broken" in done.stdout


def test_checks_that_were_not_asked_for_keep_their_record(runner: Path) -> None:
    accept(runner)
    before = record(runner)
    assert accept(runner, "good").returncode == 0
    after = record(runner)
    assert list(after) == list(before)
    assert after["low"] == before["low"]


def test_a_name_that_is_no_check_is_refused_with_the_choices(runner: Path) -> None:
    done = accept(runner, "perfect")
    assert done.returncode == 2
    assert "'perfect' is no check, expected some of good, low, high, broken, elsewhere" in done.stderr


def test_every_check_of_the_project_has_a_name_a_promise_and_a_bound_of_its_own() -> None:
    code = (
        "import importlib.util, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "spec = importlib.util.spec_from_file_location('runner', Path(sys.argv[1]) / '__main__.py')\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "for check in module.all_checks(Path(sys.argv[1])).values():\n"
        "    print(check.name, '|', check.promise, '|', check.bound)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(FOLDER)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()]
    assert len(rows) >= 16
    assert all(len(row) == 3 and all(part.strip() for part in row) for row in rows)
    assert len({row[1] for row in rows}) == len(rows)
