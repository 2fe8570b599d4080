# SPDX-License-Identifier: Apache-2.0
"""What the catalogue says of a model, and where its files are, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from facepipe.assets.workspace import Workspace, find_weights
from facepipe.catalogue.imported import record_path
from facepipe.specs import Alignment, FivePoint, ModelSpec, Pixels, Recipe, TensorSpec


def data_sheet(spec: ModelSpec, ws: Workspace) -> Iterator[tuple[str, str]]:
    """What the catalogue says of one model, as (label, line); a label is empty where its list goes on."""
    weights, found = spec.weights, find_weights(spec, ws)
    yield "model", f"{spec.name} ({spec.task}, network {spec.network})"
    yield from zip(("input", *[""] * len(spec.inputs)), map(_tensor, spec.inputs), strict=False)
    yield from zip(("outputs", *[""] * len(spec.outputs)), map(_tensor, spec.outputs), strict=False)
    yield "pixels", _pixels(spec.pixels)
    if spec.single_shot is not None:
        height, width = spec.single_shot.size
        landmarks = spec.single_shot.keypoints or "no"
        yield "faces", f"score from {spec.single_shot.threshold:g}, {landmarks} landmarks"
        yield "fit", f"{spec.single_shot.fit} to {height}x{width} (height x width)"
    if spec.alignment is not None:
        yield "alignment", _alignment(spec.alignment)
    if spec.task == "embed":
        known = spec.thresholds
        rates = [f"above cosine {one.similarity:.4f} at FAR {one.far:g}" for one in known.rates] if known else []
        same = f"same {', '.join(rates)} ({known.source})" if known else "no threshold was measured for it"
        if spec.imported is not None and spec.imported.threshold is not None:
            same = f"same above cosine {spec.imported.threshold:.4f} (of its own record)"
        yield "distance", f"squared Euclidean; {same}"
    yield "opset", str(spec.opset)
    yield "passes", ", ".join(spec.passes) or "none"
    if spec.imported is not None:
        yield "record", str(record_path(spec.name, ws.weights))
    yield "parity", f"max|a - b| at most {spec.parity_tolerance:g} times max(1, max|reference|)"
    yield "weights", f"{ws.weights / weights.file}" + (f", {weights.size:,} bytes" if weights.size else "")
    yield "", "sha256 " + (weights.sha256 or "not published; the one seen first is kept beside the file")
    yield "", f"here: {found}" if found else where_weights_are(spec, ws)
    yield "source", str(weights.origin)
    yield "licence", weights.licence
    yield "converted", _converted(spec, ws)
    if not spec.for_accuracy:
        yield "accuracy", "means nothing: the weights are computed, not trained"


def where_weights_are(spec: ModelSpec, ws: Workspace) -> str:
    """The weight file of a model; or that there is none, or that none is needed."""
    found = find_weights(spec, ws)
    if found is not None:
        return str(found)
    return "none needed" if isinstance(spec.weights.origin, Recipe) else "absent"


def _converted(spec: ModelSpec, ws: Workspace) -> str:
    final = spec.final(ws.weights)
    return str(final) if final.is_file() else f"not yet: `facepipe onnx {spec.name}`"


def _tensor(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} [{', '.join(map(str, tensor.dims))}]"


def _pixels(pixels: Pixels) -> str:
    mean = ", ".join(f"{value:g}" for value in pixels.mean)
    divisor = ", ".join(f"{1 / value:g}" for value in pixels.scale)
    return f"{pixels.order}, (x - ({mean})) / ({divisor})"


def _alignment(alignment: Alignment) -> str:
    side = f"{alignment.size}x{alignment.size}"
    if isinstance(alignment, FivePoint):
        points = ", ".join(f"({x:g}, {y:g})" for x, y in alignment.template)
        return f"{side}, five landmarks moved onto {points}"
    return f"{side}, the box with a margin of {alignment.margin} output pixels"
