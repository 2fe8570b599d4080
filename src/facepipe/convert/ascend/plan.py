# SPDX-License-Identifier: Apache-2.0
"""Which image sizes a chip is compiled for, from the sizes of photographs: what `facepipe plan` writes for `om`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facepipe.catalogue.chips import LEAST_GEARS, MOST_GEARS
from facepipe.datasets.images import read_size
from facepipe.errors import DataError
from facepipe.geometry.shape_plan import ImageGears, Size, image_gears, pyramid_sizes
from facepipe.store.files import read_json

FORMAT = "facepipe.plan.1"


@dataclass(frozen=True, slots=True)
class Plan:
    """The gears of a network that takes many image sizes, and the photographs that they are for.

    Attributes:
        min_face_px: the least face that is looked for.
        factor: from one level of the pyramid to the next.
        photographs: how many there are of each (height, width).
        gears: the sizes that are compiled, and the one that holds each level of the pyramids.
    """

    min_face_px: int
    factor: float
    photographs: Mapping[Size, int]
    gears: ImageGears

    def to_json(self) -> dict[str, object]:
        """As `facepipe plan --out` writes it."""
        return {
            "format": FORMAT,
            "min_face_px": self.min_face_px,
            "factor": self.factor,
            "photographs": [[*size, count] for size, count in sorted(self.photographs.items())],
            "image_sizes": [list(size) for size in self.gears.gears],
            "letterbox": bool(self.gears.padded),
            "overhead": round(self.gears.overhead, 4),
            "assigned": [[*size, *gear] for size, gear in self.gears.assigned.items()],
        }


def plan_gears(
    photographs: Mapping[Size, int],
    min_face_px: int,
    factor: float,
    most_gears: int = MOST_GEARS,
    limit: int = MOST_GEARS,
) -> Plan:
    """The plan for photographs of these sizes.

    Args:
        photographs: how many there are of each (height, width).
        min_face_px, factor: of the detector's pyramid.
        most_gears: a network is compiled for no more.
        limit: of the chip.

    Raises:
        DataError: a number is out of bounds, or no photograph is large enough for the least face.
    """
    if not LEAST_GEARS <= most_gears <= limit:
        raise DataError(f"--most-gears: it is {most_gears}, expected {LEAST_GEARS} to {limit}.")
    if min_face_px < 1:
        raise DataError(f"--min-face: it is {min_face_px}, expected 1 or more.")
    sizes = pyramid_sizes(photographs, min_face_px, factor)
    if not sizes:
        raise DataError(
            f"every photograph is smaller than {min_face_px} pixels, the least face that is looked for.",
            "a lower --min-face.",
        )
    return Plan(min_face_px, factor, photographs, image_gears(sizes, most_gears))


def read_plan(path: Path) -> Plan:
    """A plan that `facepipe plan --out` wrote.

    Raises:
        DataError: another file.
    """
    content = read_json(path, "`facepipe plan --out` again.")
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: is no plan, expected what `facepipe plan --out` writes.")
    try:
        assigned = {(h, w): (gear_h, gear_w) for h, w, gear_h, gear_w in content["assigned"]}
        gears = ImageGears(tuple((height, width) for height, width in content["image_sizes"]), assigned)
        counts = {(height, width): count for height, width, count in content["photographs"]}
        return Plan(content["min_face_px"], content["factor"], counts, gears)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is no whole plan ({error}).", "`facepipe plan --out` again.") from error


def photograph_sizes(
    root: Path, keys: Sequence[str], progress: Callable[[int], None] = lambda _: None
) -> Counter[Size]:
    """How many photographs below `root` there are of each (height, width); only their headers are read."""
    counts: Counter[Size] = Counter()
    for key in keys:
        counts[read_size(root / key)] += 1
        progress(1)
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
