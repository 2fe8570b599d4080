# SPDX-License-Identifier: Apache-2.0
"""facepipe wider --detector ultraface.rfb-320 --size 320 --run runs/wider

Average precision on WIDER FACE's validation set. Predictions are written in the official layout, and the official
easy / medium / hard protocol is read from the four .mat files. Fewer photographs than all are scored against their own
ground truth, and the count is printed. Writes wider.json, precision_recall.png and predictions/ into --run.
With --predictions FOLDER, files of any other tool are scored and nothing is detected.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.backends import backend_names
from facepipe.catalogue import DETECTORS
from facepipe.cli.run_options import (
    add_limit_arguments,
    add_run_arguments,
    add_session_arguments,
    add_weights,
    positive,
    runtime_options,
    worker_count,
)
from facepipe.engine.local import Local
from facepipe.faces.photographs import limits_for
from facepipe.reports.detection_curves import curve_files, draw_precision_recall
from facepipe.reports.wider_summary import wider_summary
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
from facepipe.terminal.output import add_output_arguments, bars, result

SHARD = 64  # photographs that are finished together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detector", default="ultraface.rfb-320", metavar="NAME", help=f"one of {', '.join(DETECTORS)}"
    )
    parser.add_argument(
        "--size",
        default="default",
        metavar="PIXELS|WxH",
        help="PIXELS (width of a 4:3 stretch, or longest side), WIDTHxHEIGHT, short:PIXELS, original; "
        "default: what the detector was trained for",
    )
    parser.add_argument(
        "--aspect", default="default", choices=("keep", "stretch", "default"), help="default: as the detector is run"
    )
    parser.add_argument("--protocol", default="single", choices=KINDS, help="the others bring their own sizes")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder of WIDER FACE (default: data/widerface, else the mirror's)"
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="folder of photographs, by event or flat (default: in --data)"
    )
    parser.add_argument("--predictions", type=Path, metavar="FOLDER", help="score these files; nothing is detected")
    parser.add_argument("--whole", action="store_true", help="refuse to score fewer than all 3,226 photographs")
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", help="folder of the results (default: named from the other options)"
    )
    parser.add_argument(
        "--least-score", type=float, default=THRESHOLD, metavar="P", help=f"of a face (default: {THRESHOLD})"
    )
    parser.add_argument(
        "--nms", choices=("hard", "soft", "blending"), default="hard", help="suppression (default: hard)"
    )
    parser.add_argument(
        "--overlap", type=float, metavar="IOU", help="IoU above which two boxes are one face (default: the detector's)"
    )
    parser.add_argument("--resample", default="smooth", choices=("smooth", "sampled"), help="see docs/accuracy.md")
    add_weights(parser)
    parser.add_argument("--backend", default="onnxruntime", metavar="NAME", help=f"one of {', '.join(backend_names())}")
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="inputs of one size in one call")
    add_session_arguments(parser)
    parser.add_argument("--devices", type=int, nargs="+", metavar="N", help="several devices, one process for each")
    add_limit_arguments(parser)
    add_run_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    data = wider_folder(args.data)
    truth = wider_truth(data)
    if args.predictions is not None:
        folder = args.run or args.predictions.with_name(args.predictions.name + "-scored")
        scored = score_prediction_files(args.predictions, truth, folder, whole=args.whole)
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
        with bars(args, len(photographs.files)) as progress:
            engine = Local(worker_count(args))
            scored = run_wider(job, photographs, truth, protocol, engine, force=args.force, progress=progress)
    for name, path in curve_files(folder, scored.passes).items():
        title = args.detector if args.predictions is None else name
        draw_precision_recall(path, scored.passes[name], f"{title}; {scored.content['protocol']}")
    result(args, wider_summary(scored.content, folder), scored.content)
    return 0


def _run_name(args: argparse.Namespace) -> str:
    size = args.protocol if args.protocol != "single" else args.size.replace(":", "")
    extra = [args.aspect] if args.aspect != "default" else []
    extra += [args.nms] if args.nms != "hard" else []
    extra += [args.resample] if args.resample != "smooth" else []
    return "-".join(["wider", args.detector, size, *extra, args.backend, args.precision])
