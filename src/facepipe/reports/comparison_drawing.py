# SPDX-License-Identifier: Apache-2.0
"""A table of faces with faces: who is like whom, drawn."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facepipe.reports.drawings import Picture, draw_face
from facepipe.runs.compare import ComparedPair, Comparison

_CELL, _GAP, _TEXT, _TITLE = 150, 4, 22, 18  # pixels
_PAPER, _INK, _FAINT = (245, 245, 245), (20, 20, 20), (120, 120, 120)
_SAME, _OTHER, _WRONG = (200, 240, 210), (226, 226, 232), (230, 60, 50)


def draw_comparison(compared: Comparison, title: str) -> Picture:
    """A row and a column for each photograph, the distance of the two faces where they meet.

    A cell is green where the threshold says "the same person" and grey where it says "different people"; red around it
    says that the folders say otherwise.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    count, step = len(compared.keys), _CELL + _GAP
    head = _TITLE + 4 * _GAP
    side = (count + 1) * step + _GAP
    sheet = Image.new("RGB", (side, side + head), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((2 * _GAP, 2 * _GAP), title, fill=_INK, font=ImageFont.load_default(_TITLE))
    for i in range(count):
        face = _face(compared, i)
        along = _GAP + (i + 1) * step
        sheet.paste(face, (along, head))
        sheet.paste(face, (_GAP, head + along))
    for pair in compared.pairs:
        for row, column in ((pair.first, pair.second), (pair.second, pair.first)):
            _cell(pen, pair, _GAP + (column + 1) * step, head + _GAP + (row + 1) * step)
    return np.asarray(sheet)


def _face(compared: Comparison, place: int) -> Image.Image:
    """The photograph around the face, with its box and landmarks, and its key below."""
    found, pixels = compared.faces[place].face, compared.photographs[place]
    left, top, right, bottom = (float(value) for value in found.box)
    half = 0.75 * max(right - left, bottom - top)
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    view = (round(middle_x - half), round(middle_y - half), round(middle_x + half), round(middle_y + half))
    drawn = Image.fromarray(draw_face(pixels, found)).crop(view)  # black where the photograph ends
    picture = drawn.resize((_CELL, _CELL), Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    key = compared.keys[place].rpartition("/")[2]
    pen.rectangle((0, _CELL - 16, _CELL, _CELL), fill=_PAPER)
    pen.text((4, _CELL - 15), key, fill=_INK, font=font)
    return picture


def _cell(pen: ImageDraw.ImageDraw, pair: ComparedPair, x: int, y: int) -> None:
    said = pair.same if pair.judged is None else pair.judged
    pen.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=_SAME if said else _OTHER)
    if not pair.is_right:
        pen.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), outline=_WRONG, width=5)
    words = {None: "", True: "the same person", False: "different people"}[pair.judged]
    large, small, middle = ImageFont.load_default(_TEXT), ImageFont.load_default(13), x + _CELL / 2
    pen.text((middle, y + _CELL / 2 - 12), f"{pair.distance:.3f}", fill=_INK, font=large, anchor="mm")
    pen.text((middle, y + _CELL / 2 + 16), words, fill=_FAINT, font=small, anchor="mm")
