# SPDX-License-Identifier: Apache-2.0
"""Faces drawn onto photographs, and sheets of crops, for the eye. Nothing here is read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facepipe.errors import DataError
from facepipe.reports.plates import CROWD, WIDEST, Plate, place
from facepipe.results import Detections, Face, Outcome
from facepipe.store.files import write_bytes

Picture = np.ndarray
"""uint8 [H, W, 3] RGB."""

_BOX = (0, 230, 120)
# Left eye, right eye, nose, left and right mouth corner: told apart, so that exchanged points are seen.
_POINTS = ((255, 80, 80), (80, 140, 255), (255, 220, 60), (255, 130, 230), (90, 230, 255))
_INK, _PAPER = (20, 20, 20), (245, 245, 245)
_LABEL_PX = 14

# How each format is written. JPEG and WebP: lines of one pixel stay sharp and of their colour. Of a photograph of 12
# megapixels PNG's least effort takes a fifth of the time of its usual one and 8 % more bytes; WebP's a third.
_WRITTEN: dict[str, tuple[str, dict[str, object]]] = {
    ".jpg": ("JPEG", {"quality": 90, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 90, "subsampling": 0}),
    ".png": ("PNG", {"compress_level": 1}),
    ".webp": ("WEBP", {"quality": 90, "method": 0}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".ppm": ("PPM", {}),
}
# A telephone's photographs, which Pillow alone does not write: as a PNG they would be ten times as large.
_AS_JPEG = (".heic", ".heif", ".avif")

DRAWN = " ".join(_WRITTEN)
"""The suffixes of drawings."""


def draw_detections(image: np.ndarray, found: Detections) -> np.ndarray:
    """The photograph with a box and the landmarks of every face, and the scores that tell something.

    Lines grow with the photograph. Boxes may leave it; then their visible part is drawn. A score has two decimals and
    stands where they are not 1.00, on a plate that covers no other face (see `plates`); a face that has no such place,
    is much narrower than the plate, or is one of a crowd has none.

    Args:
        image: uint8 [H, W, 3] RGB; it is not changed.
        found: boxes and landmarks in its pixels.

    Returns:
        uint8 [H, W, 3].
    """
    canvas = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(canvas)
    stroke = max(1, round(max(canvas.size) / 400))
    boxes: list[Plate] = [(left, top, right, bottom) for left, top, right, bottom in found.boxes.tolist()]
    # The best face last, on top of the others.
    for i in np.argsort(found.scores, kind="stable"):
        left, top, right, bottom = boxes[i]
        line = max(1, min(stroke, round(0.08 * (right - left))))
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=_BOX, width=line)
        # As large as the stroke, but never so large that the points of a small face hide it.
        radius = max(0.5, min(stroke, 0.04 * (right - left)), 0.02 * (right - left))
        for k, (x, y) in enumerate(found.landmarks[i].tolist()):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_POINTS[k % len(_POINTS)])
    if len(found) <= CROWD:
        _scores(pen, found.scores, boxes, canvas.size, stroke)
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


def contact_sheet(
    pictures: Sequence[np.ndarray], labels: Sequence[str], columns: int = 8, least_width: int = 0
) -> np.ndarray:
    """Pictures of one size in a grid, each with its label below.

    Args:
        pictures: uint8 [H, W, 3] each.
        labels: one for each, of one or more lines, each shortened to the column's width.
        columns: pictures in a row.
        least_width: of a column, where labels need more than the picture has.

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
    width = max(width, least_width)
    gap, font, lines = 4, ImageFont.load_default(_LABEL_PX), max(label.count("\n") + 1 for label in labels)
    row_height, across = height + lines * _LABEL_PX + 2 * gap, min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (across * (width + gap) + gap, rows * row_height + gap), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = gap + i % columns * (width + gap), gap + i // columns * row_height
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))
        for number, line in enumerate(label.split("\n")):
            below = y + height + 1 + number * _LABEL_PX
            pen.text((x, below), _fitting(line, width, font), fill=_INK, font=font)
    return np.asarray(sheet)


def drawing_names(keys: Sequence[str]) -> dict[str, str]:
    """The path of each photograph's drawing, by its key: the photograph's own, in its own format.

    Where that holds no drawing (a GIF has 256 colours, a PGM none) the name goes on: `a.gif.png`; of a telephone's
    `a.heic` it is `a.heic.jpg`.

    Raises:
        DataError: two photographs would have one drawing, or one is there twice.
    """
    names: dict[str, str] = {}
    keys_of: dict[str, str] = {}
    for key in keys:
        suffix = PurePosixPath(key).suffix.lower()
        name = key if suffix in _WRITTEN else f"{key}.jpg" if suffix in _AS_JPEG else f"{key}.png"
        other = keys_of.setdefault(name, key)
        if key in names:
            raise DataError(f"{key}: was given twice, expected one drawing of it.")
        if other != key:
            raise DataError(f"{name}: would be the drawing of {other} and of {key}, expected one of them.")
        names[key] = name
    return names


def require_drawable(path: Path) -> None:
    """Refuse, before any work, a name whose suffix says no format that a drawing is written in.

    Raises:
        DataError: so it is.
    """
    if path.suffix.lower() not in _WRITTEN:
        raise DataError(f"{path}: no drawing is written as '{path.suffix}', expected one of {DRAWN}.")


def write_drawing(path: Path, image: np.ndarray, *, overwrite: bool = False) -> None:
    """Write uint8 [H, W, 3] RGB, whole, in the format that the suffix names: JPEG and WebP in quality 90 (JPEG with all
    of its colour), the others without loss. Of what is there see `store.files`.

    Raises:
        DataError: as `require_drawable`.
    """
    require_drawable(path)
    kind, options = _WRITTEN[path.suffix.lower()]
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, kind, **options)
    write_bytes(path, content.getvalue(), overwrite=overwrite)


def _scores(
    pen: ImageDraw.ImageDraw, scores: np.ndarray, boxes: Sequence[Plate], size: tuple[int, int], stroke: int
) -> None:
    """The scores on plates, the best face's first: it has the first choice of places."""
    font = ImageFont.load_default(max(10, round(max(size) / 50)))
    taken: list[Plate] = []
    for i in np.argsort(-scores, kind="stable"):
        text = f"{scores[i]:.2f}"
        x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
        width, height = x1 - x0 + 2 * stroke, y1 - y0 + 2 * stroke
        others = [box for k, box in enumerate(boxes) if k != i]
        plate, is_free = place(boxes[i], width, height, size, taken, others)
        if text == "1.00" or not is_free or width > WIDEST * (boxes[i][2] - boxes[i][0]):
            continue
        taken.append(plate)
        pen.rectangle(plate, fill=_BOX)
        pen.text((plate[0] + stroke - x0, plate[1] + stroke - y0), text, fill=_INK, font=font)


_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def _fitting(text: str, width: int, font: _Font) -> str:
    """The end of `text` that is no wider than `width`: numbers stand at the end of names."""
    while text and font.getlength(text) > width:
        text = "…" + text.lstrip("…")[1:] if len(text) > 2 else ""
    return text
