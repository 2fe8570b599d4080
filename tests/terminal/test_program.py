# SPDX-License-Identifier: Apache-2.0
"""Words that were misspelt are told what was meant, in one line."""

from __future__ import annotations

import argparse
from types import ModuleType

import pytest

from facepipe.cli import main
from facepipe.terminal.program import command_parser, leaves, options_of, run_module


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a refused command line."""
    try:
        status = main(words)
    except SystemExit as left:
        assert isinstance(left.code, int)
        status = left.code
    shown = capsys.readouterr()
    assert (status, shown.out, shown.err.count("\n")) == (2, "", 1)
    return shown.err.rstrip("\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["detec"], "facepipe: 'detec' is not a command. Did you mean detect?"),
        (["DETECT"], "facepipe: 'DETECT' is not a command. Did you mean detect?"),
        (["xyzzy"], "facepipe: 'xyzzy' is not a command. Try: `facepipe --help`"),
        (["--verson"], "facepipe: '--verson' stands where a command does, and options follow it. Try:"),
        (["embed", "photographs", "--ouf", "x"], "facepipe embed: '--ouf' is no option of it. Did you mean --out?"),
        (["verify", "a", "b", "--treshold=0.3"], "'--treshold' is no option of it. Did you mean --threshold?"),
        (["gallery", "bild"], "'bild', expected one of build, add, remove, list, search,"),
        (["gallery", "list", "--sauces", "x"], "facepipe gallery list: '--sauces' is no option of it. Did you mean"),
        (["verify", "a", "b", "--select", "larget"], "argument --select: 'larget', expected one of"),
        (["detect", "a", "--batch", "many"], "argument --batch: 'many', expected a whole number. Try: `facepipe"),
        (["embed"], "the following arguments are required: FOLDER, --out. Try: `facepipe embed --help`"),
        (["fetch", "a\x1b[2Jb", "--x\x1b[2J"], r"'--x\x1b[2J' is no option of it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_misspelt_word_is_told_what_was_meant(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in told(capsys, *words)


def module(run: object) -> ModuleType:
    """A command of two options."""
    made = ModuleType("made", "facepipe made")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("names", nargs="*")
        parser.add_argument("--out")

    vars(made).update(add_arguments=add_arguments, run=run)
    return made


def test_options_may_be_cut_short_and_end_at_two_dashes() -> None:
    seen: list[argparse.Namespace] = []
    made = module(lambda args: seen.append(args) or 0)
    assert run_module(made, "made", ["--ou", "x", "--", "--ouf"]) == 0
    assert (seen[0].out, seen[0].names) == ("x", ["--ouf"])


def test_a_name_of_a_sub_command_that_is_a_value_is_one() -> None:
    """`gallery list list`: a gallery may be called as a sub-command is."""
    assert main(["gallery", "list", "list"]) == 1


def test_every_parser_in_the_end_takes_the_traceback() -> None:
    made = module(int)
    (found,) = leaves(command_parser(made, "made"))
    assert found[0] == () and {"--out", "--traceback", "--help"} <= set(options_of(found[1]))
