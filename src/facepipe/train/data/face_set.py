# SPDX-License-Identifier: Apache-2.0
"""What every training set is, whatever form it lies in: aligned faces with a number of a person each.

A set knows its keys, labels and people when it is opened; of the pictures it knows nothing until one is asked for. So a
damaged picture is an error of that picture, which names it. A set crosses to a loader's process as its path: it is
opened again there, and refused if it is another by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facepipe.datasets.images import Decoded, decode_or_reason, size_or_reason
from facepipe.errors import DataError
from facepipe.results import Unread

SIDE = 112
"""Pixels of a face's side: what every recogniser that is trained here takes."""

MAX_CONTENT = 1 << 24
"""Bytes of the largest picture of a face that is read; 2,300 pixels of a side without compression."""

MAX_CLASSES = 1 << 24
"""Labels are below this: `train.rec` holds them as float32, which counts no further."""

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One face of a set: its place, its key and the number of its person."""

    index: int
    key: str
    label: int


@dataclass(frozen=True, slots=True)
class Numbered(Sequence[str]):
    """The names "0", "1", ... of people, or of pictures, who have numbers alone. None of them is held."""

    size: int
    first: int = 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        numbers = range(self.first, self.first + self.size)[index]
        return [str(number) for number in numbers] if isinstance(numbers, range) else str(numbers)


@dataclass(frozen=True, slots=True, eq=False)
class FaceSet:
    """Faces to train on. `open_set` makes one.

    Attributes:
        path: where it lies.
        side: pixels of a face's side.
        keys: N names, each once, in the set's own order.
        labels: int64 [N]: the place of each face's person in `classes`.
        classes: the people's names.
        digest: of keys, labels and what the pictures are, in hex; the same wherever the set is mounted.
        content: from an index to the encoded picture's bytes; raises DataError that names the sample.
        again: opens it in another process.
        notes: what a user has to know: people with one photograph or none.
    """

    path: Path
    side: int
    keys: Sequence[str] = field(repr=False)
    labels: np.ndarray = field(repr=False)
    classes: Sequence[str] = field(repr=False)
    digest: str
    content: Callable[[int], bytes] = field(repr=False)
    again: Callable[[], FaceSet] = field(repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, index: int) -> Sample:
        """The sample at a place."""
        return Sample(index, self.keys[index], int(self.labels[index]))

    def picture(self, index: int) -> np.ndarray:
        """The face, uint8 [side, side, 3] RGB.

        Raises:
            DataError: it cannot be read whole, or has another size; the sample is named.
        """
        face = face_or_reason(self.content(index), self.side)
        if isinstance(face, Unread):
            raise DataError(f"{self.path}: {self.keys[index]}: {face.reason}.")
        return face

    def __reduce__(self) -> tuple[Callable[..., FaceSet], tuple[object, ...]]:
        return _opened_again, (self.again, self.digest)


def face_or_reason(content: bytes, side: int) -> np.ndarray | Unread:
    """An encoded face as uint8 [side, side, 3] RGB; or why it is none: no whole picture, or one of another size.

    What has more pixels than a face is not decoded.
    """
    decoded = decode_or_reason(content, side * side)
    if isinstance(decoded, Decoded) and decoded.pixels.shape == (side, side, 3):
        return decoded.pixels
    size = size_or_reason(content)
    if isinstance(size, tuple) and size != (side, side):
        return Unread(f"has {size[1]}x{size[0]} pixels, expected {side}x{side}, an aligned face")
    assert isinstance(decoded, Unread), "a picture of the right size that was decoded has it"
    return decoded


def bounded(path: Path, where: str, most: int = MAX_CONTENT) -> bytes:
    """The content of a file that is one picture.

    Raises:
        DataError: it cannot be read, or is larger than any picture of a face.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror or error}).") from error
    if len(content) > most:
        raise DataError(f"{where}: has more than {most:,} bytes, expected the picture of a face.")
    return content


def number_of(label: str, where: str, classes: int | None) -> int:
    """A label that was read as text.

    Raises:
        DataError: it is no whole number, or outside the range.
    """
    if not (label.isascii() and label.isdigit()) or len(label) > 9:
        raise DataError(f"{where}: the label is '{label[:20]}', expected a person's number, from 0.")
    return in_range(int(label), where, classes)


def in_range(label: int, where: str, classes: int | None) -> int:
    """The label.

    Args:
        classes: how many people there are; None where nothing tells.

    Raises:
        DataError: it is outside the range.
    """
    if not 0 <= label < (classes or MAX_CLASSES):
        told = f"{classes:,} people are told" if classes else "no set has more people"
        raise DataError(f"{where}: the label is {label}, expected 0 to {(classes or MAX_CLASSES) - 1} ({told}).")
    return label


def class_notes(labels: np.ndarray, classes: Sequence[str]) -> tuple[str, ...]:
    """What is to be told of people with one photograph (they are kept: a person without a pair still is another than
    everybody else) and of numbers without any (the network gets a centre for them that nothing pulls)."""
    counts = np.bincount(labels, minlength=len(classes))
    alone, empty = np.flatnonzero(counts == 1), np.flatnonzero(counts == 0)
    told = [
        (alone, "with one photograph alone, kept: it has no other of the same person to come near to"),
        (empty, "without any photograph, kept: the number has a place among the classes"),
    ]
    return tuple(
        f"{len(of):,} {'person' if len(of) == 1 else 'people'} {what} ({named([classes[one] for one in of[:4]])})"
        for of, what in told
        if len(of)
    )


def named(names: Sequence[str]) -> str:
    """The first few names, and that there are more."""
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


def digest_of(form: str, parts: Iterable[str | bytes]) -> str:
    """The digest of a set whose pictures were not read: of its form, its people's names, keys and labels, and what its
    files are (`stamp`)."""
    digest = hashlib.sha256(form.encode())
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\n")
    return digest.hexdigest()


def stamp(path: Path, where: str) -> str:
    """Size and time of a file: what tells cheaply that it is another. Whole seconds, which every mount keeps.

    Raises:
        DataError: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror or error}).") from error
    return f"{status.st_size} {status.st_mtime_ns // 10**9}"


def _opened_again(again: Callable[[], FaceSet], digest: str) -> FaceSet:
    opened = again()
    if opened.digest != digest:
        raise DataError(f"{opened.path}: is another set than it was when the training began, expected the same one.")
    return opened
