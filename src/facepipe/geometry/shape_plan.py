# SPDX-License-Identifier: Apache-2.0
"""Which input shapes a set of photographs needs, and the fixed steps ("gears") that a compiled model offers for them.

A shape is a tuple of sizes. Gears are whole shapes: a compiled model takes nothing else. What is smaller is padded by
zeros up to a gear, and what comes back for the padding is cut away; `calls` says how, for every kind of gear alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.errors import TensorError
from facepipe.geometry.pyramid import pyramid_levels

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, slots=True)
class ImageGears:
    """The image sizes a network is compiled for.

    Attributes:
        gears: (height, width), the largest area first.
        assigned: every size that occurs -> the gear that holds it; itself where nothing is padded.
    """

    gears: tuple[Size, ...]
    assigned: Mapping[Size, Size]

    @property
    def padded(self) -> tuple[Size, ...]:
        """The sizes that are letterboxed into a larger gear."""
        return tuple(size for size, gear in self.assigned.items() if size != gear)

    @property
    def overhead(self) -> float:
        """Pixels computed for nothing, as a share of those needed, every size counted once."""
        needed = sum(height * width for height, width in self.assigned)
        computed = sum(height * width for height, width in self.assigned.values())
        return computed / needed - 1 if needed else 0.0


def pyramid_sizes(photographs: Iterable[Size], min_face_px: int, factor: float) -> tuple[Size, ...]:
    """Every size of a pyramid level over photographs of these sizes, the largest area first, each once."""
    sizes = {
        (level.height, level.width)
        for height, width in set(photographs)
        for level in pyramid_levels(height, width, min_face_px, factor)
    }
    return _largest_first(sizes)


def image_gears(sizes: Iterable[Size], most: int) -> ImageGears:
    """At most `most` gears, so that each size fits into one.

    Where there are no more sizes than that, every size is its own gear and nothing is padded. Else sides are rounded
    up on a grid that is as fine as the limit lets it be, in equal ratios, and each cell of the grid becomes one gear,
    just large enough for its members.
    """
    unique = _largest_first(set(sizes))
    assert most >= 1, "no gears, no network"
    if len(unique) <= most:
        return ImageGears(unique, {size: size for size in unique})
    low, high = 1, 2  # the grid of `low` steps keeps the limit; is there a finer one that does?
    while len(_cells_of_grid(unique, high)) <= most:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(_cells_of_grid(unique, middle)) <= most else (low, middle)
    groups = _cells_of_grid(unique, low)
    if len(groups) > most:
        groups = {(0, 0): list(unique)}
    assigned = {}
    for members in groups.values():
        gear = (max(height for height, _ in members), max(width for _, width in members))
        assigned.update(dict.fromkeys(members, gear))
    return ImageGears(_largest_first(set(assigned.values())), {size: assigned[size] for size in unique})


def cells(side: int, stride: int, field: int) -> int:
    """How many cells a fully convolutional network has over `side` pixels: ceil((side - field) / stride) + 1.

    Source:
        PNet: ceil((s - 2) / 2) - 4 with stride 2 and field 12, Zhang et al. 2016, figure 2.
    """
    return -(-(side - field) // stride) + 1


@dataclass(frozen=True, slots=True)
class Call:
    """One execution: rows `start` to `stop` of the batch, padded to the shape `gear`."""

    start: int
    stop: int
    gear: tuple[int, ...]


def calls(shape: Sequence[int], gears: Sequence[tuple[int, ...]], letterbox: bool, where: str) -> tuple[Call, ...]:
    """How an array of `shape` goes through a model compiled for `gears`: in chunks, the last in the least gear for it.

    Args:
        shape: batch first; then sizes that a gear must have exactly, or at least, when `letterbox`.
        gears: whole shapes.
        letterbox: whether the last two axes may be padded. Zeros stand right of and below the image.
        where: names the model in an error.

    Raises:
        TensorError: no gear holds this shape.
    """
    rows, rest = shape[0], tuple(shape[1:])
    fitting = [gear for gear in gears if gear[1:] == rest]
    if not fitting and letterbox:
        roomy = [gear[1:] for gear in gears if len(gear) == len(shape) and _holds(gear[1:], rest)]
        if roomy:
            least = min(roomy, key=math.prod)
            fitting = [gear for gear in gears if gear[1:] == least]
    if not fitting:
        offered = "; ".join(sorted({"x".join(map(str, gear[1:])) for gear in gears}))
        raise TensorError(
            f"{where}: no gear for {'x'.join(map(str, rest))}, it was compiled for {offered}.",
            "`facepipe plan` with these photographs, then `facepipe om` with that plan.",
        )
    largest = max(fitting)
    planned = []
    for start in range(0, rows, largest[0]):
        stop = min(start + largest[0], rows)
        planned.append(Call(start, stop, min(gear for gear in fitting if gear[0] >= stop - start)))
    return tuple(planned)


def padded(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`array` in the corner of an array of `shape`, zeros elsewhere, dtype kept, C-contiguous."""
    if array.shape == tuple(shape):
        return np.ascontiguousarray(array)
    filled = np.zeros(shape, array.dtype)
    filled[tuple(slice(size) for size in array.shape)] = array
    return filled


def _holds(gear: tuple[int, ...], rest: tuple[int, ...]) -> bool:
    """Whether `rest` fits: channels exactly, height and width at most."""
    return gear[:-2] == rest[:-2] and gear[-2] >= rest[-2] and gear[-1] >= rest[-1]


def _largest_first(sizes: Iterable[Size]) -> tuple[Size, ...]:
    return tuple(sorted(sizes, key=lambda size: (-size[0] * size[1], size)))


def _cells_of_grid(sizes: Sequence[Size], steps: int) -> dict[Size, list[Size]]:
    """The sizes by cell of a grid with `steps` equal ratios between the least side and the greatest."""
    sides = [side for size in sizes for side in size]
    low, span = min(sides), math.log(max(sides) / min(sides)) or 1.0

    def cell(side: int) -> int:
        return math.ceil(math.log(side / low) / span * steps - 1e-9)

    groups: dict[Size, list[Size]] = {}
    for height, width in sizes:
        groups.setdefault((cell(height), cell(width)), []).append((height, width))
    return groups
