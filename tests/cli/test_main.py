# SPDX-License-Identifier: Apache-2.0
"""What holds for every command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from facepipe.cli import main


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
