# SPDX-License-Identifier: Apache-2.0
"""facepipe onnx pnet rnet onet facenet.vggface2

Converts published weights to ONNX: export, graph passes, simplification. After every step the outputs are compared
with PyTorch's on a fixed probe; a step that moves them beyond the model's tolerance fails and is named. Without
names, every model whose weights are present is converted, and the others are listed as absent. A model that is
already there, of the same weights and by the same conversion, is left alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from facepipe.assets.workspace import Workspace, absent, find_weights, locate_weights, open_workspace
from facepipe.catalogue import MODELS, records
from facepipe.convert.sidecar import ConversionReport, finished
from facepipe.errors import ConversionError
from facepipe.pipeline.files import sha256_of_file, write_json
from facepipe.specs import ModelSpec, Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="models or detectors of the catalogue (default: all that can be)"
    )
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of weights and of the results")
    parser.add_argument("--force", action="store_true", help="convert again what is up to date")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="the table as JSON (default: parity.json in --weights)"
    )


def run(args: argparse.Namespace) -> int:
    ws = replace(open_workspace(), weights=args.weights)
    specs = list(dict.fromkeys(spec for name in args.names for spec in records(name))) or list(MODELS.values())
    here = [spec for spec in specs if _is_here(spec, ws)]
    gone = [spec for spec in specs if spec not in here]
    if gone and args.names:
        raise absent(gone[0], ws)
    reports, fresh = list[ConversionReport](), list[str]()
    for spec in here:
        report = None if args.force and _has_source(spec, ws) else finished(spec, _digest(spec, ws), args.weights)
        if report is None:
            report = _convert(spec, ws)
            fresh.append(spec.name)
        reports.append(report)
    print(_table(reports))
    for report in reports:
        if report.model not in fresh:
            print(f"{report.model}: up to date")
    for spec in gone:
        print(f"{spec.name}: absent ({ws.weights / spec.weights.file}; {spec.weights.origin})")
    target = args.json or args.weights / "parity.json"
    known = [report for spec in MODELS.values() if (report := finished(spec, None, args.weights)) is not None]
    write_json(target, {"models": {report.model: asdict(report) for report in known}, "absent": [s.name for s in gone]})
    print(f"{target}: the table as JSON, of every converted model")
    return 0


def _has_source(spec: ModelSpec, ws: Workspace) -> bool:
    return isinstance(spec.weights.origin, Recipe) or find_weights(spec, ws) is not None


def _is_here(spec: ModelSpec, ws: Workspace) -> bool:
    """Can it be converted, or was it, and are the results whole?"""
    return _has_source(spec, ws) or finished(spec, spec.weights.sha256, ws.weights) is not None


def _digest(spec: ModelSpec, ws: Workspace) -> str | None:
    """Of the weight file at hand; the catalogue's where it is gone; None for a recipe, which has no file."""
    found = None if isinstance(spec.weights.origin, Recipe) else find_weights(spec, ws)
    return spec.weights.sha256 if found is None else sha256_of_file(found)


def _convert(spec: ModelSpec, ws: Workspace) -> ConversionReport:
    checkpoint = None if isinstance(spec.weights.origin, Recipe) else locate_weights(spec, ws)
    try:
        from facepipe.convert.conversion import convert_model, step_names
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"{spec.name}: conversion needs the module '{error.name}', which is not installed.",
            "pip install 'facepipe[convert]', or bring the converted files of another machine.",
        ) from error
    with tqdm(total=len(step_names(spec)), desc=spec.name, unit="step", leave=False, disable=None) as bar:

        def advance(step: str) -> None:
            bar.update()

        return convert_model(spec, checkpoint, ws.weights, on_step=advance)


def _table(reports: Sequence[ConversionReport]) -> str:
    wide = max((len(report.model) for report in reports), default=0) + 2
    head = f"{'model':<{wide}}{'step':<20}{'nodes':>6}{'edits':>7}{'max abs diff.':>16}{'cosine':>12}"
    rows = [
        f"{report.model:<{wide}}{step.step:<20}{step.nodes:>6}{step.edits:>7}"
        f"{step.max_abs_difference:>16.1e}{step.cosine:>12.8f}"
        for report in reports
        for step in report.steps
    ]
    return "\n".join([head, *rows])
