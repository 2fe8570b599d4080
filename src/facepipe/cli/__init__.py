# SPDX-License-Identifier: Apache-2.0
"""The command line: one file for each sub-command, no arithmetic."""

from facepipe.cli._main import main

__all__ = ["main"]
