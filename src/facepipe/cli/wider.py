# SPDX-License-Identifier: Apache-2.0
"""facepipe wider --detector ultraface.rfb-320 --size 320 --run runs/wider

Average precision on WIDER FACE's validation set. Predictions are written in the official layout, and the official
easy / medium / hard protocol is read from the four .mat files. Fewer photographs than all are scored against their own
ground truth, and the count is printed. Writes wider.json, precision_recall.png and predictions/ into --run.
With --predictions FOLDER, files of any other tool are scored and nothing is detected.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from facepipe.backends import backend_names
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import DETECTORS
from facepipe.cli._bar import bars
from facepipe.cli.run_options import (
    add_limit_arguments,
    add_run_arguments,
    limits,
    positive,
    runtime_options,
    worker_count,
)
from facepipe.datasets.widerface import SETTINGS
from facepipe.detect import default_settings
from facepipe.detect.single_shot import SingleShotSettings
from facepipe.engine.local import Local
from facepipe.errors import DataError
from facepipe.reports.detection_curves import curve_files, draw_precision_recall
from facepipe.runs.score_detection import WIDER_FILE
from facepipe.runs.wider import run_wider, score_prediction_files, wider_folder, wider_photographs, wider_truth
from facepipe.runs.wider_protocol import KINDS, wider_protocol
from facepipe.runs.wider_run import WiderJob

SHARD = 64  # photographs that are finished together
THRESHOLD = 0.01  # curves need the low scores too; the value of UltraFace's predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detector", default="ultraface.rfb-320", metavar="NAME", help=f"one of {', '.join(DETECTORS)}"
    )
    parser.add_argument(
        "--size",
        default="default",
        help="PIXELS (width of a 4:3 stretch, or longest side), WIDTHxHEIGHT, short:PIXELS, original; "
        "default: what the detector was trained for",
    )
    parser.add_argument(
        "--aspect", default="default", choices=("keep", "stretch", "default"), help="default: as the detector is run"
    )
    parser.add_argument("--protocol", default="single", choices=KINDS, help="the others bring their own sizes")
    parser.add_argument("--data", type=Path, help="folder of WIDER FACE (default: data/widerface, else the mirror's)")
    parser.add_argument("--images", type=Path, help="folder of photographs, by event or flat (default: in --data)")
    parser.add_argument("--predictions", type=Path, help="score these files; nothing is detected")
    parser.add_argument("--whole", action="store_true", help="refuse to score fewer than all 3,226 photographs")
    parser.add_argument("--run", type=Path, help="folder of the results (default: named from the other options)")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help=f"least score (default: {THRESHOLD})")
    parser.add_argument(
        "--nms", choices=("hard", "soft", "blending"), default="hard", help="suppression (default: hard)"
    )
    parser.add_argument(
        "--overlap", type=float, help="IoU above which two boxes are one face (default: the detector's)"
    )
    parser.add_argument("--resample", default="smooth", choices=("smooth", "sampled"), help="see docs/accuracy.md")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of converted models")
    parser.add_argument("--backend", default="onnxruntime", metavar="NAME", help=f"one of {', '.join(backend_names())}")
    parser.add_argument(
        "--precision", default="f32", help="what the detector computes in; int8: its quantised file (default: f32)"
    )
    parser.add_argument("--batch", type=positive, default=8, help="inputs of one size in one call")
    parser.add_argument("--threads", type=positive, default=1, help="of one session (default: 1)")
    parser.add_argument("--device", type=int, default=0, help="number of the device, where the back end has several")
    parser.add_argument("--devices", type=int, nargs="+", metavar="N", help="several devices, one process for each")
    parser.add_argument("--json", action="store_true", help="print wider.json instead of the summary")
    add_limit_arguments(parser)
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    data = wider_folder(args.data)
    truth = wider_truth(data)
    if args.predictions is not None:
        folder = args.run or args.predictions.with_name(args.predictions.name + "-scored")
        result = score_prediction_files(args.predictions, truth, folder, whole=args.whole)
    else:
        protocol = wider_protocol(args.detector, args.protocol, args.size, args.aspect)
        photographs = wider_photographs(data, truth, args.images, whole=args.whole)
        job = WiderJob(
            root=photographs.root,
            folder=args.run or Path("runs") / _run_name(args),
            weights=args.weights,
            detector=args.detector,
            backend=args.backend,
            settings=_settings(args),
            options=_options(args),
            batch=args.batch,
            shard_size=args.shard or SHARD,
            limits=limits(args),
            other_processor=args.other_processor,
        )
        folder = job.folder
        with bars(len(photographs.files)) as progress:
            engine = Local(worker_count(args))
            result = run_wider(job, photographs, truth, protocol, engine, force=args.force, progress=progress)
    for name, path in curve_files(folder, result.passes).items():
        title = args.detector if args.predictions is None else name
        draw_precision_recall(path, result.passes[name], f"{title}; {result.content['protocol']}")
    shown = json.dumps(result.content, indent=2, ensure_ascii=False) if args.json else _summary(result.content, folder)
    print(shown)
    return 0


def _options(args: argparse.Namespace) -> RuntimeOptions:
    """Only a detector runs here, and its precision is what was asked for (elsewhere it is the recogniser's)."""
    options = runtime_options(args)
    every = options.precision if options.precision.endswith("-all") else f"{options.precision}-all"
    return options if options.precision == "f32" else replace(options, precision=every)


def _settings(args: argparse.Namespace) -> SingleShotSettings | None:
    """The detector's settings with what the command line says; None for a cascade, which has its own.

    Suppression is hard unless asked otherwise, also for BlazeFace: blending averages every box in, and at the low
    threshold that a curve needs most of them are no faces.
    """
    settings = default_settings(args.detector)
    if not isinstance(settings, SingleShotSettings):
        if args.nms != "hard" or args.overlap is not None or args.threshold != THRESHOLD:
            raise DataError(f"wider: {args.detector} is a cascade; --nms, --overlap and --threshold are not for it.")
        return None
    if not 0 <= args.threshold < 1:
        raise DataError(f"wider: threshold is {args.threshold}, expected 0 up to, but not including, 1.")
    if args.overlap is not None and not 0 < args.overlap <= 1:
        raise DataError(f"wider: overlap is {args.overlap}, expected more than 0, at most 1.")
    suppression = replace(
        settings.suppression,
        method=args.nms,
        overlap=settings.suppression.overlap if args.overlap is None else args.overlap,
    )
    return replace(settings, threshold=args.threshold, suppression=suppression, resample=args.resample)


def _run_name(args: argparse.Namespace) -> str:
    size = args.protocol if args.protocol != "single" else args.size.replace(":", "")
    extra = [args.aspect] if args.aspect != "default" else []
    extra += [args.nms] if args.nms != "hard" else []
    extra += [args.resample] if args.resample != "smooth" else []
    return "-".join(["wider", args.detector, size, *extra, args.backend, args.precision])


def _summary(content: Mapping[str, object], folder: Path) -> str:
    ap, mean_ap, faces = content["ap"], content["map_50_95"], content["faces"]
    assert isinstance(ap, dict) and isinstance(mean_ap, dict) and isinstance(faces, dict)
    of = f"{content['images_scored']:,} of {content['images_total']:,} photographs"
    lines = [
        f"WIDER FACE val, {of}{' (a subset, against its own ground truth)' if content['is_subset'] else ''}",
        "             easy    medium  hard",
        f"AP at 0.5    {'   '.join(_figure(ap[setting]) for setting in SETTINGS)}",
        f"mAP .5:.95   {'   '.join(_figure(mean_ap[setting]) for setting in SETTINGS)}   ({mean_ap['definition']})",
        f"faces        {'   '.join(f'{faces[setting]:<5,}' for setting in SETTINGS)}",
        f"protocol: {content['protocol']}",
    ]
    by_pass = content.get("ap_by_pass")
    if isinstance(by_pass, dict):
        lines[3:3] = [
            f"  {name:<11}{'   '.join(_figure(values[setting]) for setting in SETTINGS)}"
            for name, values in by_pass.items()
        ]
    photographs = content.get("photographs")
    if isinstance(photographs, dict) and photographs["rescaled_copies"]:
        count = photographs["rescaled_copies"]
        lines.append(
            f"note: {count:,} photographs are copies of another size than listed; boxes are in the listed size"
        )
    if content["unsorted_files"]:
        lines.append(
            "note: some files are not sorted by score; the protocol takes their order as it is (see wider.json)"
        )
    return "\n".join([*lines, f"{folder / WIDER_FILE}"])


def _figure(value: float | None) -> str:
    return "none " if value is None else f"{value:.3f}"
