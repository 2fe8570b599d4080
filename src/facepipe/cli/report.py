# SPDX-License-Identifier: Apache-2.0
"""facepipe report runs/lfw

One HTML page of a scored run that needs no network: accuracy with its protocol, ROC, distances, the worst false accepts
and rejects side by side, photographs without a face, time by step, and every artefact with its sha256. Photographs and
pairs are those that the run names, or --data and --pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.datasets.lfw import read_verification_set
from facepipe.errors import DataError
from facepipe.reports.html_report import write_html_report
from facepipe.runs.lfw import pairs_of, require_scored
from facepipe.store.run_record import read_run
from facepipe.terminal.output import add_output_arguments, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a scored run; gets report.html")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the photographs (default: where they lay)")
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE", help="the pairs (default: those that the run was scored on)"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_scored(args.run)
    record = read_run(args.run)
    root = args.data or (Path(record["root"]) if isinstance(record.get("root"), str) else None)
    pairs = args.pairs or pairs_of(record)
    for name, value in (("--data", root), ("--pairs", pairs)):
        if value is None:
            raise DataError(f"{args.run}: its record does not tell {name}, expected it there or on the command line.")
    assert root is not None and pairs is not None
    path = write_html_report(args.run, read_verification_set(pairs, root), root)
    size = path.stat().st_size
    result(args, f"{path}: {size / 1e6:.1f} MB, all in one file", {"report": str(path), "bytes": size})
    return 0
