# SPDX-License-Identifier: Apache-2.0
"""What holds for every command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


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
