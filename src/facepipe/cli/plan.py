# SPDX-License-Identifier: Apache-2.0
"""facepipe plan data/lfw --out plan.json

Reads the sizes of the photographs, works out every shape that the networks will meet, and plans the fixed steps
("gears") that an Ascend chip is compiled for. `facepipe om --plan plan.json` compiles for them.

  facepipe plan --sizes 250x250                 without photographs
  facepipe plan PHOTOS --soc Ascend310P3        a chip that takes ranges as well
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from facepipe.catalogue import detector_models
from facepipe.catalogue.chips import DEFAULT_CANN, LEAST_GEARS, MOST_GEARS, soc_by_name, takes_ranges
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.errors import DataError
from facepipe.geometry.shape_plan import ImageGears, Size, image_gears, pyramid_sizes
from facepipe.store.files import read_json, write_json

FORMAT = "facepipe.plan.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", nargs="?", type=Path, help="folder of photographs whose sizes are read")
    add_photograph_arguments(parser)
    parser.add_argument("--soc", default="Ascend310", help="the chip (default: Ascend310)")
    parser.add_argument("--cann", default=DEFAULT_CANN, help=f"the CANN release (default: {DEFAULT_CANN})")
    parser.add_argument("--batch", type=int, default=16, help="photographs of one execution (default: 16)")
    parser.add_argument("--out", type=Path, help="write the plan here, as JSON")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def add_photograph_arguments(parser: argparse.ArgumentParser) -> None:
    """What tells the sizes of the photographs; shared with `facepipe om`."""
    defaults = MtcnnSettings()
    parser.add_argument("--sizes", nargs="+", metavar="HxW", help="sizes in pixels (default: 250x250, which LFW's are)")
    parser.add_argument(
        "--min-face", type=int, default=defaults.min_face_px, help="least face in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--most-gears", type=int, default=MOST_GEARS, help=f"at most {MOST_GEARS}, which is ATC's limit"
    )


def run(args: argparse.Namespace) -> int:
    plan = plan_of_arguments(args)
    soc = soc_by_name(args.soc)
    if args.out:
        write_json(args.out, plan)
    if args.json:
        print(json.dumps(plan, indent=2))
        return 0
    _print(plan, args.batch, soc.name, takes_ranges(soc, args.cann))
    if args.out:
        print(f"\n{args.out}: the plan; `facepipe om --plan {args.out} --soc {soc.name} --batch {args.batch}`")
    return 0


def plan_of_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The plan for what the arguments say of the photographs.

    Raises:
        DataError: sizes of a wrong form, or no photograph is large enough for the least face.
    """
    counts = _photograph_sizes(args)
    factor = MtcnnSettings().factor
    if not 2 <= args.most_gears <= MOST_GEARS:
        raise DataError(f"plan: --most-gears is {args.most_gears}, expected {LEAST_GEARS} to {MOST_GEARS}.")
    if args.min_face < 1:
        raise DataError(f"plan: --min-face is {args.min_face}, expected 1 or more.")
    sizes = pyramid_sizes(counts, args.min_face, factor)
    if not sizes:
        raise DataError(
            f"plan: every photograph is smaller than {args.min_face} pixels, the least face that is looked for.",
            "a lower --min-face.",
        )
    gears = image_gears(sizes, args.most_gears)
    return {
        "format": FORMAT,
        "min_face_px": args.min_face,
        "factor": factor,
        "photographs": [[*size, count] for size, count in sorted(counts.items())],
        "image_sizes": [list(size) for size in gears.gears],
        "letterbox": bool(gears.padded),
        "overhead": round(gears.overhead, 4),
        "assigned": [[*size, *gear] for size, gear in gears.assigned.items()],
    }


def read_plan(path: Path) -> dict[str, Any]:
    """A plan that `facepipe plan --out` wrote.

    Raises:
        DataError: another file.
    """
    plan = read_json(path)
    if not isinstance(plan, dict) or plan.get("format") != FORMAT:
        raise DataError(f"{path}: is no plan, expected what `facepipe plan --out` writes.")
    return plan


def _photograph_sizes(args: argparse.Namespace) -> Counter[Size]:
    if args.photographs is not None:
        from tqdm import tqdm

        from facepipe.datasets.images import list_keys, read_size

        keys = list_keys(args.photographs)
        bar = tqdm(keys, desc="sizes", unit="photo", delay=1, disable=not sys.stderr.isatty())
        return Counter(read_size(args.photographs / key) for key in bar)
    counts: Counter[Size] = Counter()
    for text in args.sizes or ["250x250"]:
        counts[parse_size(text)] += 1
    return counts


def parse_size(text: str) -> Size:
    """HEIGHTxWIDTH as numbers.

    Raises:
        DataError: another form.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise DataError(f"size '{text}': expected HEIGHTxWIDTH in pixels, such as 250x250.")
    return int(match[1]), int(match[2])


def _print(plan: dict[str, Any], batch: int, soc: str, ranges: bool) -> None:
    photographs = plan["photographs"]
    total = sum(count for *_, count in photographs)
    few = ", ".join(f"{height}x{width} ({count})" for height, width, count in photographs[:6])
    print(f"photographs: {total} of {len(photographs)} sizes: {few}{' ...' if len(photographs) > 6 else ''}")
    assigned = {(h, w): (gear_h, gear_w) for h, w, gear_h, gear_w in plan["assigned"]}
    gears = ImageGears(tuple(map(tuple, plan["image_sizes"])), assigned)
    pnet, *others = detector_models("mtcnn")
    print(f"{pnet.name}: {len(assigned)} image sizes, least face {plan['min_face_px']} px; {len(gears.gears)} gears")
    print("  " + " ".join(f"{height}x{width}" for height, width in gears.gears))
    if gears.padded:
        odd = sum(height % 2 or width % 2 for height, width in gears.padded)
        print(
            f"  {len(gears.padded)} sizes are letterboxed into a larger gear: {gears.overhead:.1%} more pixels. Of "
            f"these {odd} have an odd side, whose last row or column of cells sees one line of padding."
        )
    else:
        print("  every size is its own gear; nothing is padded")
    for spec in others:
        steps = ",".join(map(str, spec.atc.batch_gears))
        print(f"{spec.name}: batch gears {steps}; a longer batch is cut, the rest is padded to the next gear")
    height, width = gears.gears[0]
    # float32 input, and the first layer's output as the chip holds it: half precision, channels padded to 16.
    first, second = batch * 3 * height * width * 4, batch * 16 * (height - 2) * (width - 2) * 2
    print(
        f"memory: the largest gear at batch {batch} has {first / 2**20:.0f} MiB of input, and {second / 2**20:.0f} MiB"
    )
    print("  after the first layer; an .om with gears holds its largest gear at all times")
    print(f"{soc}: takes {'ranges too (--shapes range), gears are faster' if ranges else 'gears only, no ranges'}")
