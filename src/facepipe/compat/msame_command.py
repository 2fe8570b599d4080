# SPDX-License-Identifier: Apache-2.0
"""facepipe msame --model weights/facenet.seeded.simplified.onnx --input packed/bins --output out

Runs an ONNX model over .bin files by onnxruntime, with msame's options, files, names and lines, so that either can
stand in for the other. Options may be written `--key value` or `--key=value`, and be cut short.

A name ending in .om stands for the ONNX file beside it that it was compiled from; which one runs is printed.

Unlike msame: the length of every file is held against the model, a failure has exit status 1 and a wrong option 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from facepipe.backends.ascend.bin_folder import DynamicShape, FilesJob, onnx_of, run_files
from facepipe.backends.base import RuntimeOptions
from facepipe.errors import BackendError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="ONNX", help="the model to run")
    add("--input", default="", metavar="PATH[,PATH]", help="a .bin or a folder of them for each input; none: zeros")
    add("--output", required=True, type=Path, metavar="FOLDER", help="a folder named by the time is made in it")
    add("--outfmt", choices=["BIN", "TXT"], default="BIN", help="raw numbers, or text")
    add("--loop", type=_within(1, 100), default=1, metavar="1..100", help="executions; a folder is run once")
    add("--device", type=_within(0, 255), default=0, metavar="0..255", help="taken and not used: this runs on the CPU")
    for name in ("debug", "dump", "profiler"):
        add(f"--{name}", choices=["true", "false"], default="false", help=_FLAGS[name])
    shape = parser.add_mutually_exclusive_group().add_argument
    shape("--dymBatch", type=_within(1, 2048), metavar="N", help="size of the first axis")
    shape("--dymHW", type=_sizes(2), metavar="H,W", help="height and width of an NCHW input")
    shape("--dymDims", type=_shapes, metavar="NAME:D,D[;NAME:D]", help="every axis of an input")
    shape("--dymShape", type=_shapes, metavar="NAME:D,D[;NAME:D]", help="the same")
    add("--outputSize", type=_sizes(None), default=(), metavar="BYTES[,BYTES]", help="room for each output")
    add("--threads", type=_within(1, 1024), default=1, metavar="N", help="of onnxruntime; msame has no such option")


def run(args: argparse.Namespace) -> int:
    for name in ("dump", "profiler"):
        if getattr(args, name) == "true":
            raise BackendError(f"--{name} true: onnxruntime has no such record, expected false.", "msame on the board.")
    if args.device:
        print(f"facepipe msame: device {args.device} is not used; onnxruntime runs on the CPU.", file=sys.stderr)
    model, batch = args.model, args.dymBatch
    if model.suffix == ".om":
        model, compiled_batch = onnx_of(model)
        batch = batch or compiled_batch
        print(f"facepipe msame: {args.model} is compiled for a board; {model} runs instead.", file=sys.stderr)
    job = FilesJob(
        model=model,
        inputs=tuple(Path(part) for part in args.input.split(",") if part),
        outputs=args.output,
        text=args.outfmt == "TXT",
        loop=args.loop,
        dynamic=DynamicShape(batch, args.dymHW, args.dymDims or args.dymShape or {}),
        output_sizes=args.outputSize,
        describe=args.debug == "true",
    )
    run_files(job, RuntimeOptions(threads=args.threads), print)
    print("[INFO] Execute sample success")
    return 0


_FLAGS = {
    "debug": "say what the model declares",
    "dump": "only false: a dump is made on the board",
    "profiler": "only false: a profile is made on the board",
}


def _within(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low} to {high}")
        return int(text)

    return number


def _sizes(count: int | None) -> Callable[[str], tuple[int, ...]]:
    def sizes(text: str) -> tuple[int, ...]:
        parts = text.split(",")
        good = all(part.strip().isdecimal() and int(part) > 0 for part in parts)
        if not good or (count is not None and len(parts) != count):
            raise argparse.ArgumentTypeError(f"'{text}' is not {count or 'a list of'} sizes apart by commas")
        return tuple(map(int, parts))

    return sizes


def _shapes(text: str) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for part in text.split(";"):
        name, colon, sizes = part.rpartition(":")
        if not colon or not name.strip():
            raise argparse.ArgumentTypeError(f"'{part}' is not NAME:SIZE,SIZE")
        shapes[name.strip()] = _sizes(None)(sizes)
    return shapes
