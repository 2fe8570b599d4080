# SPDX-License-Identifier: Apache-2.0
"""Photographs with boxes to train a detector on, whatever form they lie in.

A set knows its keys, faces and sizes when it is opened; a picture is decoded when it is asked for. What is wrong with a
box is told then, with its place, and the box is left out; what is wrong with a list (a photograph that it names twice,
or that is not there) is an error. The file of a photograph may be smaller than the original that its boxes are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from facepipe.datasets.images import list_keys, read, read_size
from facepipe.errors import DataError
from facepipe.train.data.face_set import digest_of, named, stamp
from facepipe.train.detection.boxed import Faces
from facepipe.train.detection.voc import ANNOTATIONS, IMAGES, read_annotation, read_list
from facepipe.train.detection.wider_labels import Labelled, read_labels

NEGATIVE, NO_AREA = "a box of negative size", "a box of no area"
OUTSIDE, UNREADABLE = "a box outside its picture", "a photograph that cannot be read"


@dataclass(frozen=True, slots=True, eq=False)
class BoxSet:
    """Photographs with boxes. `open_wider` and `open_voc` make one.

    Attributes:
        path: the folder of photographs.
        keys: N paths below it, in the set's own order.
        faces: of each photograph, in pixels of its file, cut at its edges. A photograph may have none.
        digest: of keys, faces and what the files are (sizes and times), in hex.
        notes: what a user has to know: boxes that were left out, and why.
    """

    path: Path
    keys: Sequence[str] = field(repr=False)
    faces: Sequence[Faces] = field(repr=False)
    digest: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def picture(self, index: int) -> np.ndarray:
        """The photograph, uint8 [H, W, 3] RGB.

        Raises:
            DataError: it cannot be read whole; it is named.
        """
        return read(self.path / self.keys[index])


def open_wider(labels: Path, photographs: Path) -> BoxSet:
    """The photographs that a label file names (`wider_labels`), in its order.

    Raises:
        DataError: as `read_labels` and `found_files`; a file has not the shape of its original; no box is left.
    """
    listed = read_labels(labels)
    files = found_files(photographs, listed, labels)
    keys, faces, faults = [], [], []
    for photograph in listed:
        key = files[photograph.name]
        size = _size(photographs / key)
        if isinstance(size, str):
            faults.append((key, size))
            continue
        kept, wrong = usable(_faces(photograph, scale_of(photographs / key, photograph, size)), *size)
        keys.append(key)
        faces.append(kept)
        faults += [(f"line {photograph.faces[row].line}", what) for row, what in wrong]
    return _set(photographs, keys, faces, labels, faults)


def open_voc(folder: Path, name: str = "trainval", *, first_pixel: int = 0) -> BoxSet:
    """The photographs of one list of a folder in Pascal VOC's form.

    Args:
        first_pixel: number of the first column and row in its files: 0, or Pascal's own 1.

    Raises:
        DataError: as `read_list` and `read_annotation`; a photograph is not there; no box is left.
    """
    keys, faces, faults = [], [], []
    for one in read_list(folder, name):
        path = folder / IMAGES / f"{one}.jpg"
        if not path.is_file():
            raise DataError(f"{path}: is not there, but {name}.txt names {one}, expected its photograph.")
        stated = read_annotation(folder / ANNOTATIONS / f"{one}.xml", first_pixel=first_pixel)
        size = _size(path)
        if isinstance(size, str):
            faults.append((path.name, size))
            continue
        kept, wrong = usable(stated, *size)
        keys.append(path.name)
        faces.append(kept)
        faults += [(f"{one}.xml, face {row + 1}", what) for row, what in wrong]
    return _set(folder / IMAGES, keys, faces, folder / ANNOTATIONS, faults)


def found_files(root: Path, listed: Iterable[Labelled], labels: Path) -> dict[str, str]:
    """Name in the list to the photograph's path below `root`. The suffix may be another: copies are often WebP.

    Raises:
        DataError: a named photograph is not there, two files are one, or two names are one file.
    """
    by_stem: dict[str, list[str]] = {}
    for key in list_keys(root):
        by_stem.setdefault(_stem(key), []).append(key)
    found: dict[str, str] = {}
    absent = []
    for photograph in listed:
        keys = by_stem.get(_stem(photograph.name), [])
        exact = [key for key in keys if key == photograph.name]
        if len(exact or keys) > 1:
            raise DataError(f"{root}: {keys[0]} and {keys[1]} are both {photograph.name}, expected one of them.")
        if not keys:
            absent.append(photograph.name)
        else:
            found[photograph.name] = (exact or keys)[0]
    if absent:
        raise DataError(
            f"{root}: {len(absent):,} photographs that {labels} names are not there ({named(absent)}), "
            "expected them all.",
            "the folder that holds the events' folders; or take those lines out of the labels.",
        )
    if len(set(found.values())) < len(found):
        twice = next(name for name, key in found.items() if key != name and key in found)
        raise DataError(f"{labels}: {twice} and {found[twice]} are one file, expected each photograph once.")
    return found


def scale_of(path: Path, photograph: Labelled, size: tuple[int, int]) -> float:
    """Pixels of the file, of that (height, width), for one of the original.

    Raises:
        DataError: it is no smaller or larger copy of an original of the stated size.
    """
    height, width = size
    if photograph.size is None:
        return 1.0
    high, wide = photograph.size
    scale = max(height, width) / max(high, wide)
    if abs(height - high * scale) > 1 or abs(width - wide * scale) > 1:
        raise DataError(f"{path}: has {width}x{height} pixels, expected the shape of {wide}x{high}, as its labels say.")
    return scale


def usable(faces: Faces, height: int, width: int) -> tuple[Faces, list[tuple[int, str]]]:
    """Faces cut at the edges of their picture, without those that are none; and (row, what is wrong) of these."""
    x1, y1, x2, y2 = faces.boxes.T
    wrong = np.select(
        [(x2 < x1) | (y2 < y1), (x2 == x1) | (y2 == y1), (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)],
        [NEGATIVE, NO_AREA, OUTSIDE],
        "",
    )
    kept = faces.at(wrong == "")
    boxes = np.clip(kept.boxes, 0, [width, height, width, height])
    return Faces(boxes, kept.landmarks, kept.known), [
        (int(row), str(wrong[row])) for row in np.flatnonzero(wrong != "")
    ]


def fault_notes(faults: Sequence[tuple[str, str]], where: Path) -> tuple[str, ...]:
    """What is to be told of (place, fault)s, a line for each kind."""
    kinds = dict.fromkeys(what for _, what in faults)
    places = {kind: [place for place, what in faults if what == kind] for kind in kinds}
    return tuple(f"{where.name}: {kind}: {len(at):,} left out ({named(at)})" for kind, at in places.items())


def _size(path: Path) -> tuple[int, int] | str:
    """(height, width) of a photograph, or what is wrong: the first bytes are no photograph's."""
    try:
        return read_size(path)
    except DataError:
        return UNREADABLE


def _faces(photograph: Labelled, scale: float) -> Faces:
    boxes = np.array([label.box for label in photograph.faces], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    points = [label.points or ((-1.0, -1.0),) * 5 for label in photograph.faces]
    known = np.array([label.points is not None for label in photograph.faces], bool)
    return Faces(boxes * scale, np.array(points, np.float64).reshape(-1, 5, 2) * scale, known)


def _set(root: Path, keys: list[str], faces: list[Faces], where: Path, faults: Sequence[tuple[str, str]]) -> BoxSet:
    notes = fault_notes(faults, where)
    if not any(map(len, faces)):
        told = f" ({'; '.join(notes)})" if notes else ""
        raise DataError(f"{where}: no photograph has a box to learn from{told}, expected some.")
    parts: list[str | bytes] = []
    for key, one in zip(keys, faces, strict=True):
        parts += [f"{key} {stamp(root / key, f'{root}: {key}')}", one.boxes.tobytes()]
        parts += [one.landmarks[one.known].tobytes(), one.known.tobytes()]
    return BoxSet(root, tuple(keys), tuple(faces), digest_of("boxes", parts), notes)


def _stem(key: str) -> str:
    return PurePosixPath(key).with_suffix("").as_posix()
