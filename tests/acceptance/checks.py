# SPDX-License-Identifier: Apache-2.0
"""What an acceptance check is, and what checks share: how to call the project as its user does, where things lie."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
OUT = REPOSITORY / "runs" / "accept"
BIN = REPOSITORY / ".venv" / "bin"


class NotRun(Exception):
    """The check cannot be made here; the text says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a check saw: a JSON value, whether it is within the bound, and what a reader needs to understand it."""

    value: object
    passed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: its name, the promise and its bound in words, and the function that measures."""

    name: str
    promise: str
    bound: str
    measure: Callable[[], Measured]


def assets() -> Path:
    """The local mirror.

    Raises:
        NotRun: FACEPIPE_ASSETS names none.
    """
    named = os.environ.get("FACEPIPE_ASSETS")
    if not named:
        raise NotRun("FACEPIPE_ASSETS is unset; this needs the mirror of photographs and weights")
    return Path(named).resolve()


def golden() -> Path:
    """The golden answers, beside the mirror.

    Raises:
        NotRun: they are not there.
    """
    folder = assets().parent / "golden"
    if not folder.is_dir():
        raise NotRun(f"{folder} is not there")
    return folder


def anew(name: str) -> Path:
    """A run's folder below runs/accept, emptied: an older version of the program may have begun it otherwise."""
    shutil.rmtree(OUT / name, ignore_errors=True)
    return OUT / name


def make(target: str, *, log: str, folder: Path = REPOSITORY, **variables: object) -> str:
    """Run `make TARGET NAME=value ...` as a user would; its output is kept in runs/accept/LOG.log and returned."""
    words = [f"{name}={value}" for name, value in variables.items()]
    return call(["make", target, *words], log=log, folder=folder)


def facepipe(
    *arguments: object, log: str, folder: Path = REPOSITORY, environment: Mapping[str, str] | None = None
) -> str:
    """Run a facepipe command; returns its standard output."""
    return call([str(BIN / "facepipe"), *map(str, arguments)], log=log, folder=folder, environment=environment)


def call(
    command: list[str], *, log: str, folder: Path = REPOSITORY, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command that must succeed.

    Raises:
        RuntimeError: it failed; its last lines are shown.
    """
    done = attempt(command, folder=folder, environment=environment)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{log}.log").write_text(f"$ {' '.join(command)[:2000]}\n{done.stdout[-100_000:]}\n{done.stderr[-100_000:]}")
    if done.returncode:
        raise RuntimeError(f"{command[0]} {command[1]} ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout


def attempt(
    command: list[str], *, folder: Path = REPOSITORY, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail."""
    given = dict(os.environ if environment is None else environment)
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of the make that runs the acceptance
        given.pop(name, None)
    if folder == REPOSITORY and given.get("FACEPIPE_ASSETS"):
        given["FACEPIPE_ASSETS"] = str(assets())
    return subprocess.run(command, cwd=folder, env=given, check=False, capture_output=True, text=True)


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def seconds(action: Callable[[], object]) -> float:
    """How long it took."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def at_least(value: float, bound: float, note: str = "") -> Measured:
    """A figure that must not be lower."""
    return Measured(value, value >= bound, note)


def at_most(value: float, bound: float, note: str = "") -> Measured:
    """A figure that must not be higher."""
    return Measured(value, value <= bound, note)
