# SPDX-License-Identifier: Apache-2.0
"""facepipe parity pnet rnet onet --against pyacl --batch 16

One model in two back ends: the figures of the vendor's comparison tool for each output and each input shape that the
.om was compiled for. The status is 1 when an output drifts (cosine 0.99 or less, relative Euclidean distance 0.05 or
more, Kullback-Leibler divergence 0.005, root mean square error 1, mean relative error 1).

  facepipe parity facenet.seeded --layers                  every operator, single against half precision
  facepipe parity pnet --layers --other other.onnx         against another version; the first that drifts is named
  facepipe parity --runs runs/cpu runs/board               the faces and embeddings of two finished runs
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import model
from facepipe.cli.ascend_options import need_onnx
from facepipe.cli.run_options import add_weights
from facepipe.errors import DataError
from facepipe.metrics.layer_figures import LayerFigures
from facepipe.reports.layer_table import layer_table
from facepipe.runs.parity import compare_backends, compare_versions
from facepipe.runs.rehearse import compare_runs
from facepipe.specs import ModelSpec
from facepipe.terminal.output import add_output_arguments, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names of the catalogue")
    parser.add_argument(
        "--runs",
        nargs=2,
        type=Path,
        metavar="RUN",
        help="two finished runs over the same photographs instead of models",
    )
    text = "the one that is believed (default: onnxruntime)"
    parser.add_argument("--backend", default="onnxruntime", metavar="NAME", help=text)
    parser.add_argument("--against", metavar="NAME", help="the one that is judged")
    parser.add_argument("--layers", action="store_true", help="operator by operator, on onnxruntime")
    text = "with --layers: the ONNX that is judged (default: rehearsed in fp16)"
    parser.add_argument("--other", type=Path, metavar="FILE", help=text)
    text = "what an .om was compiled for (default: 16)"
    parser.add_argument("--batch", type=int, default=16, metavar="N", help=text)
    parser.add_argument("--device", type=int, default=0, metavar="N", help="number of the device (default: 0)")
    add_weights(parser, "folder of models")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.runs:
        return _runs(args)
    if not args.models:
        raise DataError("no model is named, expected some of the catalogue, or --runs.")
    specs = [model(name, args.weights) for name in args.models]
    if args.layers:
        need_onnx()
        return max(_layers(spec, args) for spec in specs)
    if args.against is None:
        raise DataError("nothing to compare with, expected --against BACKEND or --layers.")
    return max(_outputs(spec, args) for spec in specs)


def _outputs(spec: ModelSpec, args: argparse.Namespace) -> int:
    judged = backend_by_name(args.against, RuntimeOptions(device=args.device))
    device = 0 if backend_by_name(args.backend).traits.on_host else args.device
    sides = [backend_by_name(args.backend, RuntimeOptions(device=device)), judged]
    found = compare_backends(spec, sides, args.weights, args.batch)
    rows = [{"shape": shape, "output": output, **_row(figures)} for shape, output, figures in found.outputs]
    drifting = [row for row in rows if row["drifts"]]
    lines = [
        f"{spec.name}: {args.backend} {found.files[0].name} and {args.against} {found.files[1].name}",
        f"  {'input':<18} {'output':<18} {'cosine':>12} {'max absolute':>13} {'rel. Euclidean':>15}",
    ]
    for shape, output, figures in found.outputs:
        sizes = "x".join(map(str, shape))
        lines.append(
            f"  {sizes:<18} {output:<18} {figures.cosine:>12.8f} {figures.max_absolute:>13.3g} "
            f"{figures.relative_euclidean:>15.3g}{'  drifts: ' + figures.drifts if figures.drifts else ''}"
        )
    result(args, "\n".join(lines), {"model": spec.name, "file": str(found.files[1]), "outputs": rows})
    return int(bool(drifting))


def _runs(args: argparse.Namespace) -> int:
    """Chosen faces and embeddings of two runs; nothing is judged, a board's arithmetic moves both a little."""
    found = compare_runs(*args.runs)
    lines = [
        f"{args.runs[1]} against {args.runs[0]}: {found.photographs} photographs, a face in both for {found.faces}",
        f"  {len(found.gained)} gained, {len(found.lost)} lost, {len(found.another_face)} another face",
        f"  corners move by {found.box_shift[0]:.2f} px at most, {found.box_shift[1]:.4f} on average",
    ]
    for name, values in (("cosines", found.cosines), ("mean-centred", found.centred)):
        lines.append(
            f"  {name}: least {values.least:.6f}, 1st percentile {values.hundredth:.6f}, mean {values.mean:.6f}"
        )
    result(args, "\n".join(lines), asdict(found))
    return 0


def _layers(spec: ModelSpec, args: argparse.Namespace) -> int:
    from facepipe.convert.onnx.layers import first_drift

    layers = compare_versions(spec, args.weights, args.other)
    drifting = first_drift(layers)
    rows = [{"operator": layer.operator, "node": layer.node, **_row(layer.figures)} for layer in layers]
    lines = layer_table(spec, layers, drifting, str(args.other or "half precision, rehearsed"))
    first = drifting.node if drifting else None
    result(args, "\n".join(lines), {"model": spec.name, "first_drift": first, "layers": rows})
    return int(drifting is not None)


def _row(figures: LayerFigures) -> dict[str, Any]:
    values = {name: value if value == value else None for name, value in asdict(figures).items()}  # JSON has no NaN
    return {**values, "drifts": figures.drifts}
