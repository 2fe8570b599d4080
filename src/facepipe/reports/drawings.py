# SPDX-License-Identifier: Apache-2.0
"""Faces drawn onto photographs, and sheets of crops, for the eye. Nothing here is read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facepipe.errors import DataError
from facepipe.results import Detections, Face, Outcome
from facepipe.store.files import write_bytes

Picture = np.ndarray
"""uint8 [H, W, 3] RGB."""

_BOX = (0, 230, 120)
# Left eye, right eye, nose, left and right mouth corner: told apart, so that exchanged points are seen.
_POINTS = ((255, 80, 80), (80, 140, 255), (255, 220, 60), (255, 130, 230), (90, 230, 255))
_INK, _PAPER = (20, 20, 20), (245, 245, 245)
_LABEL_PX = 14
WIDEST_PLATE = 1.5  # of a box's width: in a crowd, wider plates would hide the faces; those boxes have no score


def draw_detections(image: np.ndarray, found: Detections) -> np.ndarray:
    """The photograph with a box and the landmarks of every face, and the score of those large enough for it.

    Lines grow with the photograph. Boxes may leave it; then their visible part is drawn.

    Args:
        image: uint8 [H, W, 3] RGB; it is not changed.
        found: boxes and landmarks in its pixels.

    Returns:
        uint8 [H, W, 3].
    """
    canvas = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(canvas)
    stroke = max(1, round(max(canvas.size) / 400))
    font = ImageFont.load_default(max(10, round(max(canvas.size) / 50)))
    # The best face last, on top of the others.
    for i in np.argsort(found.scores, kind="stable"):
        left, top, right, bottom = (float(value) for value in found.boxes[i])
        line = max(1, min(stroke, round(0.08 * (right - left))))
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=_BOX, width=line)
        # As large as the stroke, but never so large that the points of a small face hide it.
        radius = max(0.5, min(stroke, 0.04 * (right - left)), 0.02 * (right - left))
        for k, (x, y) in enumerate(found.landmarks[i].tolist()):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_POINTS[k % len(_POINTS)])
        text = f"{found.scores[i]:.3f}"
        if pen.textlength(text, font=font) <= WIDEST_PLATE * (right - left):
            _score(pen, text, left, top, canvas.size, font, stroke)
    return np.asarray(canvas)


def draw_face(image: Picture, outcome: Outcome | None) -> Picture:
    """A photograph with the face that a run chose; as it is where there is none."""
    if not isinstance(outcome, Face):
        return image
    score = np.array([outcome.score], np.float32)
    return draw_detections(image, Detections(outcome.box[None], score, outcome.landmarks[None]))


def blank(side: int) -> Picture:
    """A white square."""
    return np.full((side, side, 3), 255, np.uint8)


def contact_sheet(pictures: Sequence[np.ndarray], labels: Sequence[str], columns: int = 8) -> np.ndarray:
    """Pictures of one size in a grid, each with its label below.

    Args:
        pictures: uint8 [H, W, 3] each.
        labels: one for each; shortened to the picture's width.
        columns: pictures in a row.

    Returns:
        uint8 [rows * (H + label), columns * W and gaps, 3].

    Raises:
        DataError: there is no picture, they differ in size, or the labels differ in number.
    """
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1 or len(labels) != len(pictures) or columns < 1:
        raise DataError(
            f"contact sheet: {len(pictures)} pictures of {len(shapes)} sizes with {len(labels)} labels in {columns} "
            "columns, expected pictures of one size, a label for each, and a column."
        )
    height, width = pictures[0].shape[:2]
    gap, font = 4, ImageFont.load_default(_LABEL_PX)
    row_height, across = height + _LABEL_PX + 2 * gap, min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (across * (width + gap) + gap, rows * row_height + gap), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = gap + i % columns * (width + gap), gap + i // columns * row_height
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))
        pen.text((x, y + height + 1), _fitting(label, width, font), fill=_INK, font=font)
    return np.asarray(sheet)


def write_drawing(path: Path, image: np.ndarray, *, overwrite: bool = False) -> None:
    """Write uint8 [H, W, 3] RGB, whole, in the format that the suffix names; of what is there see `store.files`.

    Raises:
        DataError: Pillow writes no such format.
    """
    formats = Image.registered_extensions()
    kind = formats.get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise DataError(f"{path}: no picture can be written as '{path.suffix}', expected .png or .jpg.")
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, kind)
    write_bytes(path, content.getvalue(), overwrite=overwrite)


def _score(
    pen: ImageDraw.ImageDraw, text: str, left: float, top: float, size: tuple[int, int], font: _Font, stroke: int
) -> None:
    """The score on a plate above the box; inside it where the photograph ends."""
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    width, height = x1 - x0 + 2 * stroke, y1 - y0 + 2 * stroke
    x = min(max(left, 0), max(size[0] - width, 0))
    y = top - height if top >= height else max(top, 0)
    pen.rectangle((x, y, x + width, y + height), fill=_BOX)
    pen.text((x + stroke - x0, y + stroke - y0), text, fill=_INK, font=font)


_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def _fitting(text: str, width: int, font: _Font) -> str:
    """The end of `text` that is no wider than `width`: numbers stand at the end of names."""
    while text and font.getlength(text) > width:
        text = "…" + text.lstrip("…")[1:] if len(text) > 2 else ""
    return text
