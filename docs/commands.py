# SPDX-License-Identifier: Apache-2.0
"""Writes docs/commands.md: the table of commands by purpose, each with the example that begins its help.

`make docs` runs it. A test fails while the page is not what this would write.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from facepipe.cli._main import COMMANDS

PAGE = Path(__file__).with_suffix(".md")

PURPOSES = {
    "a first look": ("demo",),
    "weights and data": ("fetch", "models"),
    "photographs": ("detect", "embed", "verify"),
    "names": ("gallery", "recognise", "cluster"),
    "accuracy": ("lfw", "report", "verification", "wider"),
    "conversion": ("onnx", "import", "export", "fix", "quantise", "parity"),
    "Ascend": ("plan", "check", "om", "rehearse"),
    "the staged run": ("stage", "msame", "unpack", "vendor"),
    "training records": ("image2bin", "bin2image"),
    "this machine": ("backends", "bench"),
}
"""What one wants, and the commands for it. A command that is nowhere here fails the test."""

BEGINNING = """\
<!-- `make docs` writes this page from docs/commands.py, the table of commands and the examples of their help. -->
# Commands

`facepipe COMMAND --help` tells all of one; this page says which to take. Names, clusters and verification sets
have a page of their own: [galleries.md](galleries.md).

| for | example | what it does |
|---|---|---|
"""

END = """
Results go to standard output, progress and messages to standard error. Exit status: 0 done; 1 something you can mend,
told in one line; 2 usage; 3 done but for photographs that end the process that looks at them
([reliability.md](reliability.md)); 130 and 143 stopped by a signal, and the same command resumes. `--traceback` shows
where an error was raised.
"""


def page() -> str:
    """The page's whole text."""
    rows = []
    for purpose, names in PURPOSES.items():
        for name in names:
            rows.append(f"|{f' {purpose}' if name == names[0] else ''} | `{example(name)}` | {COMMANDS[name][1]} |\n")
    return BEGINNING + "".join(rows) + END


def example(name: str) -> str:
    """The first line of the command's help; a bar would end the table's cell."""
    documentation = importlib.import_module(COMMANDS[name][0]).__doc__ or ""
    return documentation.strip().splitlines()[0].strip("` ").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
