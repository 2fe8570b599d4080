# SPDX-License-Identifier: Apache-2.0
"""facepipe import w600k_r50.onnx --like arcface.iresnet50 --name mine

A recogniser or detector of your own: the ONNX file is looked at, run once on onnxruntime and copied into --weights, and
a record, mine.toml, is written beside. From then on --embedder mine (--detector mine) works everywhere, Python too.
What the file does not tell (order of the colours, their mean and deviation, how faces are aligned) is as of the model
that it is --like, unless it is given here. Of a detector --detector says how its outputs are read.

  facepipe import adaface.onnx --like arcface.iresnet50 --pixels BGR --licence MIT
  facepipe import det_10g.onnx --detector scrfd
  facepipe import trained.pt --like mobilefacenet.paddle                     weights of that very network
  facepipe import mine.pth --like arcface.iresnet50 --module mynet:build     a PyTorch network, built by that function
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.catalogue.imported import record_path
from facepipe.catalogue.own_detectors import DETECTOR_FORMS
from facepipe.cli.run_options import add_overwrite, add_weights, cosine
from facepipe.errors import DataError
from facepipe.runs.import_model import Told, holds_weights, import_detector, import_network, import_recogniser
from facepipe.specs import FivePoint, ModelSpec
from facepipe.terminal.output import add_output_arguments, heading, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.onnx", help="the network; or PyTorch's or Paddle's weights of one")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--like", metavar="NAME", help="the embedder that it is like: arcface.iresnet50, ...")
    kind.add_argument("--detector", choices=tuple(DETECTOR_FORMS), help="it finds faces, and its outputs are so")
    add("--module", metavar="MODULE:FUNCTION", help="FILE holds PyTorch weights, of the network that this builds")
    add("--name", metavar="WORD", help="what it is called from now on (default: as the file)")
    add("--pixels", choices=("RGB", "BGR"), help="order of the colours")
    add("--mean", type=float, nargs=3, metavar="X", help="of each colour in that order, in 0..255")
    add("--std", type=float, nargs=3, metavar="X", help="the network sees (x - mean) / std")
    add("--alignment", metavar="HOW", help="five-point (ArcFace's template), or margin:PIXELS around the box")
    add("--threshold", type=cosine, metavar="X", help="cosine of one person's faces, or least score of a face")
    add("--licence", metavar="TEXT", help="of the weights, in words")
    add_weights(parser)
    add_overwrite(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    mean, std = (None if given is None else tuple(given) for given in (args.mean, args.std))
    told = Told(args.pixels, mean, std, args.alignment, args.threshold, args.licence)
    bring, kind = (import_recogniser, args.like) if args.like else (import_detector, args.detector)
    if args.module and args.detector:
        raise DataError("--module: a detector was asked for, expected a recogniser.", "its ONNX, without --module.")
    if args.module or (args.like and holds_weights(args.file)):
        where = (args.file, args.module, kind, args.weights, args.name, told)
        spec, steps = import_network(*where, overwrite=args.overwrite)
        heading(args, "\n".join(f"{one.step}: {one.max_abs_difference:.1e} from PyTorch at most" for one in steps))
    else:
        spec = bring(args.file, kind, args.weights, args.name, told, overwrite=args.overwrite)
    file, record = str(spec.final(args.weights)), str(record_path(spec.name, args.weights))
    option = f"--{'embedder' if args.like else 'detector'} {spec.name}"
    text = f"{spec.name}: {_in_words(spec)}; like {kind}\n{file} and {record}: {option}"
    result(args, text, {"model": spec.name, "like": kind, "file": file, "record": record})
    return 0


def _in_words(spec: ModelSpec) -> str:
    if (shot := spec.single_shot) is not None:
        size = f"{shot.size[0]}x{shot.size[1]}{'' if spec.input.dims[2].is_fixed else ', or any'}"
        return f"{spec.pixels.order} of {size} (height x width), {shot.keypoints or 'no'} landmarks"
    side = spec.input.dims[2].low
    cut = "five landmarks" if isinstance(spec.alignment, FivePoint) else "the box with a margin"
    return f"{spec.outputs[0].dims[1].low} numbers of {side}x{side} {spec.pixels.order}, aligned by {cut}"
