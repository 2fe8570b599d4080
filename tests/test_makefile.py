# SPDX-License-Identifier: Apache-2.0
"""What a person gives to make reaches the program as it was written, whatever it is, and nothing of it is run."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
GIVEN = re.findall(r"^GIVEN\s*:=(.*)$", MAKEFILE, re.MULTILINE)[0].split()
RECIPES: dict[str, str] = dict(re.findall(r"^([a-z]+):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE))
USE = re.compile(r"\$\(call (option|flag|quoted|list),(?:[a-z-]+,)?([A-Z_]+)\)|\$\(value ([A-Z_]+)\)")

HOSTILE = {
    "apostrophe": "/data/O'Brien's \"x\"",
    "another command": "x; touch pwn; touch 'pwn' && touch pwn | tee pwn > pwn &",
    "of the shell": "$(touch pwn)`touch pwn`${HOME}$HOME * ~ \\",
    "of make": "$(shell touch pwn)$(error no)$$(RUN)$@ # %,(",
}

# Stands for facepipe and for Python: writes its words down.
RECORDER = """#!{python}
import json, os, sys
with open(os.path.join({folder!r}, "called"), "a") as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:], sorted(os.environ)]) + "\\n")
if sys.argv[-1] == "--list":
    print("one")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, whose environment is made already and only writes down what it is told."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("facepipe", "python", "ruff", "mypy"):
        recorder(tmp_path / ".venv" / "bin" / name, tmp_path)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def recorder(path: Path, folder: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(RECORDER.format(python=sys.executable, folder=str(folder)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make(folder: Path, *words: str, **environment: str) -> list[list[str]]:
    """The commands that `make words` called, each with the names of its environment as its last entry."""
    done = subprocess.run(
        ["make", *words], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "pwn").exists(), "a part of a value was run"
    assert not done.stderr
    return [json.loads(line) for line in (folder / "called").read_text().splitlines()]


def used(target: str) -> dict[str, set[str]]:
    """Each variable of a target's recipe, and how it is put in."""
    ways: dict[str, set[str]] = {}
    for way, name, tested in USE.findall(RECIPES[target]):
        ways.setdefault(name or tested, set()).add(way or "tested")
    return ways


TARGETS = sorted(target for target in RECIPES if used(target).keys() - {"PYTHON"})  # that one is a program: see below


def test_every_variable_is_listed_and_put_in_by_a_function_that_quotes() -> None:
    assert {name for target in RECIPES for name in used(target)} | {"PYTHON"} == set(GIVEN)
    assert all(ways != {"tested"} for target in TARGETS for ways in used(target).values() if "DRY_RUN" not in ways)
    bare = set(re.findall(r"\$[({]([A-Z_]+)[)}]", "".join(RECIPES.values())))
    own = {"VENV", "READY", "FACEPIPE", "EXTRAS", "QUICKLY", "NAMED", "VERSION", "QUICK", "MAKE", "MAKEFILE_LIST"}
    assert bare <= own


@pytest.mark.parametrize("where", ["on the command line", "in the environment"])
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("target", TARGETS)
def test_a_value_arrives_as_it_was_written(checkout: Path, target: str, kind: str, where: str) -> None:
    value, names = HOSTILE[kind], used(target)
    given = {name: f"{value}{name}" for name in names}
    if where == "in the environment":
        calls = make(checkout, target, **given)
    else:
        calls = make(checkout, target, *(f"{name}={text}" for name, text in given.items()))
        assert not any(set(call[-1]) & set(names) for call in calls)  # make would have expanded it on its way there
    words = [word for call in calls for word in call[:-1]]
    for name, ways in names.items():
        if ways & {"option", "quoted"}:
            glued = ("", "-max_total_time=", "--atc-options=")  # to an option where the value may begin like one
            assert any(f"{before}{given[name]}" in words for before in glued), name
        if "list" in ways:
            parts = given[name].split()
            assert any(call[i : i + len(parts)] == parts for call in calls for i in range(len(call))), name


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_python_is_called_by_any_path(checkout: Path, kind: str) -> None:
    python = checkout / HOSTILE[kind].replace("/", "") / "python"
    recorder(python, checkout)
    (checkout / ".venv" / "installed").unlink()
    calls = make(checkout, "onnx", f"PYTHON={python}")
    assert calls[1][:-1] == ["python", "-m", "venv", ".venv"]


def test_what_is_empty_is_not_passed_and_a_second_line_is_refused(checkout: Path) -> None:
    (words,) = (call for call in make(checkout, "lfw", "RUN=", "ALL=0", "THREADS=", "DATA=d") if call[1] == "lfw")
    assert not {"--run", "--all", "--threads", ""} & set(words[:-1])
    done = subprocess.run(["make", "lfw", "RUN=a\ntouch pwn"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 2 and "RUN has more than one line" in done.stderr
    assert not (checkout / "pwn").exists()


def refused(folder: Path, *words: str) -> str:
    """What make says to a call that it refuses before it does anything."""
    done = subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert not list(folder.rglob("pwn")) and not (folder / "called").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("given", "meant"),
    [("batch=8", "BATCH"), ("DETECTR=mtcnn", "DETECTOR"), ("EMBEDDERS=x", "EMBEDDER"), ("Workers=2", "WORKERS")],
)
def test_a_variable_that_is_misspelt_is_refused_and_told_what_was_meant(checkout: Path, given: str, meant: str) -> None:
    told = refused(checkout, "lfw", given, "BACKEND=onnxruntime")
    assert f"{given.partition('=')[0]} is no variable of this Makefile, expected one of {' '.join(GIVEN)}. " in told
    assert f"Try: {meant}=" in told


def test_of_a_variable_that_is_like_none_all_are_told(checkout: Path) -> None:
    told = refused(checkout, "lfw", "XYZZY=1")
    assert "XYZZY is no variable" in told and "Try:" not in told


@pytest.mark.parametrize("name", ["a'b$(touch${IFS}pwn)", "a`touch\\tpwn`", "$$(shell touch pwn)"])
def test_nothing_of_a_variables_name_is_run(checkout: Path, name: str) -> None:
    refused(checkout, f"{name}=1", "lfw")


def test_every_variable_is_taken_and_those_of_the_environment_may_be_others_ones(checkout: Path) -> None:
    make(checkout, "lfw", *(f"{name}={'mtcnn' if name != 'PYTHON' else 'python3'}" for name in GIVEN), batch="8")


def test_the_makefile_of_another_folder_says_how_to_call_it(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    spaced = elsewhere / "a  b"
    shutil.copytree(checkout, spaced, symlinks=True)
    assert f"Try: make -C '{checkout}' lfw." in refused(elsewhere, "-f", str(checkout / "Makefile"), "lfw")
    assert "Try: make -C" in refused(elsewhere, "-f", str(spaced / "Makefile"), "lfw")
    for words in (["-f", "Makefile"], ["-f", "./Makefile"], ["-f", str(checkout / "Makefile")]):
        assert make(checkout, *words, "lfw"), words
