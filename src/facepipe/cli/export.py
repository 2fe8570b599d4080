# SPDX-License-Identifier: Apache-2.0
"""facepipe export pnet --output weights/PNet_truncated.onnx

Writes the ONNX of one model as torch exports it, before any graph pass, and compares it with PyTorch. `facepipe onnx`
does this and everything after it; this command is for looking at, or fixing by hand, the first step alone.

With --decoded: a converted detector of one network for other programs, as UltraFace's authors publish it. One picture
of a fixed size in; scores, boxes and landmarks of every prior out, decoded in the graph and held against facepipe's own
decoding. docs/out-of-python.md says how TVM, OpenCV, OpenVINO and C++ run it.

  facepipe export ultraface.rfb-320 --decoded --output face.onnx
  facepipe export retinaface.mobilenet0.25 --decoded --size 480x640 --output face.onnx
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from facepipe.assets.workspace import open_workspace
from facepipe.catalogue import model
from facepipe.cli.run_options import add_overwrite, add_weights
from facepipe.convert.ascend.plan import parse_size
from facepipe.convert.onnx.models import export_decoded, export_weights
from facepipe.errors import ConversionError
from facepipe.store.files import sha256_of_file
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a model of the catalogue")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="your own weight file of the same network")
    parser.add_argument("--decoded", action="store_true", help="a converted detector, decoding in the graph")
    parser.add_argument("--size", metavar="HEIGHTxWIDTH", help="of the --decoded input (default: the catalogue's)")
    add_weights(parser, "folder of weights and converted models")
    add_overwrite(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_free([args.output], args.overwrite)
    spec, own = model(args.name), args.checkpoint
    ws = replace(open_workspace(), weights=args.weights)
    if args.decoded and own is not None:
        raise ConversionError("--checkpoint: --decoded takes the converted model, not weights.", "one of the two.")
    if args.size is not None and not args.decoded:
        raise ConversionError("--size: an export without --decoded runs at any size.", "--decoded, or no --size.")
    if args.decoded:
        size = None if args.size is None else parse_size(args.size)
        decoded = export_decoded(spec, ws, args.output, size, overwrite=args.overwrite)
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in decoded.shapes.items())
        text = f"{args.output}: {shapes}; at most {decoded.difference:.1e} from facepipe's own decoding"
        result(args, text, {"model": spec.name, "file": str(args.output), **asdict(decoded)})
        return 0
    if own is not None and own.is_file() and spec.weights.sha256 not in (None, sha256_of_file(own)):
        note(args, f"{own}: not the published weights of {spec.name} (sha256 differs); used as they are")
    step = export_weights(spec, ws, args.output, own, overwrite=args.overwrite)
    result(
        args,
        f"{args.output}: {step.nodes} nodes, opset {spec.opset}, "
        f"at most {step.max_abs_difference:.1e} from PyTorch, cosine {step.cosine:.8f}",
        {"model": spec.name, "file": str(args.output), "opset": spec.opset, **asdict(step)},
    )
    return 0
