# SPDX-License-Identifier: Apache-2.0
"""facepipe onnx pnet rnet onet facenet.vggface2

Converts published weights to ONNX: export, graph passes, simplification. After every step the outputs are compared
with PyTorch's on a fixed probe; a step that moves them beyond the model's tolerance fails and is named. Where there is
no torch, MTCNN's models and dlib.resnet are built from their weights without it, and compared with NumPy's outputs.
Without names, every model whose weights are present is converted, and the others are listed as absent. A model that
is already there, of the same weights and by the same conversion, is left alone.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from facepipe.assets.workspace import open_workspace
from facepipe.catalogue import MODELS, records
from facepipe.cli.run_options import add_for_backend, add_overwrite, add_weights, runs_compiled
from facepipe.convert.onnx.models import convert_models, step_names
from facepipe.convert.onnx.report import ConversionReport
from facepipe.specs import ModelSpec
from facepipe.terminal.output import add_output_arguments, heading, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="models or detectors of the catalogue (default: all that can be)"
    )
    add_weights(parser, "folder of weights and of the results")
    parser.add_argument("--force", action="store_true", help="convert again what is up to date")
    text = "gets the table of every converted model (default: parity.json in --weights)"
    parser.add_argument("--table", type=Path, metavar="FILE", help=text)
    add_overwrite(parser)
    add_for_backend(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if runs_compiled(args):
        return 0
    ws = replace(open_workspace(), weights=args.weights)
    named = [spec.name for name in args.names for spec in records(name, args.weights)]
    wide = max(map(len, named or MODELS)) + 2
    built: list[str] = []
    target = args.table or args.weights / "parity.json"
    with tqdm(unit="step", leave=False, disable=True if args.quiet else None) as bar:

        def advance(spec: ModelSpec, step: str) -> None:
            if step == step_names(spec)[0]:
                bar.reset(len(step_names(spec)))
                bar.set_description(spec.name)
            bar.update()

        converted = convert_models(
            args.names, ws, force=args.force, table=target, overwrite=args.overwrite, on_step=advance
        )
        heading(args, f"{'model':<{wide}}{'step':<20}{'nodes':>6}{'edits':>7}{'max abs diff.':>16}{'cosine':>12}")
        for one in converted:
            built += [one.spec.name] * one.is_built
            if one.report is None:
                text = f"{one.spec.name:<{wide}}absent ({one.lacks}; {one.whence})"
                result(args, text, {"model": one.spec.name, "absent": one.lacks})
                continue
            kept = f"\n{one.spec.name:<{wide}}up to date" if one.kept else ""
            result(args, _rows(one.report, wide) + kept, asdict(one.report) | {"up_to_date": one.kept})
    if built:
        note(args, f"torch is not installed: {', '.join(built)} built from their weights without it")
    note(args, f"{target}: the table as JSON, of every converted model")
    return 0


def _rows(report: ConversionReport, wide: int) -> str:
    return "\n".join(
        f"{report.model:<{wide}}{step.step:<20}{step.nodes:>6}{step.edits:>7}"
        f"{step.max_abs_difference:>16.1e}{step.cosine:>12.8f}"
        for step in report.steps
    )
