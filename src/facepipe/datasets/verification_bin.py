# SPDX-License-Identifier: Apache-2.0
"""Verification sets in insightface's `.bin` form: lfw, cfp_fp, agedb_30, and those that are built here.

The file is one pickle of a tuple (or list) of two lists: 2P encoded pictures, and P booleans. Pictures 2i and 2i + 1
are pair i. Folds are not in the file: they are P pairs cut into ten runs, unshuffled, as insightface scores them.
Such files come from anywhere, so they are read by `restricted_pickle`, which executes nothing.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facepipe.datasets.images import decode
from facepipe.datasets.lfw import Pair, VerificationSet
from facepipe.datasets.restricted_pickle import PLAIN, read_pickle
from facepipe.errors import DataError

FOLDS = 10


def _silent(done: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedSet:
    """A verification set with its pictures inside.

    Attributes:
        name: the file's name without ".bin".
        images: 2P encoded pictures; one picture that is in several pairs is there as often.
        same: bool [P].
    """

    name: str
    images: tuple[bytes, ...]
    same: np.ndarray

    def keys(self) -> tuple[str, ...]:
        """A key for each of the 2P places: six digits, the place where the same bytes first stand."""
        # A picture that is in several pairs is one object where the file says so: each object is hashed once.
        digests = {id(image): hashlib.sha256(image).digest() for image in {id(i): i for i in self.images}.values()}
        first: dict[bytes, int] = {}
        return tuple(f"{first.setdefault(digests[id(image)], place):06d}" for place, image in enumerate(self.images))

    def verification_set(self, folds: int = FOLDS) -> VerificationSet:
        """The pairs by key, in the file's order, cut into `folds` runs; the first P % folds runs are one longer."""
        keys = self.keys()
        fold_of = np.repeat(np.arange(folds), [len(run) for run in np.array_split(self.same, folds)])
        pairs = tuple(
            Pair(keys[2 * i], keys[2 * i + 1], bool(same), int(fold_of[i])) for i, same in enumerate(self.same)
        )
        return VerificationSet(self.name, pairs, folds)


def read_verification_bin(path: Path) -> PackedSet:
    """The set in `path`. Pictures stay encoded; `decode_face` opens one.

    Raises:
        DataError: the file cannot be read, names a class or function, or is no list of pictures and list of booleans.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), expected a verification set.") from error
    value = read_pickle(content, str(path), ("tuple", *PLAIN))
    form = "expected two lists: the pictures as bytes, and one boolean for each pair of them"
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(type(part) is list for part in value):
        raise DataError(f"{path}: it holds another value, {form}.")
    images, same = value
    if not all(type(image) is bytes for image in images) or not all(answer in (0, 1) for answer in same):
        raise DataError(f"{path}: its lists hold other values, {form}.")
    if not same or len(images) != 2 * len(same):
        raise DataError(f"{path}: {len(images):,} pictures for {len(same):,} pairs, expected two for each.")
    return PackedSet(path.stem, tuple(images), np.array(same, np.bool_))


def verification_bin(images: Iterable[bytes], same: Iterable[bool]) -> bytes:
    """A set as the bytes of a `.bin`: a pickle that every Python 3 reads.

    Args:
        images: 2P encoded pictures, pair by pair.
        same: P answers.
    """
    pictures, answers = list(images), [bool(answer) for answer in same]
    assert len(pictures) == 2 * len(answers), f"{len(pictures)} pictures for {len(answers)} pairs"
    return pickle.dumps((pictures, answers), protocol=4)


def pack_folder(root: Path, pairs: VerificationSet, progress: Callable[[int], None] = _silent) -> bytes:
    """The pictures of `root` that `pairs` names, byte for byte, as the bytes of a `.bin`.

    Args:
        root: folder that the pairs' keys are relative to; faces in it are already cut out and aligned.
        progress: called with 1 for each pair.

    Raises:
        DataError: a picture is missing or no picture, or the pairs are not in the order of ten even folds, which is
            all that the form can hold.
    """
    expected = [len(run) for run in np.array_split(np.empty(len(pairs.pairs)), FOLDS)]
    found = [sum(pair.fold == fold for pair in pairs.pairs) for fold in range(FOLDS)]
    ordered = all(a.fold <= b.fold for a, b in zip(pairs.pairs, pairs.pairs[1:], strict=False))
    if pairs.folds != FOLDS or expected != found or not ordered:
        raise DataError(
            f"{pairs.name}: {pairs.folds} folds of {found} pairs, expected {FOLDS} folds of {expected} in order: "
            "a .bin holds no folds, and its readers cut it into ten."
        )
    contents: dict[str, bytes] = {}
    images: list[bytes] = []
    for pair in pairs.pairs:
        for key in (pair.first, pair.second):
            if key not in contents:
                contents[key] = _picture(root / key)
            images.append(contents[key])
        progress(1)
    return verification_bin(images, [pair.same for pair in pairs.pairs])


def decode_face(content: bytes, where: str, size: int) -> np.ndarray:
    """An encoded face as uint8 [size, size, 3] RGB; stretched (bicubic) where it has another size.

    Raises:
        DataError: the bytes are no picture.
    """
    face = decode(content, where)
    if face.shape == (size, size, 3):
        return face
    return np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BICUBIC))


def _picture(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be opened ({error.strerror}), expected a picture that the pairs name."
        ) from error
    decode(content, str(path))
    return content
