# SPDX-License-Identifier: Apache-2.0
"""The Paddle port's training data: `label.txt`, whose lines are a path, a tab and a number of a person.

A path that ends in `.bin` is a record of `datasets.image_records`; any other one is a picture's file, as the port reads
them where records are not asked for.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from facepipe.datasets.image_records import MAX_KEY, read_labels, record_from_bytes
from facepipe.errors import DataError
from facepipe.train.data.face_set import (
    MAX_CONTENT,
    FaceSet,
    Numbered,
    bounded,
    class_notes,
    digest_of,
    number_of,
    stamp,
)

LABELS = "label.txt"
_AROUND = 8 + MAX_KEY + 64  # bytes of a record beside its picture: lengths, key, the pickle's own


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """From a place to the bytes of the picture in the file."""

    root: Path
    keys: tuple[str, ...]

    def __call__(self, index: int) -> bytes:
        key = self.keys[index]
        where = f"{self.root}: {key}"
        if not key.endswith(".bin"):
            return bounded(self.root / key, where)
        return record_from_bytes(bounded(self.root / key, where, MAX_CONTENT + _AROUND), where).content


def open_labelled(labels_file: Path, side: int, classes: int | None = None) -> FaceSet:
    """The pictures that a label file names, in its order; paths are relative to its folder.

    Args:
        classes: how many people there are; None: as many as the largest label asks for.

    Raises:
        DataError: the file has another form, names a file twice or one that is not there, or a label is outside the
            range.
    """
    root = labels_file.parent
    found: dict[str, int] = {}
    for path, label in read_labels(labels_file):
        key = posixpath.normpath(path.replace("\\", "/"))
        if key in found:
            raise DataError(f"{labels_file}: '{path}' stands there twice, expected each picture once.")
        found[key] = number_of(label, f"{labels_file}: {path}", classes)
    keys, labels = tuple(found), np.array(list(found.values()), np.int64)
    people = Numbered(classes or int(labels.max()) + 1)
    files = (f"{key} {stamp(root / key, f'{root}: {key}')}" for key in keys)
    digest = digest_of(f"labelled {len(people)}", (labels.tobytes(), *files))
    again = partial(open_labelled, labels_file, side, classes)
    notes = class_notes(labels, people)
    return FaceSet(root, side, keys, labels, people, digest, RecordFiles(root, keys), again, notes)
