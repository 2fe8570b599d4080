# SPDX-License-Identifier: Apache-2.0
"""Scripts that complete a program's command lines in a shell, made by shtab from the very parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType

from facepipe.errors import BackendError
from facepipe.terminal.program import fill, leaves

SHELLS = ("bash", "zsh", "fish")

# What a metavar says of a value, where names are completed from the disk.
_FOLDERS = {"FOLDER", "RUN", "PHOTOGRAPHS", "IMAGES", "BINS"}
_FILES = {
    "FILE",
    "FILE.gallery",
    "FILE.bin",
    "PHOTOGRAPH",
    "PATH",
    "GALLERY",
    "INDEX",
    "SET",
    "IN",
    "OUT",
    "WHAT",
    "ONNX",
}


def completion_script(
    program: str,
    commands: Iterable[tuple[str, ModuleType, str]],
    shell: str,
    names: Mapping[str, Sequence[str]],
) -> str:
    """The script for `shell`, one of SHELLS; every command, option and choice is in it, and Python is not asked again.

    Args:
        commands: of each its name, its module and what it does.
        names: from an option, or the name of a positional argument, to the values that it can have where the parser
            leaves that to the command.

    Raises:
        BackendError: shtab is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise BackendError(
            "completion: no module named 'shtab', which writes the scripts.", "pip install 'facepipe[completion]'."
        ) from error
    whole = argparse.ArgumentParser(prog=program)
    below = whole.add_subparsers()
    for name, module, text in commands:
        parser = below.add_parser(name, help=text)
        fill(parser, module)
        for _, leaf in leaves(parser):
            for action in leaf._actions:
                _tell_values(action, names, shtab.DIRECTORY, shtab.FILE)
    return shtab.complete(whole, shell)


def _tell_values(action: argparse.Action, names: Mapping[str, Sequence[str]], folder: object, file: object) -> None:
    """Say what an argument's value can be; shtab reads `choices` and `complete`."""
    known = next((names[name] for name in (*action.option_strings, action.dest) if name in names), None)
    if action.choices is None and known is not None:
        action.choices = list(known)
    elif action.metavar in _FOLDERS:
        vars(action)["complete"] = folder
    elif action.metavar in _FILES:
        vars(action)["complete"] = file
