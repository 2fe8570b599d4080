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
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from facepipe.assets.lfw import find_lfw
from facepipe.assets.workspace import Workspace, open_workspace
from facepipe.backends import backend_by_name
from facepipe.catalogue import MODELS, embedder
from facepipe.cli._bar import bar
from facepipe.cli.run_options import add_limit_arguments, limits, positive
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import extensions_in, read_pairs
from facepipe.detect import open_single_shot
from facepipe.detect.single_shot import single_shot_settings
from facepipe.errors import ConversionError, DataError
from facepipe.faces.photographs import Limits
from facepipe.faces.pipeline import alignment_of, open_pipeline
from facepipe.runs.calibration import CalibrationCrops, collect_crops, collect_inputs, outside, overlap
from facepipe.specs import ModelSpec

LEAST_FACES = 16
PORTRAITS = 70  # of LFW, for a detector: large faces, beside the small ones of the group photographs
MIRRORED = ("photos", "widerface/images", "widerface/val416")  # folders of the mirror that hold no test photograph


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
        found = _crops(spec, ws, args.photographs, args.faces, limits(args))
        test, name_of_test = _test_photographs(ws)
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
    with tempfile.TemporaryDirectory(prefix="facepipe-sample-") as made:
        paths = _whole_photographs(ws, args.photographs, Path(made))
        with open_single_shot(
            spec.name, backend_by_name("onnxruntime"), ws.weights, single_shot_settings(spec)
        ) as shot:
            found = collect_inputs(paths, shot, limits(args))
    wider = _wider_photographs(ws)
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


def _whole_photographs(ws: Workspace, folders: Sequence[Path] | None, made: Path) -> list[Path]:
    """Photographs to calibrate a detector with: as named, else the mirror's group photographs and some of LFW."""
    if folders is not None:
        return [folder / key for folder in folders for key in list_keys(folder)]
    groups = outside(ws.mirror / "photos", ()) if ws.mirror and (ws.mirror / "photos").is_dir() else []
    lfw = find_lfw(ws)
    portraits = outside(lfw[0], ()) if lfw else []
    if groups or portraits:
        return [*groups, *portraits[:: max(1, len(portraits) // PORTRAITS)][:PORTRAITS]]
    from facepipe.datasets.sample import make_sample

    sample = make_sample(made)
    return [sample.images / key for key in sample.keys]


def _wider_photographs(ws: Workspace) -> list[Path]:
    """WIDER FACE's photographs that are here: those are scored, and must not be calibrated with."""
    folders = [ws.data / "widerface", *([ws.mirror / "widerface"] if ws.mirror else [])]
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*.jpg"))]


def _stays(spec: ModelSpec, ws: Workspace, args: argparse.Namespace, settings: Mapping[str, object]) -> bool:
    """Whether the file is left as it is, which is said: it is up to date, and nobody asks for another."""
    from facepipe.convert.onnx.quantise import is_up_to_date

    if args.force or args.photographs is not None or not is_up_to_date(spec, ws.weights, settings):
        return False
    print(f"{spec.quantised(ws.weights)}: up to date")
    return True


def _test_photographs(ws: Workspace) -> tuple[list[Path], str | None]:
    """The photographs that LFW's pairs name, and what they are called; none where LFW is not here."""
    found = find_lfw(ws)
    if found is None:
        return [], None
    root, pairs = found
    keys = read_pairs(pairs, extensions_in(root)).keys()
    return [root / key for key in keys if (root / key).is_file()], f"LFW's {pairs.name}"


def _crops(
    spec: ModelSpec, ws: Workspace, folders: Sequence[Path] | None, wanted: int, most: Limits
) -> CalibrationCrops:
    """Calibration crops, by an f32 detector.

    Raises:
        DataError: the photographs show too few faces.
    """
    with tempfile.TemporaryDirectory(prefix="facepipe-sample-") as made:
        paths = _photographs(ws, folders, Path(made))
        random.Random(0).shuffle(paths)  # the same order every time, spread over all folders
        backend = backend_by_name("onnxruntime")
        with (
            open_pipeline("mtcnn", None, backend, ws.weights, 1) as finds,
            bar("calibration faces", wanted, quiet=False) as progress,
        ):
            cuts = replace(finds, alignment=alignment_of("mtcnn", spec.name))
            found = collect_crops(paths, cuts, wanted, most, progress)
    if len(found.crops) < LEAST_FACES:
        raise DataError(
            f"quantise: {len(paths)} photographs show {len(found.crops)} usable faces, expected {LEAST_FACES} or more.",
            "--photographs with a folder of more faces.",
        )
    return found


def _photographs(ws: Workspace, folders: Sequence[Path] | None, made: Path) -> list[Path]:
    if folders is not None:
        return [folder / key for folder in folders for key in list_keys(folder)]
    paths: list[Path] = []
    lfw = find_lfw(ws)
    if lfw is not None:
        root, pairs = lfw
        paths += outside(root, read_pairs(pairs, extensions_in(root)).keys())
    if ws.mirror is not None:
        paths += [path for name in MIRRORED if (ws.mirror / name).is_dir() for path in outside(ws.mirror / name, ())]
    if not paths:
        from facepipe.datasets.sample import make_sample

        sample = make_sample(made)
        paths = [sample.images / key for key in sample.keys]
    return sorted(paths)
