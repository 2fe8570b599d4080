# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE's boxes as the training programs have them: text, a line for each photograph, then one for each face.

Two forms, told apart by the photograph's line:

    # event/name.jpg                  x y width height; or these and five points (x y flag each) and a blur: 20 numbers.
    # event/name.jpg width height     x1 y1 x2 y2; or these and five points: 19 numbers. In pixels of that size, which
                                      the file may be smaller than.

The first is Pytorch_Retinaface's and UltraFace's `label.txt`, the second insightface's `labelv2.txt`. A first point of
which x is exactly -1 means that there are none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from facepipe.errors import DataError

_FORMS = {False: {4: "x y width height", 20: "those and five points"}, True: {4: "x1 y1 x2 y2", 19: "those and points"}}


@dataclass(frozen=True, slots=True)
class Label:
    """One face as a line states it.

    Attributes:
        line: its number in the file, from 1.
        box: x, y, width, height in pixels of the original. Nothing is checked but that they are numbers.
        points: five (x, y), None where the line says that there are none.
        visible: the flag of the last point, as UltraFace's generator takes it.
        blur: as stated; 0 where nothing is.
    """

    line: int
    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...] | None = None
    visible: int = 0
    blur: float = 0.0


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photograph's name and faces; `size`: (height, width) of the original, None where the file does not say.

    `with_points`: whether its lines have a place for landmarks.
    """

    name: str
    size: tuple[int, int] | None
    faces: tuple[Label, ...]
    with_points: bool


def read_labels(path: Path) -> tuple[Labelled, ...]:
    """The photographs of a label file, in its order, those without a face too.

    Raises:
        DataError: it cannot be read, a line has another form, two lines of one file have two lengths, or a photograph
            is named twice; the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: it cannot be read as text ({error}).") from error
    found: dict[str, tuple[int, tuple[int, int] | None, list[Label]]] = {}
    current, length = "", 0
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        if line.startswith("#"):
            current, size = _head(line, where)
            if current in found:
                raise DataError(f"{where}: names {current} again, first on line {found[current][0]}, expected it once.")
            found[current] = number, size, []
        elif line.strip():
            if not current:
                raise DataError(f"{where}: is '{line[:40]}', expected '# event/name.jpg' before any face.")
            _, size, faces = found[current]
            numbers = _numbers(line, size is not None, where)
            if length and len(numbers) != length:
                raise DataError(f"{where}: has {len(numbers)} numbers, expected {length} as the lines before.")
            length = len(numbers)
            faces.append(_label(number, numbers, size is not None))
    if not found:
        raise DataError(f"{path}: no line begins with '#', expected '# event/name.jpg' for each photograph.")
    return tuple(Labelled(name, size, tuple(faces), length > 4) for name, (_, size, faces) in found.items())


def _head(line: str, where: str) -> tuple[str, tuple[int, int] | None]:
    parts = line[1:].split()
    name, sizes = (parts[0], parts[1:]) if len(parts) in (1, 3) else ("", [])
    is_path = bool(name) and not name.startswith("/") and ".." not in PurePosixPath(name).parts
    if not is_path or not all(side.isascii() and side.isdigit() and int(side) for side in sizes):
        raise DataError(f"{where}: is '{line[:80]}', expected '# event/name.jpg' or '# event/name.jpg width height'.")
    return name, (int(sizes[1]), int(sizes[0])) if sizes else None


def _numbers(line: str, has_size: bool, where: str) -> list[float]:
    forms = _FORMS[has_size]
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        raise DataError(f"{where}: is '{line[:80]}', expected numbers.") from None
    if len(numbers) not in forms:
        told = " or ".join(f"{count} ({what})" for count, what in forms.items())
        raise DataError(f"{where}: has {len(numbers)} numbers, expected {told}.")
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: is '{line[:80]}', expected numbers that are finite.")
    return numbers


def _label(line: int, numbers: list[float], has_size: bool) -> Label:
    x, y, a, b = numbers[:4]
    box = (x, y, a - x, b - y) if has_size else (x, y, a, b)
    if len(numbers) == 4 or numbers[4] == -1:
        return Label(line, box)
    points = tuple((numbers[4 + 3 * place], numbers[5 + 3 * place]) for place in range(5))
    return Label(line, box, points, int(numbers[18]), numbers[19] if len(numbers) == 20 else 0.0)
