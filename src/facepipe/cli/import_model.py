# SPDX-License-Identifier: Apache-2.0
"""facepipe import w600k_r50.onnx --like arcface.iresnet50 --name mine

A recogniser of your own: the ONNX file is looked at, run once on onnxruntime and copied into --weights, and a record of
it, mine.toml, is written beside. From then on --embedder mine works in every command and in Python. What the file does
not tell (order of the colours, their mean and deviation, how faces are aligned) is as of the model that it is --like,
unless it is given here.

  facepipe import adaface.onnx --like arcface.iresnet50 --pixels BGR --licence MIT
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.catalogue.imported import record_path
from facepipe.cli.run_options import add_overwrite, cosine
from facepipe.runs.import_model import Told, import_recogniser
from facepipe.specs import FivePoint, ModelSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.onnx")
    add("--like", required=True, metavar="NAME", help="the embedder that it is like: arcface.iresnet50, ...")
    add("--name", help="what it is called from now on (default: as the file)")
    add("--pixels", choices=("RGB", "BGR"), help="order of the colours")
    add("--mean", type=float, nargs=3, metavar="X", help="of each colour in that order, in 0..255")
    add("--std", type=float, nargs=3, metavar="X", help="the network sees (x - mean) / std")
    add("--alignment", help="five-point (ArcFace's template), or margin:PIXELS around the box")
    add("--threshold", type=cosine, metavar="COSINE", help="above it two faces are one person's")
    add("--licence", help="of the weights, in words")
    add("--weights", type=Path, default=Path("weights"), help="folder of models (default: weights)")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    mean, std = (None if given is None else tuple(given) for given in (args.mean, args.std))
    told = Told(args.pixels, mean, std, args.alignment, args.threshold, args.licence)
    spec = import_recogniser(args.file, args.like, args.weights, args.name, told, overwrite=args.overwrite)
    print(f"{spec.name}: {_in_words(spec)}; like {args.like}")
    print(f"{spec.final(args.weights)} and {record_path(spec.name, args.weights)}: --embedder {spec.name}")
    return 0


def _in_words(spec: ModelSpec) -> str:
    side = spec.input.dims[2].low
    cut = "five landmarks" if isinstance(spec.alignment, FivePoint) else "the box with a margin"
    return f"{spec.outputs[0].dims[1].low} numbers of {side}x{side} {spec.pixels.order}, aligned by {cut}"
