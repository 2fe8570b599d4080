# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that one can check by reading: golden answers stay out of src, names say what is inside."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SRC = REPOSITORY / "src" / "facepipe"
DOORS = ("convert", "preprocess", "postprocess", "scripts", "train")
CODE = sorted([*SRC.rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")])
CODE += sorted(path for door in DOORS for path in (REPOSITORY / door).rglob("*.py"))
SOURCES = sorted(path for path in SRC.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
BANNED = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc|impl)($|_)")

# Numbers that a public source has too: the nose of ArcFace's template.
CHANCE = {"56.0252"}


def inside(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", CODE, ids=inside)
def test_the_first_line_states_the_licence(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "# SPDX-License-Identifier: Apache-2.0" in lines[: 2 if lines[:1] == ["#!/usr/bin/env python3"] else 1]


@pytest.mark.parametrize("path", SOURCES, ids=inside)
def test_a_file_has_a_name_that_says_what_is_inside(path: Path) -> None:
    for part in path.relative_to(SRC).with_suffix("").parts:
        assert not BANNED.search(part.lower()), f"{inside(path)}: '{part}' says nothing; name what it does"


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=inside)
def test_a_class_or_function_has_a_name_that_says_what_it_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower().replace("batch_utils", "")  # the vendor's
            assert not BANNED.search(words), f"{inside(path)}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=inside)
def test_a_module_and_its_public_functions_have_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{inside(path)}: no docstring"
    public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]
    is_command = path.parent.name == "cli" or path.stem.endswith("_command")
    known = {"add_arguments", "run"} if is_command else set()  # the module's docstring is their help
    bare = {node.name for node in public if not ast.get_docstring(node)}
    assert bare - known == set()


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=inside)
def test_no_exception_is_swallowed_and_no_shell_string_is_run(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            silent = all(isinstance(line, ast.Pass) for line in node.body)
            assert node.type is not None or not silent, f"{inside(path)}:{node.lineno}: a bare except"
            broad = node.type is not None and ast.unparse(node.type) in ("Exception", "BaseException")
            assert not (broad and silent), f"{inside(path)}:{node.lineno}: an error disappears"
        if isinstance(node, ast.keyword) and node.arg == "shell":
            assert ast.unparse(node.value) != "True", f"{inside(path)}:{node.value.lineno}: a shell string"


def test_no_golden_key_file_name_or_number_is_under_src(golden: Path) -> None:
    needles = set(golden_needles(golden)) - CHANCE
    assert len(needles) > 10_000
    found = [f"{inside(path)}: {text}" for path in SOURCES for text in traces(path.read_text("utf-8"), needles)]
    assert found == []


def test_a_planted_golden_number_key_or_name_is_found(golden: Path) -> None:
    needles = set(golden_needles(golden))
    for name, content in (("mtcnn_lfw.json", None), ("mtcnn_photos.json", None)):
        answers = json.loads((golden / name).read_text()) if content is None else content
        key = next(key for key, answer in answers.items() if answer["boxes"])
        assert traces(f"KEY = '{key}'", needles) == [key]
        number = repr(answers[key]["boxes"][0][0])
        assert traces(f"x = [{number}, 1]", needles) == [number]
        assert traces(f"open('{name}')", needles) == [name]


def traces(text: str, needles: set[str]) -> list[str]:
    """The golden words of a source text: names and keys as they stand, numbers digit for digit."""
    words = re.findall(r"[\w./-]+", text)
    return [word for word in words if word in needles]


def golden_needles(golden: Path) -> Iterator[str]:
    """File names, image keys, and every number of six or more digits, as Python writes it."""
    for path in golden.iterdir():
        if path.suffix in (".json", ".npz"):
            yield path.name
        if path.suffix == ".json":
            yield from _words(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                for name in arrays.files:
                    if arrays[name].dtype.kind == "f":
                        yield from (t for t in map(repr, arrays[name].ravel()[:4096].tolist()) if _is_telling(t))
                    elif arrays[name].dtype.kind == "U":
                        yield from arrays[name].ravel().tolist()


def _words(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if "." in key:
                yield key
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)
    elif isinstance(value, float) and _is_telling(repr(value)):
        yield repr(value)


def _is_telling(number: str) -> bool:
    """Six digits or more: 0.5 and 127.5 are nobody's answer."""
    return len(re.sub(r"\D", "", number).lstrip("0")) >= 6


@pytest.mark.process
def test_nothing_large_or_binary_is_tracked() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [REPOSITORY / name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file()]
    assert [inside(path) for path in paths if path.stat().st_size > 1 << 20] == []
    assert [inside(p) for p in paths if p.suffix in (".pt", ".pth", ".onnx", ".om", ".npz", ".pkl", ".bin")] == []


def test_the_command_line_stays_thin() -> None:
    """What a command does is a function of runs/, gallery/ or convert/, which a program can call as well.

    It was 3,300 lines when the rooms were made; docs/decisions/0013-size.md says what the rest is for.
    """
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (SRC / "cli").glob("*.py"))
    assert lines <= 3760, f"cli/ has {lines:,} lines, expected at most 3,760: move what is no command line out of it"
