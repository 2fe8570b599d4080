# SPDX-License-Identifier: Apache-2.0
"""A rehearsal in half precision as a page of Markdown."""

from __future__ import annotations

from facepipe.runs.rehearse import Cosines, Rehearsal
from facepipe.specs import ModelSpec


def rehearsal_page(spec: ModelSpec, found: Rehearsal) -> str:
    """What half precision changes for MTCNN and the recogniser `spec`."""
    accuracies, whole, sample = found.accuracies, found.whole, found.sample
    lines = [
        f"## {found.precision} rehearsed: mtcnn + {spec.name}, {whole.photographs:,} photographs",
        "",
        f"| | float32 | {found.precision} |",
        "|---|---|---|",
    ]
    if spec.for_accuracy:
        for label, field in (("accuracy", "mean"), ("standard deviation", "std")):
            values = [accuracies[name]["accuracy"][field] for name in ("f32", found.precision)]
            lines.append(f"| {label} | {values[0]:.5f} | {values[1]:.5f} |")
        for label in ("tar_at_far_1e-3", "auc", "eer"):
            values = [accuracies[name][label] for name in ("f32", found.precision)]
            lines.append(f"| {label} | {values[0]:.5f} | {values[1]:.5f} |")
    missing = [len(accuracies[name]["images"]["no_face"]) for name in ("f32", found.precision)]
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
