# SPDX-License-Identifier: Apache-2.0
"""Where the words at a face are drawn: plates that cover no other face and no other plate."""

from __future__ import annotations

from collections.abc import Sequence

Plate = tuple[float, float, float, float]
"""left, top, right, bottom in pixels."""

WIDEST = 1.5  # of a box's width: in a crowd, wider plates of little worth would hide the faces

CROWD = 20
"""Faces of a photograph from which on plates of little worth are left out: there they are noise."""


def place(
    box: Plate, width: float, height: float, size: tuple[int, int], taken: Sequence[Plate], faces: Sequence[Plate]
) -> tuple[Plate, bool]:
    """Where the plate of a face goes: above, below, inside at the top, inside at the bottom; and whether it covers
    nothing there.

    Where every place covers something, the first that covers no other plate; else above, over another.

    Args:
        size: width and height of the photograph, which plates do not leave.
        taken: plates that are drawn already.
        faces: the boxes of the other faces.
    """
    left, top, _, bottom = box
    x = min(max(left, 0), max(size[0] - width, 0))
    places = [(x, y, x + width, y + height) for y in (top - height, bottom, top, bottom - height)]
    inside = [place for place in places if place[1] >= 0 and place[3] <= size[1]]
    apart = [place for place in inside if not any(_overlap(place, other) for other in taken)]
    free = [place for place in apart if not any(_overlap(place, other) for other in faces)]
    if inside:
        return (free or apart or inside)[0], bool(free)
    y = min(max(top, 0), max(size[1] - height, 0))
    plate = (x, y, x + width, y + height)  # of a face as high as the photograph
    return plate, not any(_overlap(plate, other) for other in (*taken, *faces))


def _overlap(one: Plate, other: Plate) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
