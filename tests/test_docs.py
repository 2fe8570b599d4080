# SPDX-License-Identifier: Apache-2.0
"""Words that are checked: every command is described, every link resolves, every `facepipe` line parses."""

from __future__ import annotations

import argparse
import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from facepipe.cli._main import COMMANDS
from facepipe.terminal.program import command_parser

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("convert", "preprocess", "postprocess", "scripts", "weights", "data", "examples")
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES += sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("README.md"))
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def inside(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser that `facepipe NAME` uses."""
    return command_parser(importlib.import_module(COMMANDS[name][0]), f"facepipe {name}")


def command_lines(text: str) -> list[str]:
    """The lines of a page's fenced shell blocks, continuation lines joined, prompts and comments taken off."""
    lines = []
    for block in re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s)#.*$", "", line).strip().removeprefix("$ ").strip()
            if command:
                lines.append(command)
    return lines


def inline_commands(text: str) -> list[str]:
    """The `facepipe ...` code spans of a page's prose and tables that have arguments."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [span for span in re.findall(r"`(facepipe [^`\n]+)`", prose) if len(span.split()) > 2]


def without_assignments(command: str) -> list[str]:
    """The words of a command, `NAME=value` in front taken off."""
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def facepipe_lines() -> list[tuple[str, str]]:
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    return [
        (inside(page), part.strip())
        for page, text in texts.items()
        for line in (*command_lines(text), *inline_commands(text))
        for part in re.split(r"&&|\||;", line)
        if without_assignments(part)[:1] == ["facepipe"]
    ]


def make_lines() -> list[tuple[str, str]]:
    return [
        (inside(page), line)
        for page in PAGES
        for line in command_lines(page.read_text(encoding="utf-8"))
        if without_assignments(line)[:1] == ["make"]
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help_that_begins_with_an_example(name: str) -> None:
    documentation = importlib.import_module(COMMANDS[name][0]).__doc__
    first = (documentation or "").strip().splitlines()[0].strip("` ")
    assert first.startswith(f"facepipe {name}"), f"the help of {name} begins with: {first}"
    parser_of(name).format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_that_begins_the_help_parses(name: str) -> None:
    documentation = importlib.import_module(COMMANDS[name][0]).__doc__
    _parse((documentation or "").strip().splitlines()[0].strip("` "))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_in_the_readme_or_the_docs(name: str) -> None:
    assert any(f"facepipe {name}" in page.read_text(encoding="utf-8") for page in PAGES)


def test_the_page_of_commands_is_the_generated_one() -> None:
    folder = REPOSITORY / "docs"
    made = runpy.run_path(str(folder / "commands.py"))
    assert made["page"]() == (folder / "commands.md").read_text(encoding="utf-8"), "write it again: make docs"


@pytest.mark.parametrize(("page", "line"), facepipe_lines())
def test_a_facepipe_line_of_a_page_parses(page: str, line: str) -> None:
    _parse(line)


def _parse(line: str) -> None:
    """Parse a command line as facepipe would; `>` and what follows is the shell's."""
    words = without_assignments(line)
    if ">" in words:
        words = words[: words.index(">")]
    if len(words) == 1 or words[1].startswith("-") or words[1] == "COMMAND":
        return
    assert words[1] in COMMANDS, f"there is no command '{words[1]}'"
    arguments = [re.sub(r"^[\[]|[\]]$", "", word) for word in words[2:] if word not in ("...", "…")]
    if arguments in (["--help"], ["-h"]):
        return
    try:
        parser_of(words[1]).parse_args(arguments)
    except SystemExit as error:
        pytest.fail(f"`{line}` does not parse (status {error.code})")


@pytest.mark.parametrize(("page", "line"), make_lines())
def test_a_make_line_of_a_page_names_targets_and_variables_that_exist(page: str, line: str) -> None:
    for word in without_assignments(line)[1:]:
        name, equals, _ = word.partition("=")
        if equals:
            assert re.search(rf"\b{name}\b", MAKEFILE), f"the Makefile knows no variable {name}"
        elif not word.startswith("-"):
            assert re.search(rf"^{re.escape(word)}:", MAKEFILE, re.MULTILINE), f"the Makefile has no target {word}"


