# SPDX-License-Identifier: Apache-2.0
"""The operators of two versions of a model, those that drift first, as the vendor's comparison tool tables them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facepipe.specs import ModelSpec

if TYPE_CHECKING:
    from facepipe.convert.onnx.layers import Layer


def layer_table(spec: ModelSpec, layers: tuple[Layer, ...], drifting: Layer | None, other: str) -> list[str]:
    """A line for each operator that drifts, or the five that are furthest apart; `other` is what was judged."""
    shown = [layer for layer in layers if layer.figures.drifts][:20] or sorted(
        layers, key=lambda layer: -layer.figures.relative_euclidean
    )[:5]
    what = "operators that may lead to inaccuracy" if drifting else "no operator drifts; the furthest are"
    lines = [
        f"{spec.name}: {len(layers)} operators against {other}: {what}",
        "| OpType | node | CosineSimilarity | MaxAbsoluteError | AccumulatedRelativeError | "
        "RelativeEuclideanDistance | KullbackLeiblerDivergence | StandardDeviation | MeanAbsoluteError | "
        "RootMeanSquareError | MaxRelativeError | MeanRelativeError |",
        "|" + "---|" * 12,
    ]
    for layer in shown:
        f = layer.figures
        spread = f"({f.mean[0]:.3f};{f.deviation[0]:.3f}),({f.mean[1]:.3f};{f.deviation[1]:.3f})"
        numbers = (f.max_absolute, f.accumulated_relative, f.relative_euclidean, f.divergence)
        errors = (f.mean_absolute, f.rmse, f.max_relative, f.mean_relative)
        cells = [layer.operator, layer.node, f"{f.cosine:.6f}", *(f"{x:.4g}" for x in numbers), spread]
        lines.append("| " + " | ".join([*cells, *(f"{x:.4g}" for x in errors)]) + " |")
    if drifting:
        lines.append(f"first: {drifting.operator} {drifting.node} -> {drifting.tensor}, {drifting.figures.drifts}")
    return lines
