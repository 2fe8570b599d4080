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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from facepipe.assets.workspace import Workspace, open_workspace
from facepipe.catalogue import MODELS, embedder
from facepipe.cli._bar import bar
from facepipe.cli.run_options import add_limit_arguments, limits, positive
from facepipe.errors import ConversionError
from facepipe.runs.calibration import crops_for, inputs_for, overlap, test_photographs, wider_photographs
from facepipe.specs import ModelSpec


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
    from facepipe.convert.onnx import quantise

    for name in args.names:
        if name in MODELS and MODELS[name].single_shot is not None:
            _quantise_detector(MODELS[name], ws, args)
            continue
        spec = embedder(name)
        target = spec.quantised(ws.weights)
        if _stays(spec, ws, args, quantise.SETTINGS):
            continue
        with bar("calibration faces", args.faces, quiet=False) as progress:
            found = crops_for(spec, ws, args.photographs, args.faces, limits(args), progress)
        test, name_of_test = test_photographs(ws)
        calibration = quantise.Calibration(
            photographs=found.photographs,
            crops=len(found.crops),
            test_set=name_of_test,
            overlap=overlap(found.photographs.values(), test),
        )
        report = quantise.quantise_model(spec, ws.weights, found.crops, calibration)
        print(
            f"{target}: least cosine {report['least_cosine']:.4f} with f32 over a calibration batch; "
            f"{len(found.crops)} crops of {len(found.photographs)} photographs, "
            + (
                f"{calibration.overlap} of them in {name_of_test}"
                if name_of_test
                else "no test pairs here to hold them against"
            )
        )
    return 0


def _is_single_shot(name: str) -> bool:
    return name in MODELS and MODELS[name].single_shot is not None


def _quantise_detector(spec: ModelSpec, ws: Workspace, args: argparse.Namespace) -> None:
    """One detector of one network, by onnxruntime's quantiser."""
    from facepipe.convert.onnx.quantise import Calibration
    from facepipe.convert.onnx.quantise_detector import SETTINGS, quantise_detector

    target = spec.quantised(ws.weights)
    if _stays(spec, ws, args, SETTINGS):
        return
    found = inputs_for(spec, ws, args.photographs, limits(args))
    wider = wider_photographs(ws)
    calibration = Calibration(
        photographs=found.photographs,
        crops=len(found.inputs),
        test_set="WIDER FACE's photographs" if wider else None,
        overlap=overlap(found.photographs.values(), wider),
    )
    report = quantise_detector(spec, ws.weights, found.inputs, calibration)
    sizes = report["bytes"]
    assert isinstance(sizes, dict)
    print(
        f"{target}: {sizes['int8']:,} bytes ({sizes['f32']:,} in f32), scores of candidates differ by "
        f"{report['mean_score_difference']:.4f} on average; {len(found.inputs)} inputs of {len(found.photographs)} "
        f"photographs, {calibration.overlap} of them in {calibration.test_set or 'no test set that is here'}"
    )


def _stays(spec: ModelSpec, ws: Workspace, args: argparse.Namespace, settings: Mapping[str, object]) -> bool:
    """Whether the file is left as it is, which is said: it is up to date, and nobody asks for another."""
    from facepipe.convert.onnx.quantise import is_up_to_date

    if args.force or args.photographs is not None or not is_up_to_date(spec, ws.weights, settings):
        return False
    print(f"{spec.quantised(ws.weights)}: up to date")
    return True
