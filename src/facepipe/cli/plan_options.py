# SPDX-License-Identifier: Apache-2.0
"""What `plan` and `om` share: the options that tell the photographs' sizes, and the plan for them."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from facepipe.catalogue.chips import LEAST_GEARS, MOST_GEARS
from facepipe.datasets.images import list_keys, read_size
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.errors import DataError
from facepipe.geometry.shape_plan import Size, image_gears, pyramid_sizes
from facepipe.store.files import read_json

FORMAT = "facepipe.plan.1"


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
    plan = read_json(path, "`facepipe plan --out` again.")
    if plan.get("format") != FORMAT:
        raise DataError(f"{path}: is no plan, expected what `facepipe plan --out` writes.")
    return plan


def _photograph_sizes(args: argparse.Namespace) -> Counter[Size]:
    if args.photographs is not None:
        from tqdm import tqdm

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
