# SPDX-License-Identifier: Apache-2.0
"""Results go to standard output, in words or as lines of JSON; notes and bars to standard error, unless --quiet."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import pytest

from facepipe.terminal.output import bar, bars, counted, fault, heading, note, result


class Terminal(io.StringIO):
    """A standard error that a person watches."""

    def isatty(self) -> bool:
        return True


def asked(json: bool = False, quiet: bool = False) -> argparse.Namespace:
    return argparse.Namespace(json=json, quiet=quiet)


def test_a_result_is_words_or_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"file": Path("a/b"), "name": "Zoë\n\x1b[2J", "rows": (1, 2)}
    for json_too in (False, True):
        heading(asked(json_too), "name  rows")
        result(asked(json_too), "Zoë   2\nand a line more", record)
    shown = capsys.readouterr().out.splitlines()
    assert shown[:3] == ["name  rows", "Zoë   2", "and a line more"]
    (line,) = shown[3:]
    assert line.isprintable() and json.loads(line) == {"file": "a/b", "name": "Zoë\n\x1b[2J", "rows": [1, 2]}


def test_a_number_that_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        result(asked(json=True), "", {"cosine": float("nan")})


def test_quiet_leaves_out_notes_and_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        note(asked(quiet=quiet), "by native")
        note(asked(quiet=quiet), None)
        fault("a.jpg: broken")
    shown = capsys.readouterr()
    assert (shown.out, shown.err.splitlines()) == ("", ["by native", "a.jpg: broken", "a.jpg: broken"])


@pytest.mark.parametrize(
    ("kind", "quiet", "drawn"), [(Terminal, False, True), (Terminal, True, False), (io.StringIO, False, False)]
)
def test_a_bar_is_drawn_where_somebody_watches_and_may(
    kind: type[io.StringIO], quiet: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = kind()
    monkeypatch.setattr(sys, "stderr", watched)
    with bar(asked(quiet=quiet), "faces", 2, "face") as progress:
        progress(2)
    with bars(asked(quiet=quiet), 2) as begun:
        begun("pnet")(1)
        begun("rnet")(2)
    assert bool(watched.getvalue()) == drawn
    if drawn:
        assert all(name in watched.getvalue() for name in ("faces", "pnet", "rnet"))


def test_a_bar_of_one_photograph_may_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Terminal()
    monkeypatch.setattr(sys, "stderr", watched)
    with bar(asked(), "faces", 1, hidden=True) as progress:
        progress(1)
    assert watched.getvalue() == ""


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 people"), (1, "1 person"), (2, "2 people"), (1200, "1,200 people")]
)
def test_one_is_told_in_the_singular(number: int, told: str) -> None:
    assert counted(number, "person", "people") == told
    assert counted(number, "face") == told.replace("people", "faces").replace("person", "face")
