# SPDX-License-Identifier: Apache-2.0
"""facepipe quantise mobilefacenet.ms1m

A converted recogniser with its convolutions and products in eight bits: <name>.int8.onnx in --weights, which
--precision int8 runs. It is calibrated on the fixed set: the photographs of LFW that no pair names and the mirror's,
where there are none the made sample. What is published is of that set. With --photographs it is calibrated on your own,
which suits photographs like them: at least 8, and none that LFW's pairs or a set of --tests name, by content or name.
Which were used, and what they were held against, is said, and is in <name>.int8.onnx.json.
A detector of one network (ultraface.*) is calibrated on whole photographs, none of them of WIDER FACE;
`facepipe wider --precision int8` and, for any command, --precision int8-all run it.

  facepipe quantise mobilefacenet.ms1m --photographs holiday/ family/ --tests album.csv
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.assets.workspace import open_workspace
from facepipe.cli.run_options import add_limit_arguments, add_weights, positive
from facepipe.faces.photographs import limits_for
from facepipe.runs.quantise import quantisable, quantise, require_quantisers
from facepipe.terminal.output import add_output_arguments, bar, result

if TYPE_CHECKING:
    from facepipe.convert.onnx.quantise import Quantised


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="converted recognisers or detectors")
    add_weights(parser)
    parser.add_argument("--photographs", type=Path, nargs="+", metavar="FOLDER", help="photographs to calibrate with")
    parser.add_argument("--tests", type=Path, nargs="+", default=[], metavar="SET", help="pairs that will judge it")
    parser.add_argument(
        "--faces", type=positive, default=256, metavar="N", help="crops to calibrate with (default: 256)"
    )
    parser.add_argument("--force", action="store_true", help="quantise again what is up to date")
    add_limit_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    ws = replace(open_workspace(), weights=args.weights)
    specs = [quantisable(name, args.weights) for name in args.names]
    require_quantisers(specs)
    for spec in specs:
        with bar(args, "calibration faces", args.faces, hidden=spec.single_shot is not None) as progress:
            told = quantise(
                spec.name,
                ws,
                args.photographs,
                tests=args.tests,
                faces=args.faces,
                force=args.force,
                limits=limits_for(0, args.max_pixels),
                progress=progress,
            )
        path = spec.quantised(args.weights)
        record = {"model": spec.name, "file": str(path), "up_to_date": told is None}
        text = f"{path}: {'up to date' if told is None else _in_words(told)}"
        result(args, text, record if told is None else record | asdict(told))
    return 0


def _in_words(told: Quantised) -> str:
    calibration = told.calibration
    figure = (
        f"least cosine {told.value:.4f} with f32 over a calibration batch"
        if told.figure == "least_cosine"
        else f"scores of candidates differ by {told.value:.4f} on average"
    )
    named = "named photographs" if calibration.named else "photographs of the fixed set"
    held = f"none of them in {', '.join(calibration.tests)}" if calibration.tests else "no test set is here"
    return (
        f"{told.int8_bytes:,} bytes ({told.f32_bytes:,} in f32), {figure}; {calibration.crops} inputs of "
        f"{len(calibration.photographs)} {named}, {held}"
    )
