# SPDX-License-Identifier: Apache-2.0
"""facepipe models facenet.vggface2

The catalogue: without a name, one line for each model and where its weights are; with a name, its data sheet.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

from facepipe.assets.workspace import Workspace, find_weights, open_workspace
from facepipe.catalogue import DETECTORS, MODELS, model, own_models
from facepipe.cli.run_options import add_weights
from facepipe.reports.data_sheet import data_sheet, where_weights_are
from facepipe.specs import ModelSpec
from facepipe.terminal.output import add_output_arguments, heading, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the model whose data sheet is wanted")
    add_weights(parser, "folder of weights")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    ws = replace(open_workspace(), weights=args.weights)
    specs = [model(args.name, args.weights)] if args.name else [*MODELS.values(), *own_models(args.weights)]
    if args.name:
        heading(args, "\n".join(f"{label:<12}{line}" for label, line in data_sheet(specs[0], ws)))
    else:
        heading(args, _table(specs, ws))
    for spec in specs if args.json else ():
        result(args, "", _as_json(spec, ws))
    return 0


def _table(specs: list[ModelSpec], ws: Workspace) -> str:
    rows = [("model", "task", "converted", "weights")]
    for spec in specs:
        converted = "yes" if spec.final(ws.weights).is_file() else "no"
        rows.append((spec.name, spec.task, converted, where_weights_are(spec, ws)))
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] for row in rows]
    own = {spec.name: (spec.name,) for spec in specs if spec.imported and spec.task == "detect"}
    detectors = [f"detector {name}: {', '.join(parts)}" for name, parts in (DETECTORS | own).items()]
    return "\n".join([*lines, "", *detectors])


def _as_json(spec: ModelSpec, ws: Workspace) -> dict[str, object]:
    found, final = find_weights(spec, ws), spec.final(ws.weights)
    return asdict(spec) | {
        "origin": str(spec.weights.origin),
        "found": None if found is None else str(found),
        "converted": str(final) if final.is_file() else None,
    }
