# SPDX-License-Identifier: Apache-2.0
"""facepipe models facenet.vggface2

The catalogue: without a name, one line for each model and where its weights are; with a name, its data sheet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from facepipe.assets.workspace import Workspace, find_weights, open_workspace
from facepipe.catalogue import DETECTORS, MODELS, model
from facepipe.specs import Alignment, FivePoint, ModelSpec, Pixels, Recipe, TensorSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the model whose data sheet is wanted")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of weights")
    parser.add_argument("--json", action="store_true", help="as JSON, for machines")


def run(args: argparse.Namespace) -> int:
    ws = replace(open_workspace(), weights=args.weights)
    specs = [model(args.name)] if args.name else list(MODELS.values())
    if args.json:
        print(json.dumps([_as_json(spec, ws) for spec in specs], indent=2, ensure_ascii=False))
    elif args.name:
        print("\n".join(f"{label:<12}{line}" for label, line in data_sheet(specs[0], ws)))
    else:
        print(_table(specs, ws))
    return 0


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
        known = spec.threshold
        same = "no threshold is published for it" if known is None else f"same below {known.value} ({known.source})"
        yield "distance", f"squared Euclidean; {same}"
    yield "opset", str(spec.opset)
    yield "passes", ", ".join(spec.passes) or "none"
    yield "parity", f"max|a - b| at most {spec.parity_tolerance:g} times max(1, max|reference|)"
    yield "weights", f"{ws.weights / weights.file}" + (f", {weights.size:,} bytes" if weights.size else "")
    yield "", "sha256 " + (weights.sha256 or "not published; the one seen first is kept beside the file")
    yield "", f"here: {found}" if found else _absent(spec)
    yield "source", str(weights.origin)
    yield "licence", weights.licence
    yield "converted", _converted(spec, ws)
    if not spec.for_accuracy:
        yield "accuracy", "means nothing: the weights are computed, not trained"


def _table(specs: list[ModelSpec], ws: Workspace) -> str:
    rows = [("model", "task", "converted", "weights")]
    for spec in specs:
        found = find_weights(spec, ws)
        converted = "yes" if spec.final(ws.weights).is_file() else "no"
        rows.append((spec.name, spec.task, converted, str(found) if found else _absent(spec)))
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] for row in rows]
    detectors = [f"detector {name}: {', '.join(parts)}" for name, parts in DETECTORS.items()]
    return "\n".join([*lines, "", *detectors])


def _absent(spec: ModelSpec) -> str:
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


def _as_json(spec: ModelSpec, ws: Workspace) -> dict[str, object]:
    found, final = find_weights(spec, ws), spec.final(ws.weights)
    return asdict(spec) | {
        "origin": str(spec.weights.origin),
        "found": None if found is None else str(found),
        "converted": str(final) if final.is_file() else None,
    }
