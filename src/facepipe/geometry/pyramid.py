# SPDX-License-Identifier: Apache-2.0
"""The scales at which PNet, which sees 12 pixels at a time, meets faces of every size."""

from __future__ import annotations

from dataclasses import dataclass

CELL = 12  # side in pixels of what one PNet output sees


@dataclass(frozen=True, slots=True)
class Level:
    """One scaled copy of a photograph: its factor, and its size in pixels."""

    scale: float
    height: int
    width: int


def pyramid_levels(height: int, width: int, min_face_px: int, factor: float) -> tuple[Level, ...]:
    """The levels for a photograph of height x width, largest first; none when it is smaller than `min_face_px`.

    The first level makes a face of `min_face_px` as large as a cell; each next is `factor` times the one before, while
    the shorter side holds a cell.

    Source:
        Zhang et al. 2016, section II-A; int(side * scale + 1) follows facenet-pytorch, whose answers are the reference.
    """
    scale = CELL / min_face_px
    shorter = min(height, width) * scale
    levels = []
    while shorter >= CELL:
        levels.append(Level(scale, int(height * scale + 1), int(width * scale + 1)))
        scale *= factor
        shorter *= factor
    return tuple(levels)
