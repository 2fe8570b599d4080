# SPDX-License-Identifier: Apache-2.0
"""Sets of aligned faces with the person of each, in the forms that they come in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from facepipe.datasets.images import size_or_reason
from facepipe.errors import DataError
from facepipe.results import Unread
from facepipe.store.files import lacking
from facepipe.train.data.face_set import SIDE, FaceSet
from facepipe.train.data.folders import open_folders
from facepipe.train.data.labelled import LABELS, open_labelled
from facepipe.train.data.packed import SUFFIX, open_packed
from facepipe.train.data.recordio import RECORDS, open_recordio

__all__ = ["FaceSet", "open_set"]

_LOOKED_AT = 9


def open_set(path: Path, *, side: int = SIDE, classes: int | None = None) -> FaceSet:
    """The faces at `path`, whatever form lies there; no picture is decoded yet.

    - a `.faces` file: packed by `facepipe train-data pack`
    - a `.rec` file, or a folder with train.rec: insightface's
    - a `label.txt`, or a folder with one: the Paddle port's
    - any other folder: one folder a person

    Args:
        side: pixels of a face's side; of a packed set its own counts.
        classes: how many people there are, where labels are numbers; None: as many as they ask for.

    Raises:
        DataError: there is no such set, it has another form than it should, or its pictures are no aligned faces.
    """
    if path.suffix == SUFFIX and path.is_file():
        return open_packed(path)
    if not path.is_dir() and not (path.is_file() and path.suffix in (".rec", ".txt")):
        raise DataError(
            f"{path}: {lacking(path, 'set')}, expected a folder of people, one with {RECORDS} or {LABELS}, or a "
            f"{SUFFIX} file."
        )
    faces = _opened(path, side, classes)
    _refuse_unaligned(faces)
    return faces


def _opened(path: Path, side: int, classes: int | None) -> FaceSet:
    records = path / RECORDS if path.is_dir() else path
    labels = path / LABELS if path.is_dir() else path
    if records.suffix == ".rec" and records.is_file():
        return open_recordio(records, side, classes)
    return open_labelled(labels, side, classes) if labels.is_file() else open_folders(path, side)


def _refuse_unaligned(faces: FaceSet) -> None:
    """Refuse photographs that are none of faces cut out and aligned: each would be told of, and none be learnt from.

    A few are looked at, from all over the set. What cannot be read is no reason: it is left out when its turn comes.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for index in sorted({place * (len(faces) - 1) // (_LOOKED_AT - 1) for place in range(_LOOKED_AT)}):
        try:
            size = size_or_reason(faces.content(index))
        except DataError:  # told when it is trained on, or packed
            continue
        if not isinstance(size, Unread):
            sizes[size] += 1
    if sizes and (faces.side, faces.side) not in sizes:
        (height, width), _ = sizes.most_common(1)[0]
        raise DataError(
            f"{faces.path}: its pictures have {width}x{height} pixels, expected aligned faces of "
            f"{faces.side}x{faces.side}.",
            f"`facepipe train-data align {faces.path} --out FOLDER`.",
        )
