# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC's folders, with landmarks as UltraFace's generator writes them.

    JPEGImages/<id>.jpg   Annotations/<id>.xml   ImageSets/Main/trainval.txt and test.txt, an id a line

Corners are in pixels from 0, as that generator writes them. Its reader subtracts 1 nevertheless, as for Pascal's own
files, which begin at 1: every box of its training is a pixel off. `first_pixel=1` is that reader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from facepipe.errors import DataError
from facepipe.train.detection.boxed import Faces

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Main"
_MOST_BYTES = 1 << 26
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_POINTS = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")

Number = int | float


@dataclass(frozen=True, slots=True)
class VocFace:
    """One face as it is written.

    Attributes:
        corners: xmin, ymin, xmax, ymax.
        has_points: None where the labels have no place for landmarks: then nothing is written about them.
        points: x1, y1, ... y5; none where the face has no landmarks.
        visible, blur: as the labels have them.
    """

    corners: tuple[Number, Number, Number, Number]
    has_points: bool | None = None
    points: tuple[Number, ...] = ()
    visible: int = 0
    blur: float = 0.0


def annotation(file_name: str, height: int, width: int, faces: Sequence[VocFace]) -> str:
    """The XML of one photograph."""
    root = ElementTree.Element("annotation")
    _leaf(root, "folder", "widerface")
    _leaf(root, "filename", file_name)
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        _leaf(size, name, value)
    _leaf(root, "segmented", 0)
    for face in faces:
        entry = ElementTree.SubElement(root, "object")
        for name, text in (("name", "face"), ("pose", "Unspecified"), ("truncated", "1"), ("difficult", "0")):
            _leaf(entry, name, text)
        box = ElementTree.SubElement(entry, "bndbox")
        for name, corner in zip(_CORNERS, face.corners, strict=True):
            _leaf(box, name, corner)
        if face.has_points:
            points = ElementTree.SubElement(entry, "lm")
            for name, place in zip(_POINTS, face.points, strict=True):
                _leaf(points, name, place)
            _leaf(points, "visible", face.visible)
            _leaf(points, "blur", face.blur)
        if face.has_points is not None:
            _leaf(entry, "has_lm", int(face.has_points))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def read_list(folder: Path, name: str) -> list[str]:
    """The ids of a list, in its order.

    Raises:
        DataError: it cannot be read, is empty, names a photograph twice, or one by a path.
    """
    path = folder / LISTS / f"{name}.txt"
    try:
        words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: it cannot be read as text ({error}).") from error
    ids = [line[0] for line in words if line]  # a class's list has a flag in a second column
    if not ids:
        raise DataError(f"{path}: names no photograph, expected one a line.")
    seen: set[str] = set()
    for one in ids:
        if one in seen or "/" in one or "\\" in one or one in (".", ".."):
            told = "twice" if one in seen else "by a path"
            raise DataError(f"{path}: names {one} {told}, expected each photograph's id once.")
        seen.add(one)
    return ids


def read_annotation(path: Path, *, first_pixel: int = 0) -> Faces:
    """The faces of one XML: every object called `face`; Pascal's other classes are none.

    Args:
        first_pixel: number of the first column and row: 0, or Pascal's own 1.

    Raises:
        DataError: it cannot be read, is no such XML, or states what is no number.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if len(content) > _MOST_BYTES or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DataError(f"{path}: defines entities or is no annotation by its size, expected Pascal VOC's XML.")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: is no XML ({error}), expected Pascal VOC's.") from error
    faces = [entry for entry in root.iter("object") if (entry.findtext("name") or "").strip().lower() == "face"]
    boxes = [[_number(entry, f"bndbox/{name}", path) for name in _CORNERS] for entry in faces]
    known = [(entry.findtext("has_lm") or "0").strip() == "1" for entry in faces]
    points = [
        [_number(entry, f"lm/{name}", path) if has else -1.0 for name in _POINTS]
        for entry, has in zip(faces, known, strict=True)
    ]
    return Faces(
        np.array(boxes, np.float64).reshape(-1, 4) - first_pixel,
        np.array(points, np.float64).reshape(-1, 5, 2),
        np.array(known, bool),
    )


def _leaf(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)


def _number(entry: ElementTree.Element, name: str, path: Path) -> float:
    text = entry.findtext(name)
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: an object's {name} is {text!r}, expected a number.")
    return value
