# SPDX-License-Identifier: Apache-2.0
"""facepipe lfw --data data/lfw --batch 16 --run runs/lfw

Photographs to verification accuracy: detect, crop, embed, and score the pairs by folds. LFW's pairs, CFP's protocol, or
one's own table (two paths, 1 or 0, and a fold if one likes; docs/file-formats.md):

  facepipe lfw --data cfp-dataset --cfp FP
  facepipe lfw --data album --pairs album.csv

Can be killed and run again. Writes accuracy.json, faces.jsonl, embeddings.npy and run.json into --run. With --staged
the work is done stage by stage through files (and `.bin` batches), with the same boxes and the same accuracy. With
--report also roc.png, distances.png and report.html, the whole run as one page.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from facepipe.cli.lfw_options import add_lfw_arguments, lfw_job, summary, tell_notes
from facepipe.cli.run_options import worker_count
from facepipe.engine.local import Local
from facepipe.reports.html_report import write_html_report
from facepipe.reports.report_plots import write_report
from facepipe.runs.lfw import run_lfw
from facepipe.store.stage import locked
from facepipe.terminal.output import bars, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_lfw_arguments(parser)
    parser.add_argument("--staged", action="store_true", help="stage by stage through files")
    parser.add_argument("--report", action="store_true", help="draw roc.png and distances.png; write report.html")


def run(args: argparse.Namespace) -> int:
    asked = lfw_job(args)
    tell_notes(args, asked.job)
    engine = Local(worker_count(args))
    with bars(args, len(asked.keys)) as progress:
        accuracy = run_lfw(
            asked, engine, staged=args.staged, force=args.force, progress=progress, say=partial(note, args)
        )
    drawings: tuple[Path, ...] = ()
    if args.report:
        with locked(asked.job.run):
            pictures = write_report(asked.job.run, asked.pairs, accuracy)
            drawings = (*pictures, write_html_report(asked.job.run, asked.pairs, asked.job.root))
    result(args, summary(asked, accuracy), accuracy)
    for path in drawings:
        note(args, f"drawn: {path}")
    return 0
