# SPDX-License-Identifier: Apache-2.0
"""What is the same for every command: its help, what its options are called, how it tells results."""

from __future__ import annotations

import argparse
import importlib
import shlex
from functools import cache

import pytest

from facepipe.cli import main
from facepipe.cli._main import COMMANDS, GROUPS
from facepipe.terminal.program import command_parser, leaves, options_of

# Their words are another program's: of the shell, of the commands that `demo` shows, of the vendor, of msame.
OTHERS_WORDS = {"completion", "demo", "msame", "vendor"}


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, and of every sub-command, by its words."""
    found = {}
    for name, (module, _) in COMMANDS.items():
        for names, parser in leaves(command_parser(importlib.import_module(module), f"facepipe {name}")):
            found[" ".join((name, *names))] = parser
    return found


@pytest.mark.parametrize("words", parsers())
def test_help_says_of_every_argument_what_it_is_and_what_a_value_is(words: str) -> None:
    for action in parsers()[words]._actions:
        name = f"{words} {'/'.join(action.option_strings) or action.dest}"
        assert action.help, f"{name}: no help"
        if action.nargs != 0:
            told = action.metavar or "|".join(map(str, action.choices or ()))
            again = [option.lstrip("-").upper() for option in action.option_strings]
            assert told and told not in again, f"{name}: '{told}' says nothing of its values"


@pytest.mark.parametrize("words", parsers())
def test_help_begins_with_an_example_that_parses(words: str) -> None:
    first = parsers()[words].format_help().splitlines()[0]
    _, *given = shlex.split(first.split("   ")[0], comments=True)
    assert given[: len(words.split())] == words.split()
    command_parser(importlib.import_module(COMMANDS[given[0]][0]), f"facepipe {given[0]}").parse_args(given[1:])


@pytest.mark.parametrize("words", parsers())
def test_usage_is_one_line_of_what_must_be_given(words: str) -> None:
    parser = parsers()[words]
    line = parser.format_usage()
    assert line.startswith(f"usage: facepipe {words}") and line.endswith(" [options]\n") and line.count("\n") == 1
    assert all(
        action.option_strings[0] in line for action in parser._actions if action.required and action.option_strings
    )


@pytest.mark.parametrize("words", parsers())
def test_results_are_told_alike(words: str) -> None:
    """--json is a flag everywhere, and --quiet is there with it."""
    options = {option: action for action in parsers()[words]._actions for option in action.option_strings}
    if words.split()[0] in OTHERS_WORDS:
        assert "--json" not in options
        return
    for name in ("--json", "--quiet"):
        assert options[name].nargs == 0 and options[name].default is False, words


def test_the_help_lists_every_command_below_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for purpose, commands in GROUPS.items():
        begin = lines.index(f"{purpose}:") + 1
        assert [line.split()[0] for line in lines[begin : begin + len(commands)]] == list(commands)


def test_no_option_has_two_spellings_but_the_ports() -> None:
    for words, parser in parsers().items():
        if words.split()[0] not in ("recognise", "vendor", "port", "msame"):
            assert not [option for option in options_of(parser) if "_" in option], words