# What a variable is set to where no text will do: its option counts, or offers a choice. A switch is on at 1.
VALUES = {"BATCH": "3", "THREADS": "5", "WORKERS": "7", "SIZE": "320", "KILLS": "11", "PICTURES": "13", "SECONDS": "17"}
VALUES |= {"PROTOCOL": "multi-scale", "SHAPES": "range", "EMBEDDER": "facenet.casia", "BACKEND": "openvino"}
VALUES |= {"DATA": "a folder", "CFP": "FF"}
SWITCHES = ("ALL", "AIPP", "DRY_RUN")
OPTIONS = {("plan", "PLAN"): "out"}  # of another name than the variable
PREPARATION = ("fetch", "onnx", "quantise")  # commands that come before the one a target is for


def variables_of_targets() -> list[tuple[str, str]]:
    """(target, variable) of every variable that the list of targets names, `## what it does [VARIABLE ...]`."""
    described = re.findall(r"^([a-z0-9]+):.*## .*\[(.*)\]$", MAKEFILE, re.MULTILINE)
    bare = [(target, re.sub(r'"[^"]*"', "", text)) for target, text in described]
    named = [(target, name) for target, text in bare for name in re.findall(r"\b[A-Z][A-Z_]+\b", text)]
    return [(target, name) for target, name in named if name != "PYTHON"]  # make itself runs it: see below


def commands_of(target: str, *assignments: str) -> list[list[str]]:
    """The words of every command that `make TARGET NAME=VALUE ...` would run."""
    done = subprocess.run(
        ["make", "-n", target, *assignments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    return [shlex.split(line) for line in done.stdout.replace("\\\n", " ").replace(";", " ; ").strip().splitlines()]


@pytest.mark.process
@pytest.mark.parametrize(("target", "name"), variables_of_targets())
def test_every_variable_reaches_what_its_target_runs(target: str, name: str) -> None:
    value = "1" if name in SWITCHES else VALUES.get(name, f"given-{name.lower()}")
    needed = ["SET=s"] if target == "verify" and name != "SET" else []
    commands = commands_of(target, f"{name}={value}", *needed)
    own = [words for words in commands if words[1:2] != [] and words[1] not in PREPARATION] + commands[-1:]
    option = "--" + OPTIONS.get((target, name), name.lower().replace("_", "-"))
    if name in SWITCHES:
        assert any(option in words for words in own), own
    elif any(option in words for words in own):
        (following, *_) = [words[words.index(option) + 1] for words in own if option in words]
        assert following == value
    else:  # a word by itself, or joined to the option of another program
        assert any(word == value or word.endswith(f"={value}") for words in own for word in words), own
    if commands[-1][0].endswith("facepipe"):
        parser_of(commands[-1][1]).parse_args(commands[-1][2:])


@pytest.mark.process
@pytest.mark.parametrize("target", sorted({target for target, _ in variables_of_targets()}))
def test_a_variable_that_is_not_given_is_not_passed(target: str) -> None:
    words = [word for command in commands_of(target, "SET=s", "ALL=0") for word in command]
    for option in ("--run", "--data", "--threads", "--workers", "--precision", "--all", "--aipp", "--page"):
        if (target, option) != ("rehearse", "--precision"):  # half precision is what that target is for
            assert option not in words


def test_every_make_target_is_described() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    described = set(re.findall(r"^([a-z0-9]+):.*## \S", MAKEFILE, re.MULTILINE))
    assert set(" ".join(phony).split()) == described


def test_the_extras_that_the_makefile_installs_exist() -> None:
    extras = re.search(r"^EXTRAS\s*:=\s*(\S+)$", MAKEFILE, re.MULTILINE)
    declared = re.findall(r"^([a-z]+) = \[", (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert extras is not None
    assert set(extras.group(1).split(",")) <= set(declared)


@pytest.mark.parametrize("page", PAGES, ids=inside)
def test_every_relative_link_resolves(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{inside(page)} links {target}, which is not there"
        assert REPOSITORY in (file, *file.parents), f"{inside(page)} links {target}, outside the repository"
        if anchor:
            assert anchor in anchors(file), f"{inside(page)} links {target}; the headings are {sorted(anchors(file))}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_begins_with_two_commands_that_work_on_a_fresh_machine() -> None:
    lines = command_lines((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert [line for line in lines if line.startswith("make")][:2] == ["make demo", "make test"]


@pytest.mark.process
def test_quick_runs_on_the_python_that_is_named() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    last = commands_of("quick", f"PYTHON={sys.executable}")[-1]
    assert last[0] == f".venv-{version}/bin/python" and f"--expect-python={version}" in last
