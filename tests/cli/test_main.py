# SPDX-License-Identifier: Apache-2.0
"""What holds for every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facepipe.cli import check, main
from facepipe.runs.provenance_check import Checked


@pytest.mark.process
def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-u", "-m", "facepipe", "models"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_name_in_an_error_moves_no_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    """Colours, the bell, another line, another direction: a file can be called so, and an error names it."""
    name = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eyreLlag\u2028.gallery"
    assert main(["gallery", "list", name]) == 1
    shown = capfd.readouterr().err
    assert r"\x1b[2J\x1b]0;title\x07\x9b31m\u202eyreLlag" in shown
    assert shown.endswith("\n") and shown[:-1].isprintable()


def test_what_was_checked_is_counted_in_english_and_named_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Checked("photograph", Path("a\n\x1b[2J.jpg"), "changed")
    counts = {"weights": 3, "source": 1, "photograph": 2}
    monkeypatch.setattr(check, "summary", lambda *_: (counts, [other]))
    assert main(["check", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        r"changed   photograph  a\n\x1b[2J.jpg",
        f"{tmp_path}: 3 weights, 1 source, 2 photographs; 1 of them are not what they were",
    ]
    assert main(["check", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["differing"][0]["path"] == str(other.path)
