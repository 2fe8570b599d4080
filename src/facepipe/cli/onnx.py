# SPDX-License-Identifier: Apache-2.0
"""facepipe onnx pnet rnet onet facenet.vggface2

Converts published weights to ONNX: export, graph passes, simplification. After every step the outputs are compared
with PyTorch's on a fixed probe; a step that moves them beyond the model's tolerance fails and is named. Without
names, every model whose weights are present is converted, and the others are listed as absent. A model that is
already there, of the same weights and by the same conversion, is left alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from facepipe.assets.workspace import Workspace, absent, find_weights, locate_weights, open_workspace
from facepipe.catalogue import MODELS, records
from facepipe.convert.onnx.report import ConversionReport, finished
from facepipe.errors import ConversionError
from facepipe.specs import ModelSpec, Recipe
from facepipe.store.files import sha256_of_file, write_json
from facepipe.store.parts import remove_parts


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
    remove_parts(args.weights)
    wide = max((len(spec.name) for spec in specs), default=0) + 2
    print(f"{'model':<{wide}}{'step':<20}{'nodes':>6}{'edits':>7}{'max abs diff.':>16}{'cosine':>12}")
    target = args.json or args.weights / "parity.json"
    known = {name: finished(spec, None, ws.weights) for name, spec in MODELS.items()}
    for spec in here:
        report = None if args.force and _has_source(spec, ws) else finished(spec, _digest(spec, ws), ws.weights)
        now = report or _convert(spec, ws)
        known[spec.name] = now
        print(_rows(now, wide))
        if report is not None:
            print(f"{spec.name:<{wide}}up to date")
        write_json(target, _table(known))  # each time: a failure further on leaves a table of what was done
    for spec in gone:
        print(f"{spec.name:<{wide}}absent ({ws.weights / spec.weights.file}; {spec.weights.origin})")
    print(f"{target}: the table as JSON, of every converted model")
    return 0


def _table(known: Mapping[str, ConversionReport | None]) -> dict[str, object]:
    """The reports of every model that is converted, and the names of the others."""
    return {
        "models": {name: asdict(report) for name, report in known.items() if report is not None},
        "absent": [name for name, report in known.items() if report is None],
    }


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
        from facepipe.convert.onnx.conversion import convert_model, step_names
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"{spec.name}: conversion needs the module '{error.name}', which is not installed.",
            "pip install 'facepipe[convert]', or bring the converted files of another machine.",
        ) from error
    with tqdm(total=len(step_names(spec)), desc=spec.name, unit="step", leave=False, disable=None) as bar:

        def advance(step: str) -> None:
            bar.update()

        return convert_model(spec, checkpoint, ws.weights, on_step=advance)


def _rows(report: ConversionReport, wide: int) -> str:
    return "\n".join(
        f"{report.model:<{wide}}{step.step:<20}{step.nodes:>6}{step.edits:>7}"
        f"{step.max_abs_difference:>16.1e}{step.cosine:>12.8f}"
        for step in report.steps
    )
