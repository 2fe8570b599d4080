# SPDX-License-Identifier: Apache-2.0
"""facepipe fix match_prelu_slope weights/PNet_truncated.onnx weights/PNet_truncated_fix.onnx

Applies one graph pass to any ONNX file and prints the number of edits; 0 when there is nothing to fix. Both files may
be the same, with --overwrite.

`facepipe onnx` applies the passes that the catalogue lists, with a parity check after each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.cli.run_options import add_overwrite
from facepipe.errors import ConversionError
from facepipe.store.files import lacking
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = "match_prelu_slope, bound_clip, fold_identity or drop_unused_domains"
    parser.add_argument("pass_name", metavar="PASS", help=names)
    parser.add_argument("source", type=Path, metavar="IN", help="an ONNX file")
    parser.add_argument("target", type=Path, metavar="OUT", help="where the result goes")
    add_overwrite(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if not args.source.is_file():
        raise ConversionError(f"{args.source}: {lacking(args.source, 'file')}, expected an ONNX model.")
    overwrite = args.overwrite or (args.target.exists() and args.target.samefile(args.source))  # named twice: told so
    require_free([args.target], overwrite)
    try:
        from facepipe.convert.onnx.passes import fix_model
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"graph passes need the module '{error.name}', which is not installed.", "pip install 'facepipe[convert]'."
        ) from error
    edits = fix_model(args.pass_name, args.source, args.target, overwrite=overwrite)
    text = f"{args.target}: {edits} {'edit' if edits == 1 else 'edits'} by {args.pass_name}"
    result(args, text, {"file": str(args.target), "pass": args.pass_name, "edits": edits})
    return 0
