# SPDX-License-Identifier: Apache-2.0
"""facepipe plan data/lfw --soc Ascend310 --out plan.json

Reads the sizes of the photographs, works out every shape that the networks will meet, and plans the fixed steps
("gears") that an Ascend chip is compiled for. `facepipe om --plan plan.json` compiles for them.

  facepipe plan --sizes 250x250                 without photographs, for the board's own chip
  facepipe plan PHOTOS --soc Ascend310P3        a chip that takes ranges as well
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.backends.ascend.board import require_soc
from facepipe.catalogue.chips import takes_ranges
from facepipe.cli.ascend_options import add_chip_arguments, add_photograph_arguments, chosen_cann, chosen_plan
from facepipe.cli.run_options import add_overwrite
from facepipe.reports.plan_summary import plan_summary
from facepipe.store.files import write_json
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photographs", nargs="?", type=Path, metavar="PHOTOGRAPHS", help="folder of photographs whose sizes are read"
    )
    add_photograph_arguments(parser)
    add_chip_arguments(parser)
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="photographs of one execution (default: 16)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the plan here, as JSON")
    add_overwrite(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_free([args.out] if args.out else [], args.overwrite)
    soc = require_soc(args.soc)
    plan = chosen_plan(args, soc)
    if args.out:
        write_json(args.out, plan.to_json(), overwrite=args.overwrite)
    lines = plan_summary(plan, args.batch, soc.name, takes_ranges(soc, chosen_cann(args)))
    if args.out:
        lines += ["", f"{args.out}: the plan; `facepipe om --plan {args.out} --soc {soc.name} --batch {args.batch}`"]
    result(args, "\n".join(lines), plan.to_json())
    return 0
