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
    """Photographs with boxes. `open_wider`, `open_voc` and those of `own_boxes` make one.

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


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """A photograph as its labels have it, before its file was looked at.

    Attributes:
        key: its path below the folder.
        faces: as the labels have them.
        places: of each face, for what is told of it.
        size: (height, width) of the picture that the boxes are of; None: of the file itself.
        shares: boxes are in shares of the picture, 0..1, and not in pixels.
    """

    key: str
    faces: Faces
    places: Sequence[str]
    size: tuple[int, int] | None = None
    shares: bool = False


def open_wider(labels: Path, photographs: Path) -> BoxSet:
    """The photographs that a label file names (`wider_labels`), in its order.

    Raises:
        DataError: as `read_labels` and `found_files`; a file has not the shape of its original; no box is left.
    """
    listed = read_labels(labels)
    files = found_files(photographs, listed, labels)
    stated = [
        Stated(files[one.name], _faces(one), [f"line {label.line}" for label in one.faces], one.size) for one in listed
    ]
    return set_of(photographs, stated, labels)


def open_voc(folder: Path, name: str = "trainval", *, first_pixel: int = 0) -> BoxSet:
    """The photographs of one list of a folder in Pascal VOC's form.

    Args:
        first_pixel: number of the first column and row in its files: 0, or Pascal's own 1.

    Raises:
        DataError: as `read_list` and `read_annotation`; a photograph is not there; no box is left.
    """
    stated = []
    for one in read_list(folder, name):
        path = folder / IMAGES / f"{one}.jpg"
        if not path.is_file():
            raise DataError(f"{path}: is not there, but {name}.txt names {one}, expected its photograph.")
        faces = read_annotation(folder / ANNOTATIONS / f"{one}.xml", first_pixel=first_pixel)
        stated.append(Stated(path.name, faces, [f"{one}.xml, face {row + 1}" for row in range(len(faces))]))
    return set_of(folder / IMAGES, stated, folder / ANNOTATIONS)


def set_of(root: Path, stated: Sequence[Stated], where: Path) -> BoxSet:
    """The set of photographs below `root`, each box in pixels of its file; `where` names the labels in what is told.

    Raises:
        DataError: a file is no copy of an original of the stated size, or no box is left.
    """
    keys, faces, faults = [], [], []
    for one in stated:
        try:
            height, width = read_size(root / one.key)
        except DataError:
            faults.append((one.key, UNREADABLE))
            continue
        scale = scale_of(root / one.key, one.size, (height, width))
        to_pixels = np.array([width, height] if one.shares else [scale, scale], np.float64)
        boxes = (one.faces.boxes.reshape(-1, 2, 2) * to_pixels).reshape(-1, 4)
        moved = Faces(boxes, one.faces.landmarks * to_pixels, one.faces.known)
        kept, wrong = usable(moved, height, width)
        keys.append(one.key)
        faces.append(kept)
        faults += [(one.places[row], what) for row, what in wrong]
    return _set(root, keys, faces, where, faults)


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


def scale_of(path: Path, original: tuple[int, int] | None, size: tuple[int, int]) -> float:
    """Pixels of the file, of that (height, width), for one of the original; 1 where nothing is said of that.

    Raises:
        DataError: it is no smaller or larger copy of an original of the stated size.
    """
    if original is None:
        return 1.0
    (height, width), (high, wide) = size, original
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


def _faces(photograph: Labelled) -> Faces:
    boxes = np.array([label.box for label in photograph.faces], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    points = [label.points or ((-1.0, -1.0),) * 5 for label in photograph.faces]
    known = np.array([label.points is not None for label in photograph.faces], bool)
    return Faces(boxes, np.array(points, np.float64).reshape(-1, 5, 2), known)


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
