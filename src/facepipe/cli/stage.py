# SPDX-License-Identifier: Apache-2.0
"""facepipe stage pnet --run runs/staged --data data/lfw --pairs data/lfw/pairs.txt

One stage of the staged run, from files to files; each reads what the one before it wrote, and can be killed and run
again. In order: pnet, rnet, onet, crop, pack, embed, score. `facepipe lfw --staged` does them all. The options are the
same for every stage of one run; a stage that was begun with others refuses and names the difference.
"""

from __future__ import annotations

import argparse
from functools import partial

from facepipe.cli.lfw_options import add_lfw_arguments, lfw_job, summary
from facepipe.cli.run_options import worker_count
from facepipe.engine.local import Local
from facepipe.runs.lfw import score_lfw
from facepipe.runs.staged_run import ORDER, collect_run, run_one_stage
from facepipe.store.stage import locked
from facepipe.terminal.output import bars, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", choices=(*ORDER, "score"), help="which one")
    add_lfw_arguments(parser)


def run(args: argparse.Namespace) -> int:
    asked = lfw_job(args)
    job, keys = asked.job, asked.keys
    with locked(job.run):
        if args.stage == "score":
            accuracy = score_lfw(asked, collect_run(job, keys).models)
            result(args, summary(asked, accuracy), accuracy)
            return 0
        with bars(args, len(keys)) as progress:
            engine = Local(worker_count(args))
            run_one_stage(
                args.stage, job, keys, engine, force=args.force, progress=progress(args.stage), say=partial(note, args)
            )
    return 0
