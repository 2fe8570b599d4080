# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE to Pascal VOC's folders, by the rule of UltraFace's `data/wider_face_2_voc_add_landmark.py`.

A face counts when both its sides have 10 pixels of the original, cut to whole numbers; the others are painted over in
RetinaFace's mean colour, so that they are neither faces nor background. That program paints anew for every line, so
that the last line's paint alone stays: `seed_paint` is that. A photograph of which no face counts is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.datasets.crops import photograph_jpeg
from facepipe.datasets.images import read
from facepipe.errors import DataError
from facepipe.runs.faces_run import Progress, silent
from facepipe.store.files import write_bytes, write_text
from facepipe.store.owned import claim, require_free
from facepipe.train.detection.box_set import NEGATIVE, NO_AREA, fault_notes, found_files, scale_of
from facepipe.train.detection.voc import ANNOTATIONS, IMAGES, LISTS, VocFace, annotation
from facepipe.train.detection.wider_labels import Label, Labelled, read_labels

LEAST = 10
_PAINT = (123, 117, 104)  # RGB


@dataclass(frozen=True, slots=True)
class WiderVoc:
    """What was written.

    Attributes:
        photographs: those with a face that counts.
        faces: that count.
        painted: faces that were painted over.
        without: names of photographs of which no face counts.
        damaged: (name, reason) of those that cannot be read.
        notes: what is wrong with boxes, a line a kind.
    """

    photographs: int
    faces: int
    painted: int
    without: tuple[str, ...]
    damaged: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def write_wider_voc(
    labels: Path,
    photographs: Path,
    out: Path,
    name: str,
    *,
    least: int = LEAST,
    seed_paint: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> WiderVoc:
    """Write JPEGImages, Annotations and the list of one label file; the list comes last, so a kill leaves none.

    Args:
        name: of the list: `trainval` or `test`. Another call may add the other to the same folder.
        least: pixels of the original that both sides of a face need.
        seed_paint: paint the last line of a photograph alone, where it is a small face.

    Raises:
        DataError: as `read_labels`, `found_files` and `scale_of`; two photographs get one name; no face counts.
        StageError: `out` holds what is not ours, or the list is there.
    """
    listed = read_labels(labels)
    files = found_files(photographs, listed, labels)
    names = _flat_names(listed, labels)
    target = out / LISTS / f"{name}.txt"
    claim(out)
    require_free([target], overwrite)
    if target.exists() and not overwrite:
        raise DataError(f"{target}: is there already, expected no such list.", "--overwrite, or --list with another.")
    written, counted, painted = [], 0, 0
    without, damaged, faults = [], [], []
    for photograph in listed:
        kept, small, wrong = sorted_out(photograph, least)
        faults += [(f"line {label.line}", what) for label, what in wrong]
        if kept:
            try:
                picture = read(photographs / files[photograph.name])
            except DataError as error:
                damaged.append((photograph.name, error.what))
                progress(1)
                continue
            stem, (height, width) = names[photograph.name], picture.shape[:2]
            scale = scale_of(photographs / files[photograph.name], photograph.size, (height, width))
            small = [label for label in small if label is photograph.faces[-1]] if seed_paint else small
            content = photograph_jpeg(painted_over(picture, small, scale))
            write_bytes(out / IMAGES / f"{stem}.jpg", content, overwrite=overwrite)
            faces = [voc_face(label, photograph.with_points, scale) for label in kept]
            write_text(
                out / ANNOTATIONS / f"{stem}.xml", annotation(f"{stem}.jpg", height, width, faces), overwrite=overwrite
            )
            written.append(stem)
            counted, painted = counted + len(kept), painted + len(small)
        else:
            without.append(photograph.name)
        progress(1)
    if not written:
        raise DataError(f"{labels}: no face has {least} pixels on a photograph that can be read, expected some.")
    write_text(target, "".join(f"{stem}\n" for stem in written), overwrite=overwrite)
    notes = fault_notes(faults, labels)
    return WiderVoc(len(written), counted, painted, tuple(without), tuple(damaged), notes)


def sorted_out(photograph: Labelled, least: int = LEAST) -> tuple[list[Label], list[Label], list[tuple[Label, str]]]:
    """(faces that count, faces too small, (faces without area, what is wrong)), each in the file's order."""
    kept: list[Label] = []
    small: list[Label] = []
    wrong: list[tuple[Label, str]] = []
    for label in photograph.faces:
        width, height = (int(side) for side in label.box[2:])
        if width <= 0 or height <= 0:
            wrong.append((label, NEGATIVE if min(label.box[2:]) < 0 else NO_AREA))
        else:
            (kept if min(width, height) >= least else small).append(label)
    return kept, small, wrong


def voc_face(label: Label, with_points: bool, scale: float = 1.0) -> VocFace:
    """A face as the XML states it: whole pixels of the original, or shares of those where the file is another size."""
    x, y, width, height = (int(number) for number in label.box)
    corners = (x, y, x + width, y + height)
    points = tuple(number for point in label.points or () for number in point)
    if scale != 1:
        corners = tuple(round(corner * scale, 3) for corner in corners)  # type: ignore[assignment]
        points = tuple(round(number * scale, 3) for number in points)
    has = label.points is not None if with_points else None
    return VocFace(corners, has, points, label.visible, label.blur)


def painted_over(picture: np.ndarray, small: Sequence[Label], scale: float) -> np.ndarray:
    """The picture with those faces under paint, a new array where there are any; every pixel that a box touches."""
    picture = picture.copy() if small else picture
    for label in small:
        x, y, width, height = (int(number) for number in label.box)
        left, top = (max(int(np.floor(edge * scale)), 0) for edge in (x, y))
        right, bottom = (max(int(np.ceil(edge * scale)), 0) for edge in (x + width, y + height))
        picture[top:bottom, left:right] = _PAINT
    return picture


def _flat_names(listed: Sequence[Labelled], labels: Path) -> dict[str, str]:
    """Name in the list to that of its files: folders become parts of it."""
    flat: dict[str, str] = {}
    for photograph in listed:
        stem = photograph.name.rpartition(".")[0].replace("/", "_")
        if not stem:
            raise DataError(f"{labels}: '{photograph.name}' has no suffix, expected a photograph's name.")
        if stem in flat:
            raise DataError(f"{labels}: {flat[stem]} and {photograph.name} both become {stem}, expected two names.")
        flat[stem] = photograph.name
    return {name: stem for stem, name in flat.items()}
