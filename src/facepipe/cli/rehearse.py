# SPDX-License-Identifier: Apache-2.0
"""facepipe rehearse --precision fp16 --embedder mobilefacenet.ms1m

Runs the same pipeline twice on onnxruntime: as it is, and rounded as an .om of a precision mode rounds. fp16, ATC's
default: every tensor; cube_fp16in_fp32out: the inputs of convolutions and matrix products alone. Reports what changes:
figures for each network's outputs, boxes gained and lost, cosines of the embeddings, LFW accuracy. Both runs can be
killed and run again. Writes rehearsal.json and rehearsal.md into --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.catalogue import embedder
from facepipe.cli.ascend_options import need_onnx
from facepipe.cli.lfw_options import add_lfw_arguments, lfw_job
from facepipe.cli.run_options import worker_count
from facepipe.engine.local import Local
from facepipe.errors import DataError
from facepipe.reports.rehearsal_page import rehearsal_page
from facepipe.runs.rehearse import rehearse
from facepipe.store.files import read_json, write_text
from facepipe.terminal.output import bars, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_lfw_arguments(parser)
    parser.set_defaults(precision="fp16")
    text = "folder of the two runs and the report (default: runs/rehearsal-...)"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=text)
    text = "photographs whose every box is compared (default: 400)"
    parser.add_argument("--sample", type=int, default=400, metavar="N", help=text)


def run(args: argparse.Namespace) -> int:
    need_onnx()
    from facepipe.convert.ascend.rehearsal import PRECISIONS

    if args.precision not in PRECISIONS:
        raise DataError(f"precision '{args.precision}' cannot be rehearsed, expected {' or '.join(PRECISIONS)}.")
    precision, args.precision = args.precision, "f32"  # onnxruntime's own; the rounding is in the models
    asked = lfw_job(args)
    out = args.out or Path("runs") / f"rehearsal-{precision}-{asked.job.embedder}"
    with bars(args, len(asked.keys)) as progress:
        engine = Local(worker_count(args))
        found = rehearse(
            asked, out, engine, precision=precision, sample=args.sample, force=args.force, progress=progress
        )
    text = rehearsal_page(embedder(asked.job.embedder, asked.job.weights), found)
    write_text(out / "rehearsal.md", text)
    result(args, text.rstrip("\n"), read_json(out / "rehearsal.json"))
    return 0
