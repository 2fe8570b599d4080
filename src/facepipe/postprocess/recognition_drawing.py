# SPDX-License-Identifier: Apache-2.0
"""Names drawn onto photographs: one colour for each person, the same on every picture and every frame."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facepipe.postprocess.fonts import Font, find_font

Colour = tuple[int, int, int]
Plate = tuple[float, float, float, float]

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


def colour_of(person: str | None) -> Colour:
    """A bright colour that depends on the name alone; grey for nobody."""
    if person is None:
        return _GREY
    digest = zlib.crc32(person.encode())
    hue, shade = (digest % 360) / 360, (digest >> 16) % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 + 0.1 * shade, 0.95 - 0.1 * shade)
    return round(red * 255), round(green * 255), round(blue * 255)


def font_for(texts: Sequence[str], given: Path | None = None) -> Font:
    """One font for all the names, so that a picture has one hand; see `fonts.find_font`."""
    return find_font("".join(texts), given)


def draw_names(image: np.ndarray, labels: Sequence[Label], font: Font) -> np.ndarray:
    """The photograph with a box and a plate with the name at every face.

    A plate stands above its box, or below, or inside: the first place that is within the photograph and covers no
    other plate. Letters are a sixth of the box's width high, and no higher than a twelfth of the photograph.

    Args:
        image: uint8 [H, W, 3] RGB; it is not changed.
        labels: one for each face.

    Returns:
        uint8 [H, W, 3].
    """
    canvas = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(canvas)
    line = max(_LINE_PX, round(max(canvas.size) / 500))
    corners = [tuple(float(value) for value in label.box) for label in labels]
    for label, (left, top, right, bottom) in zip(labels, corners, strict=True):
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour_of(label.person), width=line)
    taken: list[Plate] = []
    # Large faces first: they have the least freedom to move their plates.
    for i in sorted(range(len(labels)), key=lambda i: corners[i][0] - corners[i][2]):
        label, (left, top, right, bottom) = labels[i], corners[i]
        pixels = int(max(_LEAST_FONT_PX, min((right - left) / 6, canvas.height / 12)))
        letters = font.at(pixels)
        x0, y0, x1, y1 = pen.textbbox((0, 0), label.text, font=letters)
        width, height = x1 - x0 + 2 * line, y1 - y0 + 2 * line
        plate = _place((left, top, right, bottom), width, height, canvas.size, taken)
        taken.append(plate)
        colour = colour_of(label.person)
        pen.rectangle(plate, fill=colour)
        pen.text((plate[0] + line - x0, plate[1] + line - y0), label.text, fill=_ink_on(colour), font=letters)
    return np.asarray(canvas)


def _place(box: Plate, width: float, height: float, size: tuple[int, int], taken: Sequence[Plate]) -> Plate:
    """Where the plate goes: above, below, inside at the top, inside at the bottom; else above, over another."""
    left, top, _, bottom = box
    x = min(max(left, 0), max(size[0] - width, 0))
    places = [(x, y, x + width, y + height) for y in (top - height, bottom, top, bottom - height)]
    inside = [place for place in places if place[1] >= 0 and place[3] <= size[1]]
    free = [place for place in inside if not any(_overlap(place, other) for other in taken)]
    if free or inside:
        return (free or inside)[0]
    y = min(max(top, 0), max(size[1] - height, 0))
    return x, y, x + width, y + height


def _overlap(one: Plate, other: Plate) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ink_on(colour: Colour) -> Colour:
    """Black on bright colours, white on dark ones (ITU-R BT.601 luma)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (10, 10, 10) if luma > 128 else (255, 255, 255)
