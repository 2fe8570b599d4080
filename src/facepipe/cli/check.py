# SPDX-License-Identifier: Apache-2.0
"""facepipe check weights/pnet.simplified.onnx --soc Ascend310

Holds ONNX files against the documented limits of Ascend's compiler: operators, opset, ranks, shapes, and constants
that half precision does not hold. Each finding has its source, the reason and the repair. The status is 1 when one of
them blocks. Names of the catalogue stand for their final files; without any, all that are in the weights folder.

  facepipe check runs/lfw      of a finished run: is every file that its results name still what it was? Recomputes the
                               sha256 of models, weights, pairs, photographs and results; 1 when one differs
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.assets.workspace import weights_folder
from facepipe.backends.ascend.board import require_soc
from facepipe.catalogue import MODELS, find, own_models
from facepipe.cli.ascend_options import add_chip_arguments, chosen_cann, need_onnx
from facepipe.errors import DataError
from facepipe.escape import for_terminal
from facepipe.runs.provenance_check import changes, summary
from facepipe.terminal.output import add_output_arguments, bar, result

if TYPE_CHECKING:
    from facepipe.convert.ascend.preflight import Finding


LISTED = 20  # files that are printed one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        metavar="WHAT",
        help="ONNX files, names of the catalogue (default: all final models), or a run's folder",
    )
    add_chip_arguments(parser)
    text = "the mode that is to be compiled (default: the compiler's, half precision)"
    parser.add_argument("--precision", metavar="NAME", help=text)
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="folder of models (default: weights; of a run: where they lay)"
    )
    parser.add_argument(
        "--photographs", type=Path, metavar="FOLDER", help="where a run's photographs lie now (default: where they lay)"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    runs = [Path(name) for name in args.models if Path(name).is_dir()]
    if runs:
        if len(args.models) > 1:
            raise DataError(
                f"{runs[0]}: a run's folder among {len(args.models)} names, expected it alone.", "one at a time."
            )
        return _check_run(runs[0], args)
    need_onnx()
    from facepipe.convert.ascend.preflight import preflight, read_model

    soc, cann = require_soc(args.soc), chosen_cann(args)
    files = _paths(args.models, weights_folder(args.weights))
    found = {str(file): preflight(read_model(file), soc, cann, args.precision) for file in files}
    for path, findings in found.items():
        lines = _lines(path, f"{soc.name}, CANN {cann}", findings, args.quiet)
        record = {"file": path, "soc": soc.name, "cann": cann, "findings": list(map(asdict, findings))}
        result(args, "\n".join(lines), record)
    return int(any(finding.severity == "blocker" for findings in found.values() for finding in findings))


def _check_run(folder: Path, args: argparse.Namespace) -> int:
    """The status of a finished run: 0 when every file that its results name is what it was."""
    with bar(args, "files", 0) as progress:
        counts, differing = summary(changes(folder, args.weights, args.photographs), progress)
    rows = [{"kind": one.kind, "path": str(one.path), "state": one.state} for one in differing]
    lines = [f"{checked.state:<9} {checked.kind:<11} {checked.path}" for checked in differing[:LISTED]]
    if len(differing) > LISTED:
        lines.append(f"and {len(differing) - LISTED:,} more; --json lists all")
    plural = {kind: kind if kind.endswith("s") else f"{kind}s" for kind in counts}  # weights are
    looked_at = ", ".join(f"{count:,} {kind if count == 1 else plural[kind]}" for kind, count in counts.items())
    verdict = f"{len(differing):,} of them are not what they were" if differing else "all are what they were"
    lines.append(f"{folder}: {looked_at}; {verdict}")
    result(args, "\n".join(map(for_terminal, lines)), {"run": str(folder), "checked": counts, "differing": rows})
    return int(bool(differing))


def _paths(names: Sequence[str], weights: Path) -> list[Path]:
    if not names:
        specs = (*MODELS.values(), *own_models(weights))
        paths = [spec.final(weights) for spec in specs if spec.final(weights).is_file()]
        if not paths:
            raise DataError(f"{weights}: no final model is here.", "`facepipe onnx`, or name an ONNX file.")
        return paths
    known = [(name, find(name, weights)) for name in names]
    paths = [Path(name) if spec is None else spec.final(weights) for name, spec in known]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file, expected an ONNX model.", "`facepipe onnx` makes the catalogue's.")
    return paths


def _lines(path: str, target: str, findings: Sequence[Finding], quiet: bool) -> list[str]:
    from facepipe.convert.ascend.preflight import alike

    counts = {name: sum(finding.severity == name for finding in findings) for name in ("blocker", "warning", "note")}
    verdict = "will not pass" if counts["blocker"] else "passes"
    lines = [f"{path}: {verdict} for {target}; " + ", ".join(f"{count} {name}s" for name, count in counts.items())]
    for one, places in alike(one for one in findings if not (quiet and one.severity == "note")).items():
        others = f" and {len(places) - 3} more" if len(places) > 3 else ""
        lines.append(f"  {one.severity:<8} {one.rule}: {', '.join(places[:3])}{others}")
        lines.append(f"           {one.reason}.")
        lines.append(f"           Repair: {one.repair}. Source: {one.source}.")
    return lines
