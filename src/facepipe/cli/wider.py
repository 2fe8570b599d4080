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
from pathlib import Path

from facepipe.backends import backend_names
from facepipe.catalogue import DETECTORS
from facepipe.cli._bar import bars
from facepipe.cli.run_options import (
    add_limit_arguments,
    add_run_arguments,
    positive,
    runtime_options,
    worker_count,
)
from facepipe.datasets.widerface import SETTINGS
from facepipe.engine.local import Local
from facepipe.faces.photographs import limits_for
from facepipe.reports.detection_curves import curve_files, draw_precision_recall
from facepipe.runs.score_detection import WIDER_FILE
from facepipe.runs.wider import (
    THRESHOLD,
    detector_options,
    run_wider,
    score_prediction_files,
    wider_folder,
    wider_photographs,
    wider_settings,
    wider_truth,
)
from facepipe.runs.wider_protocol import KINDS, wider_protocol
from facepipe.runs.wider_run import WiderJob

SHARD = 64  # photographs that are finished together


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
    parser.add_argument(
        "--least-score", type=float, default=THRESHOLD, metavar="P", help=f"of a face (default: {THRESHOLD})"
    )
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
        protocol = wider_protocol(args.detector, args.protocol, args.size, args.aspect, args.weights)
        photographs = wider_photographs(data, truth, args.images, whole=args.whole)
        job = WiderJob(
            root=photographs.root,
            folder=args.run or Path("runs") / _run_name(args),
            weights=args.weights,
            detector=args.detector,
            backend=args.backend,
            settings=wider_settings(
                args.detector, args.least_score, args.nms, args.overlap, args.resample, args.weights
            ),
            options=detector_options(runtime_options(args)),
            batch=args.batch,
            shard_size=args.shard or SHARD,
            limits=limits_for(0, args.max_pixels),
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
        f"mAP .5:.95   {'   '.join(_figure(mean_ap[setting]) for setting in SETTINGS)}   (of ten limits: {WIDER_FILE})",
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
