# SPDX-License-Identifier: Apache-2.0
"""facepipe rehearse --precision fp16 --embedder mobilefacenet.ms1m

Runs the same pipeline twice on onnxruntime: as it is, and with every tensor rounded as a half-precision .om rounds it
(float32 at the edges). Reports what changes: figures for each network's outputs, boxes gained and lost, cosines of the
embeddings, LFW accuracy. Both runs can be killed and run again. Writes rehearsal.json and rehearsal.md into --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facepipe.catalogue import embedder
from facepipe.cli._bar import bars
from facepipe.cli.lfw_options import add_lfw_arguments, lfw_job
from facepipe.cli.requires import need_onnx
from facepipe.cli.run_options import worker_count
from facepipe.engine.local import Local
from facepipe.errors import DataError
from facepipe.runs.rehearse import Cosines, RunComparison, SampleComparison, rehearse
from facepipe.specs import ModelSpec
from facepipe.store.files import write_text

PRECISIONS = ("fp16",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_lfw_arguments(parser)
    parser.set_defaults(precision="fp16")
    parser.add_argument("--out", type=Path, help="folder of the two runs and the report (default: runs/rehearsal-...)")
    parser.add_argument(
        "--sample", type=int, default=400, help="photographs whose every box is compared (default: 400)"
    )


def run(args: argparse.Namespace) -> int:
    if args.precision not in PRECISIONS:
        raise DataError(
            f"rehearse: precision '{args.precision}' cannot be rehearsed, expected {', '.join(PRECISIONS)}."
        )
    if args.backend != "onnxruntime" or args.detector != "mtcnn":
        raise DataError(
            f"rehearse: {args.detector} on {args.backend} cannot be rehearsed, expected mtcnn on onnxruntime."
        )
    need_onnx()
    args.precision = "f32"  # onnxruntime's own; the rounding is in the models
    asked = lfw_job(args)
    out = args.out or Path("runs") / f"rehearsal-fp16-{asked.job.embedder}"
    with bars(len(asked.keys)) as progress:
        found = rehearse(asked, out, Local(worker_count(args)), sample=args.sample, force=args.force, progress=progress)
    text = _markdown(embedder(asked.job.embedder), found.accuracies, found.whole, found.sample)
    write_text(out / "rehearsal.md", text)
    print(text, end="")
    return 0


def _markdown(
    spec: ModelSpec, accuracies: Mapping[str, Mapping[str, Any]], whole: RunComparison, sample: SampleComparison
) -> str:
    lines = [
        f"## Half precision rehearsed: mtcnn + {spec.name}, {whole.photographs:,} photographs",
        "",
        "| | float32 | half precision |",
        "|---|---|---|",
    ]
    if spec.for_accuracy:
        for label, field in (("accuracy", "mean"), ("standard deviation", "std")):
            values = [accuracies[name]["accuracy"][field] for name in ("f32", "fp16")]
            lines.append(f"| {label} | {values[0]:.5f} | {values[1]:.5f} |")
        for label in ("tar_at_far_1e-3", "auc", "eer"):
            values = [accuracies[name][label] for name in ("f32", "fp16")]
            lines.append(f"| {label} | {values[0]:.5f} | {values[1]:.5f} |")
    missing = [len(accuracies[name]["images"]["no_face"]) for name in ("f32", "fp16")]
    lines += [
        f"| photographs without a face | {missing[0]} | {missing[1]} |",
        "",
        f"Chosen faces: {whole.faces:,} in both, {len(whole.gained)} gained, {len(whole.lost)} lost, "
        f"{len(whole.another_face)} another face; corners move by {whole.box_shift[0]:.2f} px at most, "
        f"{whole.box_shift[1]:.4f} on average; landmarks by {whole.landmark_shift[0]:.2f} and "
        f"{whole.landmark_shift[1]:.4f}.",
        "",
        f"All boxes of {sample.photographs} photographs: {sample.boxes[0]} and {sample.boxes[1]}, "
        f"{sample.gained} gained, {sample.lost} lost; IoU of counterparts {sample.least_iou:.4f} at least, "
        f"{sample.mean_iou:.5f} on average; "
        f"scores move by {sample.score_shift:.4f} at most.",
        "",
        "| embeddings | N | least cosine | 1st percentile | mean |",
        "|---|---|---|---|---|",
        _cosine_row("end to end", whole.cosines),
        _cosine_row("end to end, mean-centred", whole.centred),
        _cosine_row("same crops", sample.cosines),
        _cosine_row("same crops, mean-centred", sample.centred),
        "",
        "| network | output | cosine | max absolute error | relative Euclidean | mean absolute |",
        "|---|---|---|---|---|---|",
        *(
            f"| {model} | {output} | {figures.cosine:.8f} | {figures.max_absolute:.3g} | "
            f"{figures.relative_euclidean:.3g} | {figures.mean_absolute:.3g} |"
            for model, output, figures in sample.outputs
        ),
    ]
    return "\n".join(lines) + "\n"


def _cosine_row(name: str, values: Cosines) -> str:
    return f"| {name} | {values.count:,} | {values.least:.6f} | {values.hundredth:.6f} | {values.mean:.6f} |"
