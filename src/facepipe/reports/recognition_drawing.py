# SPDX-License-Identifier: Apache-2.0
"""Names drawn onto photographs: one colour for each person of a gallery, the same on every picture and frame."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facepipe.reports.fonts import Font, find_font
from facepipe.reports.plates import CROWD, WIDEST, Plate, place

Colour = tuple[int, int, int]

_GREY: Colour = (150, 150, 150)
_LEAST_FONT_PX, _LINE_PX = 11, 2


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """What is drawn at one face.

    Attributes:
        box: float32 [4], corners in pixels; may leave the picture.
        text: written on the plate.
        person: whose colour it has; None: nobody's, grey.
    """

    box: np.ndarray
    text: str
    person: str | None


def colours_of(people: Iterable[str]) -> dict[str, Colour]:
    """A bright colour for each person, by the place of the name among all: few people have colours far apart.

    Hues are a golden section of the circle apart, which spreads any number of them about evenly.
    """
    section = (5**0.5 - 1) / 2
    found = {}
    for number, person in enumerate(sorted(set(people))):
        red, green, blue = colorsys.hls_to_rgb(0.36 + number * section, 0.55 - 0.12 * (number // 6 % 2), 0.9)
        found[person] = (round(red * 255), round(green * 255), round(blue * 255))
    return found


def font_for(texts: Sequence[str], given: Path | None = None) -> Font:
    """One font for all the names, so that a picture has one hand; see `fonts.find_font`."""
    return find_font("".join(texts), given)


def draw_names(image: np.ndarray, labels: Sequence[Label], font: Font, colours: Mapping[str, Colour]) -> np.ndarray:
    """The photograph with a box at every face, and a plate with the name.

    A plate stands above its box, or below, or inside: the first place that is within the photograph and covers no
    other plate and no other face; where there is none, names cover faces, and what is nobody's is left out, as it is
    where it would be much wider than its box and in a crowd (see `plates`). Letters are a sixth of the box's width
    high, and no higher than a twelfth of the photograph.

    Args:
        image: uint8 [H, W, 3] RGB; it is not changed.
        labels: one for each face.
        colours: of every person on the labels.

    Returns:
        uint8 [H, W, 3].
    """
    canvas = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(canvas)
    line = max(_LINE_PX, round(max(canvas.size) / 500))
    corners = [_corners(label) for label in labels]
    for label, (left, top, right, bottom) in zip(labels, corners, strict=True):
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=_colour(label, colours), width=line)
    taken: list[Plate] = []
    # Large faces first: they have the least freedom to move their plates.
    is_crowd = len(labels) > CROWD
    for i in sorted(range(len(labels)), key=lambda i: corners[i][0] - corners[i][2]):
        label, (left, top, right, bottom) = labels[i], corners[i]
        pixels = int(max(_LEAST_FONT_PX, min((right - left) / 6, canvas.height / 12)))
        letters = font.at(pixels)
        x0, y0, x1, y1 = pen.textbbox((0, 0), label.text, font=letters)
        width, height = x1 - x0 + 2 * line, y1 - y0 + 2 * line
        others = [other for k, other in enumerate(corners) if k != i]
        plate, is_free = place((left, top, right, bottom), width, height, canvas.size, taken, others)
        if label.person is None and (is_crowd or not is_free or width > WIDEST * (right - left)):
            continue
        taken.append(plate)
        colour = _colour(label, colours)
        pen.rectangle(plate, fill=colour)
        pen.text((plate[0] + line - x0, plate[1] + line - y0), label.text, fill=_ink_on(colour), font=letters)
    return np.asarray(canvas)


def _corners(label: Label) -> Plate:
    left, top, right, bottom = label.box.tolist()
    return left, top, right, bottom


def _colour(label: Label, colours: Mapping[str, Colour]) -> Colour:
    return _GREY if label.person is None else colours[label.person]


def _ink_on(colour: Colour) -> Colour:
    """Black on bright colours, white on dark ones (ITU-R BT.601 luma)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (10, 10, 10) if luma > 128 else (255, 255, 255)
