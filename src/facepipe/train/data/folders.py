# SPDX-License-Identifier: Apache-2.0
"""A folder of people: one folder a person, in it the aligned faces, in sub-folders as they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from facepipe.datasets.images import list_keys
from facepipe.errors import DataError
from facepipe.train.data.face_set import FaceSet, bounded, class_notes, digest_of, named, stamp


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """From a place to the file's bytes."""

    root: Path
    keys: tuple[str, ...]

    def __call__(self, index: int) -> bytes:
        return bounded(self.root / self.keys[index], f"{self.root}: {self.keys[index]}")


def open_folders(root: Path, side: int) -> FaceSet:
    """The faces below `root`; people are numbered in the order of their folders' names.

    A folder without a photograph is no person, and is told.

    Raises:
        DataError: there is no photograph, one lies in no person's folder, or two people's names differ in case or
            accent's form alone: on another disk they would be one.
    """
    keys = tuple(list_keys(root))
    people = person_of_each(root, keys)
    classes = tuple(sorted(set(people)))
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[name] for name in people], np.int64)
    digest = digest_of("folders", (f"{key} {stamp(root / key, f'{root}: {key}')}" for key in keys))
    notes = (*class_notes(labels, classes), *_empty(root, number))
    again = partial(open_folders, root, side)
    return FaceSet(root, side, keys, labels, classes, digest, PictureFiles(root, keys), again, notes)


def person_of_each(root: Path, keys: Sequence[str]) -> list[str]:
    """The person of each picture below `root`: the first folder of its key.

    Raises:
        DataError: as `open_folders`.
    """
    loose = [key for key in keys if "/" not in key]
    if loose:
        raise DataError(
            f"{root}: {len(loose)} pictures lie in no person's folder (first: {loose[0]}), expected <person>/....",
            "a folder that holds one folder a person, or one with a label.txt.",
        )
    people = [key.partition("/")[0] for key in keys]
    first: dict[str, str] = {}
    for name in sorted(set(people)):
        alike = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if first.setdefault(alike, name) != name:
            raise DataError(
                f"{root}: the folders '{first[alike]}' and '{name}' differ in case or in how an accent is written "
                "alone, expected one folder a person.",
                "put their photographs together, or rename one of two people.",
            )
    return people


def _empty(root: Path, people: dict[str, int]) -> tuple[str, ...]:
    """That folders without any photograph were passed over."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    empty = [name for name in folders if name not in people]
    if not empty:
        return ()
    told = "folder holds" if len(empty) == 1 else "folders hold"
    return (f"{len(empty):,} {told} no photograph, left out ({named(empty)})",)
