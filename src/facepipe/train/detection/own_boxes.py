# SPDX-License-Identifier: Apache-2.0
"""A folder of one's own photographs with boxes, as YOLO's or COCO's tools leave them.

YOLO: a text beside each photograph, or in `labels/` where the photographs are in `images/`; a line a box: the number of
its class, then centre x, centre y, width and height in shares of the picture. A photograph without a text, or with an
empty one, has no face. COCO: one JSON with `images`, `annotations` (`bbox`: x, y, width, height in pixels) and
`categories`. Which class is the face is told, not guessed; COCO's marks of crowds are no faces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.datasets.images import list_keys
from facepipe.errors import DataError, did_you_mean
from facepipe.store.files import read_foreign_json
from facepipe.train.detection.box_set import BoxSet, Stated, set_of
from facepipe.train.detection.boxed import without_landmarks


def open_yolo(folder: Path, *, face: int = 0) -> BoxSet:
    """The photographs below `folder`, or below its `images/`, with their texts.

    Args:
        face: the number of the class that is a face.

    Raises:
        DataError: no photograph has a text, a line has another form, or no box is left.
    """
    root = folder / "images" if (folder / "images").is_dir() else folder
    beside = folder / "labels" if root != folder and (folder / "labels").is_dir() else root
    stated, texts = [], 0
    for key in list_keys(root):
        path = (beside / key).with_suffix(".txt")
        texts += path.is_file()
        faces = without_landmarks(_yolo_boxes(path, face))
        places = [f"{path.name}, face {row + 1}" for row in range(len(faces))]
        stated.append(Stated(key, faces, places, shares=True))
    if not texts:
        raise DataError(f"{beside}: no photograph of {root} has a text here, expected YOLO's labels (a.txt for a.jpg).")
    return set_of(root, stated, beside)


def open_coco(annotations: Path, photographs: Path, *, face: str = "face") -> BoxSet:
    """The photographs that a COCO file names, in its order.

    Args:
        face: the name of the category that is a face.

    Raises:
        DataError: the file has another form, names a photograph twice or one that is not there, or a box belongs to no
            photograph of it; or no box is left.
    """
    body = read_foreign_json(annotations)
    try:
        names = {one["id"]: str(one["file_name"]) for one in body["images"]}
        sizes = {one["id"]: _size(one) for one in body["images"]}
        categories = {str(one["name"]): one["id"] for one in body["categories"]}
        entries = [one for one in body["annotations"] if not one.get("iscrowd")]
        count = len(body["images"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{annotations}: has another form ({type(error).__name__}: {error}), expected COCO's images, annotations "
            "and categories."
        ) from error
    if len(set(names.values())) < count:
        raise DataError(f"{annotations}: names a photograph or an id twice, expected each once.")
    if face not in categories:
        told = ", ".join(sorted(categories)) or "none"
        raise DataError(f"{annotations}: has no category '{face}' ({told}).", did_you_mean(face, categories))
    boxes: dict[object, list[list[float]]] = {one: [] for one in names}
    for place, entry in enumerate(entries):
        where = f"{annotations}, annotation {entry.get('id', place)}"
        if entry.get("category_id") == categories[face]:
            if entry.get("image_id") not in names:
                raise DataError(f"{where}: belongs to no photograph of the file, expected one.")
            x, y, width, height = _box(entry.get("bbox"), where)
            boxes[entry["image_id"]].append([x, y, x + width, y + height])
    stated = []
    for one, name in names.items():
        if Path(name).is_absolute() or ".." in Path(name).parts or not (photographs / name).is_file():
            raise DataError(f"{photographs}: {name} is not there, but {annotations} names it, expected the photograph.")
        faces = without_landmarks(np.array(boxes[one], np.float64).reshape(-1, 4))
        places = [f"{name}, face {row + 1}" for row in range(len(faces))]
        stated.append(Stated(name, faces, places, sizes[one]))
    return set_of(photographs, stated, annotations)


def _yolo_boxes(path: Path, face: int) -> np.ndarray:
    """Corners in shares, float64 [N, 4]; none where there is no text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: it cannot be read as text ({error}).") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        if len(words) < 5 or not words[0].isdigit():
            raise DataError(f"{where}: is '{line[:60]}', expected 'class x y width height'.")
        if int(words[0]) == face:
            x, y, width, height = _box(words[1:5], where)
            rows.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    if any(abs(number) > 2 for row in rows for number in row):
        raise DataError(f"{path}: has numbers far above 1, expected shares of the picture.")
    return np.array(rows, np.float64).reshape(-1, 4)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) where the file states both, as COCO's own does."""
    height, width = int(image.get("height") or 0), int(image.get("width") or 0)
    return (height, width) if height > 0 and width > 0 else None


def _box(numbers: Any, where: str) -> list[float]:
    try:
        box = [float(number) for number in numbers]
    except (TypeError, ValueError):
        box = []
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise DataError(f"{where}: its box is {str(numbers)[:60]}, expected four numbers.")
    return box
