# SPDX-License-Identifier: Apache-2.0
"""The table of sub-commands, and how an error becomes one line and an exit status.

A sub-command is a file beside this one with `add_arguments(parser)` and `run(args) -> int`; its docstring is its help
and begins with an example. It is imported only when it is called, so that `facepipe --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from facepipe import __version__
from facepipe.cli._stop import StopRequest, stoppable
from facepipe.errors import FacepipeError, UnsealedError
from facepipe.escape import for_terminal

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module, one line of help)
    "demo": ("facepipe.cli.demo", "six real photographs recognised, then the whole job on a made sample"),
    "fetch": ("facepipe.cli.fetch", "put weights and data sets where they belong, digests checked"),
    "models": ("facepipe.cli.models", "list the catalogue, or show one data sheet"),
    "backends": ("facepipe.cli.backends", "which back ends can run here, and why the others cannot"),
    "onnx": ("facepipe.cli.onnx", "weights to exported, fixed and simplified ONNX, with parity after every step"),
    "import": ("facepipe.cli.import_model", "a recogniser or detector of your own: an ONNX file becomes a name"),
    "quantise": (
        "facepipe.cli.quantise",
        "a recogniser in eight bits, calibrated on photographs outside the test pairs",
    ),
    "export": ("facepipe.cli.export", "the first step of that alone: the ONNX as torch writes it"),
    "fix": ("facepipe.cli.fix", "one graph pass on any ONNX file"),
    "plan": ("facepipe.cli.plan", "which input shapes photographs need, and the fixed steps a chip is compiled for"),
    "check": ("facepipe.cli.check", "will Ascend's compiler take this ONNX file? findings with source and repair"),
    "om": ("facepipe.cli.om", "ONNX to .om by Ascend's compiler ATC, or the commands for it"),
    "rehearse": ("facepipe.cli.rehearse", "the run in half precision, as an .om computes it, without a board"),
    "parity": ("facepipe.cli.parity", "one model in two back ends, output by output or layer by layer"),
    "bench": ("facepipe.cli.bench", "speed of one network on one back end: milliseconds of a call, rows per second"),
    "detect": ("facepipe.cli.detect", "faces of photographs: boxes, landmarks, a drawing"),
    "embed": ("facepipe.cli.embed", "one embedding for each photograph of a folder"),
    "verify": ("facepipe.cli.verify", "are two photographs of the same person?"),
    "lfw": ("facepipe.cli.lfw", "photographs to accuracy on LFW, on CFP or on your own pairs"),
    "wider": ("facepipe.cli.wider", "a detector on WIDER FACE: easy, medium, hard"),
    "verification": (
        "facepipe.cli.verification",
        "a recogniser on lfw, cfp_fp, agedb_30 by insightface's protocol, or pack such a set",
    ),
    "report": ("facepipe.cli.report", "a scored run as one HTML page that needs no network"),
    "gallery": ("facepipe.cli.gallery", "names for faces: build, add, remove, list, search, calibrate, import"),
    "recognise": ("facepipe.cli.recognise", "names on the faces of a photograph, a folder or a film"),
    "cluster": ("facepipe.cli.cluster", "unnamed faces of a folder grouped into people, as contact sheets"),
    "image2bin": ("facepipe.compat.image2bin_command", "pictures to the Paddle port's training records"),
    "bin2image": ("facepipe.compat.bin2image_command", "the Paddle port's training records to pictures"),
    "stage": ("facepipe.cli.stage", "one stage of the staged run: pnet, rnet, onet, crop, pack, embed, score"),
    "msame": ("facepipe.compat.msame_command", "msame's command line over onnxruntime"),
    "unpack": ("facepipe.compat.unpack_command", "output bins of msame, benchmark or ais_bench to embeddings by key"),
    "vendor": (
        "facepipe.compat.vendor_command",
        "the vendor's preprocess and postprocess commands, behind the doors of those names",
    ),
}

DONE, FIXABLE, USAGE, UNSEALED = 0, 1, 2, 3


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


def run_module(module: ModuleType, program: str, arguments: Sequence[str]) -> int:
    """One command: `module.add_arguments`, then `module.run`, and what came of it as an exit status."""
    parser = argparse.ArgumentParser(
        prog=program, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traceback", action="store_true", help="show the whole traceback of an error")
    module.add_arguments(parser)
    args = parser.parse_args(arguments)
    request = StopRequest()
    try:
        with stoppable() as request:
            return int(module.run(args))
    except BaseException as error:
        return _exit_status(program, error, request, show_traceback=args.traceback)


def _exit_status(program: str, error: BaseException, request: StopRequest, *, show_traceback: bool) -> int:
    """One line and a status for what the user can mend or asked for; anything else is a bug and is raised."""
    if request.number is not None:  # whatever a stop turned into on its way out
        print(f"{program}: stopped; run the same command again to resume.", file=sys.stderr)
        return 128 + request.number
    if isinstance(error, BrokenPipeError) and _reader_is_gone():  # as in `facepipe models | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain again
        return 128 + signal.SIGPIPE
    # OSError: a full disk, a read-only folder, a vanished file; the system's sentence names the file.
    if not isinstance(error, FacepipeError | OSError):
        raise error
    if show_traceback:
        traceback.print_exception(error)
    print(f"{program}: {for_terminal(str(error))}", file=sys.stderr)
    return UNSEALED if isinstance(error, UnsealedError) else FIXABLE


def _reader_is_gone() -> bool:
    """Whether nobody reads what is printed any more. Other pipes break too: that of a worker, which is an error."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)  # POLLERR is always told
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _top_level(arguments: Sequence[str]) -> int:
    """`facepipe`, `facepipe --help`, `facepipe --version`, and a command that does not exist."""
    width = max(map(len, COMMANDS)) + 2
    listing = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="facepipe",
        usage="facepipe COMMAND [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="facepipe detect photograph.jpg --draw boxes.png\n\n" + (sys.modules["facepipe"].__doc__ or ""),
        epilog=f"commands:\n{listing}\n\n`facepipe COMMAND --help` tells more of one.",
    )
    parser.add_argument("--version", action="version", version=f"facepipe {__version__}")
    parser.add_argument("command", nargs="?")
    args, _ = parser.parse_known_args(arguments)
    if args.command is not None:
        parser.error(f"'{args.command}' is not a command, expected one of {', '.join(COMMANDS)}")
    parser.print_help()
    return DONE
