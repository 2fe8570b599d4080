# SPDX-License-Identifier: Apache-2.0
"""facepipe completion bash

Prints a script with which the shell completes commands, options, names of models and files at the Tab key. Once:

  facepipe completion bash > ~/.local/share/bash-completion/completions/facepipe
  facepipe completion zsh > ~/.zfunc/_facepipe          with fpath+=~/.zfunc before compinit in ~/.zshrc
  facepipe completion fish > ~/.config/fish/completions/facepipe.fish
"""

from __future__ import annotations

import argparse
import importlib

from facepipe.backends import AUTO, backend_names
from facepipe.catalogue import DETECTORS, EMBEDDERS, MODELS
from facepipe.catalogue.chips import SOCS
from facepipe.cli._main import COMMANDS
from facepipe.terminal.completion import SHELLS, completion_script

NAMES = {
    "--detector": tuple(DETECTORS),
    "--embedder": EMBEDDERS,
    "--backend": (AUTO, *backend_names()),
    "--against": backend_names(),
    "--soc": tuple(SOCS),
    "names": (*MODELS, *DETECTORS),
    "name": tuple(MODELS),
    "models": tuple(MODELS),
    "pass_name": tuple(dict.fromkeys(name for spec in MODELS.values() for name in spec.passes)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(args: argparse.Namespace) -> int:
    commands = ((name, importlib.import_module(module), text) for name, (module, text) in COMMANDS.items())
    print(completion_script("facepipe", commands, args.shell, NAMES))
    return 0
