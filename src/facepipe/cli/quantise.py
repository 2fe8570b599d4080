# SPDX-License-Identifier: Apache-2.0
"""facepipe quantise mobilefacenet.ms1m

A converted recogniser with its convolutions and products in eight bits: <name>.int8.onnx in --weights, which
--precision int8 runs. It is calibrated on faces of photographs outside the test pairs: those of --photographs, else the
photographs of LFW that no pair names, the mirror's photographs, and where there are none the made sample. The list of
photographs and their overlap with the test pairs (none, or it fails) are in <name>.int8.onnx.json.
A detector of one network (ultraface.*) is calibrated on whole photographs, none of them of WIDER FACE;
`facepipe wider --precision int8` and, for any command, --precision int8-all run it.

  facepipe quantise facenet.seeded --photographs holiday/ family/ --faces 400
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.assets.workspace import Workspace, open_workspace
from facepipe.catalogue import MODELS, embedder
from facepipe.cli._bar import bar
from facepipe.cli.run_options import add_limit_arguments, limits, positive
from facepipe.errors import ConversionError
from facepipe.runs.calibration import crops_for, inputs_for, overlap, test_photographs, wider_photographs
from facepipe.specs import ModelSpec

if TYPE_CHECKING:
    from facepipe.convert.onnx.quantise import Quantiser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="converted recognisers or detectors")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of converted models")
    parser.add_argument("--photographs", type=Path, nargs="+", metavar="FOLDER", help="photographs to calibrate with")
    parser.add_argument("--faces", type=positive, default=256, help="crops to calibrate with (default: 256)")
    parser.add_argument("--force", action="store_true", help="quantise again what is up to date")
    add_limit_arguments(parser)


def run(args: argparse.Namespace) -> int:
    ws = replace(open_workspace(), weights=args.weights)
    needed = ("onnx", "torch", "onnxruntime" if all(map(_is_single_shot, args.names)) else "nncf")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConversionError(
            f"quantise: needs the module '{missing[0]}', which is not installed.", "pip install 'facepipe[quantise]'"
        )
    for name in args.names:
        if _is_single_shot(name):
            _quantise_detector(MODELS[name], ws, args)
        else:
            _quantise_recogniser(embedder(name), ws, args)
    return 0


def _is_single_shot(name: str) -> bool:
    return name in MODELS and MODELS[name].single_shot is not None


def _quantise_recogniser(spec: ModelSpec, ws: Workspace, args: argparse.Namespace) -> None:
    from facepipe.convert.onnx.quantise import Calibration, quantise_model
    from facepipe.convert.onnx.quantise_recogniser import RECOGNISER, recogniser_inputs

    if _stays(spec, ws, args, RECOGNISER):
        return
    with bar("calibration faces", args.faces, quiet=False) as progress:
        found = crops_for(spec, ws, args.photographs, args.faces, limits(args), progress)
    test, test_set = test_photographs(ws)
    calibration = Calibration(found.photographs, len(found.crops), test_set, overlap(found.photographs.values(), test))
    told = quantise_model(spec, ws.weights, recogniser_inputs(spec, found.crops), calibration, RECOGNISER)
    print(
        f"{spec.quantised(ws.weights)}: least cosine {told.value:.4f} with f32 over a calibration batch; "
        f"{calibration.crops} crops of {len(found.photographs)} photographs, "
        + (f"{calibration.overlap} of them in {test_set}" if test_set else "no test pairs here to hold them against")
    )


def _quantise_detector(spec: ModelSpec, ws: Workspace, args: argparse.Namespace) -> None:
    """One detector of one network, by onnxruntime's quantiser."""
    from facepipe.convert.onnx.quantise import Calibration, quantise_model
    from facepipe.convert.onnx.quantise_detector import DETECTOR

    if _stays(spec, ws, args, DETECTOR):
        return
    found = inputs_for(spec, ws, args.photographs, limits(args))
    wider = wider_photographs(ws)
    test_set = "WIDER FACE's photographs" if wider else None
    calibration = Calibration(
        found.photographs, len(found.inputs), test_set, overlap(found.photographs.values(), wider)
    )
    told = quantise_model(spec, ws.weights, found.inputs, calibration, DETECTOR)
    print(
        f"{spec.quantised(ws.weights)}: {told.int8_bytes:,} bytes ({told.f32_bytes:,} in f32), scores of candidates "
        f"differ by {told.value:.4f} on average; {calibration.crops} inputs of {len(found.photographs)} "
        f"photographs, {calibration.overlap} of them in {test_set or 'no test set that is here'}"
    )


def _stays(spec: ModelSpec, ws: Workspace, args: argparse.Namespace, quantiser: Quantiser) -> bool:
    """Whether the file is left as it is, which is said: it is up to date, and nobody asks for another."""
    from facepipe.convert.onnx.quantise import is_quantised

    if args.force or args.photographs is not None or not is_quantised(spec, ws.weights, quantiser):
        return False
    print(f"{spec.quantised(ws.weights)}: up to date")
    return True
