# SPDX-License-Identifier: Apache-2.0
"""facepipe export pnet --output weights/PNet_truncated.onnx

Writes the ONNX of one model as torch exports it, before any graph pass, and compares it with PyTorch. `facepipe onnx`
does this and everything after it; this command is for looking at, or fixing by hand, the first step alone.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from facepipe.assets.workspace import open_workspace
from facepipe.catalogue import model
from facepipe.cli.run_options import add_overwrite, add_weights
from facepipe.convert.onnx.models import export_weights
from facepipe.store.files import sha256_of_file
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a model of the catalogue")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="your own weight file of the same network")
    add_weights(parser, "folder that weights are looked for in")
    add_overwrite(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_free([args.output], args.overwrite)
    spec, own = model(args.name), args.checkpoint
    if own is not None and own.is_file() and spec.weights.sha256 not in (None, sha256_of_file(own)):
        note(args, f"{own}: not the published weights of {spec.name} (sha256 differs); used as they are")
    ws = replace(open_workspace(), weights=args.weights)
    step = export_weights(spec, ws, args.output, own, overwrite=args.overwrite)
    result(
        args,
        f"{args.output}: {step.nodes} nodes, opset {spec.opset}, "
        f"at most {step.max_abs_difference:.1e} from PyTorch, cosine {step.cosine:.8f}",
        {"model": spec.name, "file": str(args.output), "opset": spec.opset, **asdict(step)},
    )
    return 0
