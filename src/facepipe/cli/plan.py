# SPDX-License-Identifier: Apache-2.0
"""facepipe plan data/lfw --out plan.json

Reads the sizes of the photographs, works out every shape that the networks will meet, and plans the fixed steps
("gears") that an Ascend chip is compiled for. `facepipe om --plan plan.json` compiles for them.

  facepipe plan --sizes 250x250                 without photographs
  facepipe plan PHOTOS --soc Ascend310P3        a chip that takes ranges as well
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.catalogue import detector_models
from facepipe.catalogue.chips import soc_by_name, takes_ranges
from facepipe.cli.ascend_options import add_chip_arguments, add_photograph_arguments, chosen_cann, chosen_plan
from facepipe.cli.run_options import add_overwrite
from facepipe.convert.ascend.plan import Plan
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
    plan = chosen_plan(args)
    soc = soc_by_name(args.soc)
    if args.out:
        write_json(args.out, plan.to_json(), overwrite=args.overwrite)
    lines = _lines(plan, args.batch, soc.name, takes_ranges(soc, chosen_cann(args)))
    if args.out:
        lines += ["", f"{args.out}: the plan; `facepipe om --plan {args.out} --soc {soc.name} --batch {args.batch}`"]
    result(args, "\n".join(lines), plan.to_json())
    return 0


def _lines(plan: Plan, batch: int, soc: str, ranges: bool) -> list[str]:
    lines: list[str] = []
    gears, sizes = plan.gears, sorted(plan.photographs.items())
    few = ", ".join(f"{height}x{width} ({count})" for (height, width), count in sizes[:6])
    total = sum(plan.photographs.values())
    lines.append(f"photographs: {total} of {len(sizes)} sizes: {few}{' ...' if len(sizes) > 6 else ''}")
    pnet, *others = detector_models("mtcnn")
    lines.append(
        f"{pnet.name}: {len(gears.assigned)} image sizes, least face {plan.min_face_px} px; {len(gears.gears)} gears"
    )
    lines.append("  " + " ".join(f"{height}x{width}" for height, width in gears.gears))
    if gears.padded:
        odd = sum(height % 2 or width % 2 for height, width in gears.padded)
        lines.append(
            f"  {len(gears.padded)} sizes are letterboxed into a larger gear: {gears.overhead:.1%} more pixels. Of "
            f"these {odd} have an odd side, whose last row or column of cells sees one line of padding."
        )
    else:
        lines.append("  every size is its own gear; nothing is padded")
    for spec in others:
        steps = ",".join(map(str, spec.atc.batch_gears))
        lines.append(f"{spec.name}: batch gears {steps}; a longer batch is cut, the rest is padded to the next gear")
    height, width = gears.gears[0]
    # float32 input, and the first layer's output as the chip holds it: half precision, channels padded to 16.
    first, second = batch * 3 * height * width * 4, batch * 16 * (height - 2) * (width - 2) * 2
    lines.append(
        f"memory: the largest gear at batch {batch} has {first / 2**20:.0f} MiB of input, and {second / 2**20:.0f} MiB"
    )
    lines.append("  after the first layer; an .om with gears holds its largest gear at all times")
    lines.append(
        f"{soc}: takes {'ranges too (--shapes range), gears are faster' if ranges else 'gears only, no ranges'}"
    )
    return lines
