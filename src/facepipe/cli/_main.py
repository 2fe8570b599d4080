# SPDX-License-Identifier: Apache-2.0
"""The table of sub-commands, by what one wants. docs/commands.md, the help and the completion are made from it.

A sub-command is a file beside this one with `add_arguments(parser)` and `run(args) -> int`; its docstring is its help
and begins with an example. It is imported only when it is called, so that `facepipe --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from facepipe import __version__
from facepipe.errors import nearest
from facepipe.terminal.program import DONE, CommandParser, run_module

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    # purpose: name: (module, one line of help)
    "a first look": {
        "demo": ("facepipe.cli.demo", "six real photographs recognised, then the whole job on a made sample"),
    },
    "weights and data": {
        "fetch": ("facepipe.cli.fetch", "put weights and data sets where they belong, digests checked"),
        "models": ("facepipe.cli.models", "list the catalogue, or show one data sheet"),
    },
    "photographs": {
        "detect": ("facepipe.cli.detect", "faces of photographs: boxes, landmarks, a drawing"),
        "embed": ("facepipe.cli.embed", "one embedding for each photograph of a folder"),
        "verify": ("facepipe.cli.verify", "are two photographs of the same person?"),
    },
    "names": {
        "gallery": ("facepipe.cli.gallery", "names for faces: build, add, remove, list, search, calibrate, import"),
        "recognise": ("facepipe.cli.recognise", "names on the faces of a photograph, a folder or a film"),
        "cluster": ("facepipe.cli.cluster", "unnamed faces of a folder grouped into people, as contact sheets"),
    },
    "accuracy": {
        "lfw": ("facepipe.cli.lfw", "photographs to accuracy on LFW, on CFP or on your own pairs"),
        "report": ("facepipe.cli.report", "a scored run as one HTML page that needs no network"),
        "verification": (
            "facepipe.cli.verification",
            "a recogniser on lfw, cfp_fp, agedb_30 by insightface's protocol, or pack such a set",
        ),
        "wider": ("facepipe.cli.wider", "a detector on WIDER FACE: easy, medium, hard"),
    },
    "conversion": {
        "onnx": ("facepipe.cli.onnx", "weights to exported, fixed and simplified ONNX, with parity after every step"),
        "import": ("facepipe.cli.import_model", "a recogniser or detector of your own: an ONNX file becomes a name"),
        "export": ("facepipe.cli.export", "the ONNX as torch writes it; --decoded: a detector for other programs"),
        "fix": ("facepipe.cli.fix", "one graph pass on any ONNX file"),
        "quantise": (
            "facepipe.cli.quantise",
            "a recogniser in eight bits, calibrated on photographs outside the test pairs",
        ),
        "parity": ("facepipe.cli.parity", "one model in two back ends, output by output or layer by layer"),
    },
    "Ascend": {
        "plan": (
            "facepipe.cli.plan",
            "which input shapes photographs need, and the fixed steps a chip is compiled for",
        ),
        "check": ("facepipe.cli.check", "will Ascend's compiler take this ONNX file? findings with source and repair"),
        "om": ("facepipe.cli.om", "ONNX to .om by Ascend's compiler ATC, or the commands for it"),
        "rehearse": ("facepipe.cli.rehearse", "the run in half precision, as an .om computes it, without a board"),
    },
    "the staged run": {
        "stage": ("facepipe.cli.stage", "one stage of the staged run: pnet, rnet, onet, crop, pack, embed, score"),
        "msame": ("facepipe.compat.msame_command", "msame's command line over onnxruntime"),
        "unpack": (
            "facepipe.compat.unpack_command",
            "output bins of msame, benchmark or ais_bench to embeddings by key",
        ),
        "vendor": (
            "facepipe.compat.vendor_command",
            "the vendor's preprocess and postprocess commands, behind the doors of those names",
        ),
    },
    "training": {
        "train": ("facepipe.cli.train", "a recogniser learned from aligned faces of people, resumable bit for bit"),
        "train-data": (
            "facepipe.cli.train_data",
            "sets of faces to train on: aligned from photographs, listed, packed in a file",
        ),
        "port": ("facepipe.compat.port_command", "the Paddle port's train, valid and export, behind those doors"),
        "image2bin": ("facepipe.compat.image2bin_command", "pictures to the Paddle port's training records"),
        "bin2image": ("facepipe.compat.bin2image_command", "the Paddle port's training records to pictures"),
    },
    "this machine": {
        "completion": ("facepipe.cli.completion", "a script that completes command lines in bash, zsh or fish"),
        "backends": ("facepipe.cli.backends", "which back ends can run here, and why the others cannot"),
        "bench": (
            "facepipe.cli.bench",
            "speed of one network on one back end: milliseconds of a call, rows per second",
        ),
    },
}
COMMANDS = {name: command for commands in GROUPS.values() for name, command in commands.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit status: 0 done, 1 the user can fix it, 2 usage, 3 done but for
    photographs that end the process that looks at them.

    SIGINT and SIGTERM end the run cleanly with 130 and 143; what was finished stays, and the run can be resumed.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        return _top_level(arguments)
    return run_module(importlib.import_module(COMMANDS[name][0]), f"facepipe {name}", arguments[1:])


def _top_level(arguments: Sequence[str]) -> int:
    """`facepipe`, `facepipe --help`, `facepipe --version`, and a command that does not exist."""
    width = max(map(len, COMMANDS)) + 2
    listing = "\n\n".join(
        "\n".join([f"{purpose}:", *(f"  {name:<{width}}{text}" for name, (_, text) in commands.items())])
        for purpose, commands in GROUPS.items()
    )
    parser = CommandParser(
        prog="facepipe",
        usage="facepipe COMMAND [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="facepipe detect photograph.jpg --draw boxes.png\n\n" + (sys.modules["facepipe"].__doc__ or ""),
        epilog=f"{listing}\n\n`facepipe COMMAND --help` tells more of one.",
    )
    parser.add_argument("--version", action="version", version=f"facepipe {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    args, rest = parser.parse_known_args(arguments)
    if rest and arguments[0] in rest:
        parser.error(f"'{arguments[0]}' stands where a command does, and options follow it")
    if args.command is not None:
        near = nearest(args.command, COMMANDS)
        parser.error(f"'{args.command}' is not a command{f'. Did you mean {near}?' if near else ''}")
    parser.print_help()
    return DONE
