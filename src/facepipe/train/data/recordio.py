# SPDX-License-Identifier: Apache-2.0
"""insightface's training sets: `train.rec`, one file of records, and `train.idx`, where each begins.

A record is one or more parts, each at a multiple of four bytes, in little-endian order:

    uint32    0xced7230a
    uint32    3 bits: 0 the whole record, 1 its first part, 2 one in its middle, 3 its last; 29 bits: n, the length
    bytes     n, and zeros up to a multiple of four

A record is cut where its content holds the first number at such a place; the number is left out, and stands between two
parts again when they are joined. The content of a record is

    uint32    flag     float32    label     uint64    id     uint64    id2
    float32   flag of them, further labels
    bytes     the encoded picture

Where flag is above 0 the first of the further labels is the person, else `label`. Record 0 holds no picture: its labels
are n + 1 and m + 1, and the pictures are the records 1 to n. A set whose record 0 has flag 0 has none of that kind; all
its records are pictures. `property`, where it lies beside, says "classes,height,width".

Sources: `recognition/arcface_torch/dataset.py` of insightface for keys and labels; the layout is that of dmlc-core's
`recordio.h` and of MXNet's `recordio.py`.

Nothing in these files is trusted: lengths are held against the file and against the largest picture of a face.
"""

from __future__ import annotations

import math
import os
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from facepipe.errors import DataError
from facepipe.train.data.face_set import (
    MAX_CONTENT,
    FaceSet,
    Numbered,
    class_notes,
    digest_of,
    in_range,
    stamp,
)

RECORDS = "train.rec"
MAGIC = 0xCED7230A
_PART = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_LABEL = struct.Struct("<f")
_LENGTH_BITS = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_MOST_LABELS = 1024  # further labels of one record
_LONGEST_LINE = 36  # of an index: two numbers of 17 digits


class RecordFile:
    """An open `.rec` file: the content of the record at an offset."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.file).st_size

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def content(self, offset: int, where: str, most: int = MAX_CONTENT) -> bytes:
        """The record's content, its parts joined.

        Raises:
            DataError: there is no record at the offset, it is cut, or longer than `most`.
        """
        parts: list[bytes] = []
        total, wanted = 0, (_WHOLE, _FIRST)
        while True:
            kind, length = self._part(offset, where)
            if kind not in wanted:
                raise DataError(f"{where}: a part of kind {kind}, expected {' or '.join(map(str, wanted))}; damaged.")
            total += length + _PART.size // 2
            if total > most + _HEADER.size + 4 * _MOST_LABELS:
                raise DataError(f"{where}: more than {most:,} bytes, expected the picture of a face.")
            part = self._bytes(offset + _PART.size, length)
            if len(part) < length:
                raise DataError(
                    f"{where}: {length:,} bytes from {offset:,} on, and {self.path.name} ends at {self.size:,}, "
                    "expected a whole record."
                )
            parts.append(part)
            if kind in (_WHOLE, _LAST):
                return _PART.pack(MAGIC, 0)[:4].join(parts)
            offset += _PART.size + -(-length // 4) * 4
            wanted = (_MIDDLE, _LAST)

    def head(self, offset: int, where: str) -> bytes:
        """The first bytes of a record's content: the header and a label, where there is one."""
        kind, length = self._part(offset, where)
        if kind == _WHOLE or length >= _HEADER.size + _LABEL.size:
            return self._bytes(offset + _PART.size, min(length, _HEADER.size + _LABEL.size))
        return self.content(offset, where)

    def _part(self, offset: int, where: str) -> tuple[int, int]:
        """The kind and the length of the part at an offset."""
        head = self._bytes(offset, _PART.size)
        if len(head) < _PART.size:
            raise DataError(
                f"{where}: begins at {offset:,}, and {self.path.name} ends at {self.size:,}, expected a whole file.",
                "copy it again, the two files together.",
            )
        magic, told = _PART.unpack(head)
        if magic != MAGIC:
            raise DataError(f"{where}: begins with {magic:#010x} at {offset:,}, expected {MAGIC:#010x}; no record.")
        return told >> _LENGTH_BITS, told & ((1 << _LENGTH_BITS) - 1)

    def _bytes(self, offset: int, count: int) -> bytes:
        return os.pread(self.file, count, offset)  # no position is kept: forked processes may share the file


@dataclass(frozen=True, slots=True, eq=False)
class RecordPictures:
    """From a place to the bytes of the picture in its record."""

    file: RecordFile
    offsets: np.ndarray
    keys: Sequence[str]

    def __call__(self, index: int) -> bytes:
        where = f"{self.file.path}: record {self.keys[index]}"
        content = self.file.content(int(self.offsets[index]), where)
        flag, *_ = _header(content, where)
        return content[_HEADER.size + 4 * flag :]


def open_recordio(path: Path, side: int, classes: int | None = None) -> FaceSet:
    """The set in a `.rec` file, whose index and `property` lie beside it. A picture's key is its record's number.

    Every record's header is read, so that labels are known: some four seconds for a million of them.

    Args:
        classes: how many people there are; None: as `property` says, else as many as the largest label asks for.

    Raises:
        DataError: the index is not there or tells of records that are not; a record does not begin as one; or a label
            is no number of a person.
    """
    index = path.with_suffix(".idx")
    numbers, offsets = _read_index(index)
    file = RecordFile(path)
    classes = classes if classes is not None else _told_classes(path.parent / "property")
    keys, offsets = _pictures(file, numbers, offsets, index)
    labels = np.empty(len(keys), np.int64)
    for place, (key, offset) in enumerate(zip(keys, offsets.tolist(), strict=True)):
        where = f"{path}: record {key}"
        labels[place] = in_range(_label(file.head(offset, where), where), where, classes)
    people = Numbered(classes or int(labels.max()) + 1)
    parts = (f"{path.name} {stamp(path, str(path))}", offsets.tobytes(), labels.tobytes())
    return FaceSet(
        path,
        side,
        keys,
        labels,
        people,
        digest_of(f"recordio {len(people)}", parts),
        RecordPictures(file, offsets, keys),
        partial(open_recordio, path, side, classes),
        class_notes(labels, people),
    )


def _label(head: bytes, where: str) -> int:
    """The person's number in the first bytes of a record."""
    flag, label, *_ = _header(head, where)
    if flag:
        label = _first_label(head, where)
    if not math.isfinite(label) or label != int(label):
        raise DataError(f"{where}: the label is {label:g}, expected a person's number.")
    return int(label)


def _first_label(content: bytes, where: str) -> float:
    if len(content) < _HEADER.size + _LABEL.size:
        raise DataError(f"{where}: ends before its first label, expected one.")
    return float(_LABEL.unpack_from(content, _HEADER.size)[0])


def _header(content: bytes, where: str) -> tuple[int, float, int, int]:
    if len(content) < _HEADER.size:
        raise DataError(f"{where}: {len(content)} bytes, expected a header of {_HEADER.size} and a picture.")
    flag, label, first, second = _HEADER.unpack_from(content)
    if flag > _MOST_LABELS:
        raise DataError(f"{where}: tells of {flag:,} labels, expected at most {_MOST_LABELS:,}; damaged.")
    return flag, label, first, second


def _pictures(
    file: RecordFile, numbers: np.ndarray, offsets: np.ndarray, index: Path
) -> tuple[Sequence[str], np.ndarray]:
    """Keys and offsets of the records that are pictures, of all records in the order of their numbers."""
    if numbers[0] != 0:
        raise DataError(f"{index}: no record 0 in it, expected one that tells which records are pictures.")
    where = f"{file.path}: record 0"
    head = file.head(int(offsets[0]), where)
    if _header(head, where)[0] == 0:
        return tuple(map(str, numbers.tolist())), offsets
    end = _first_label(head, where)
    if not math.isfinite(end) or end != int(end) or not 2 <= end <= len(numbers):
        raise DataError(
            f"{where}: its pictures end before {end:g}, expected 2 to {len(numbers)}, the records there are."
        )
    wanted = np.arange(1, int(end))
    absent = wanted[numbers[1 : int(end)] != wanted]
    if len(absent):
        raise DataError(f"{index}: record {absent[0]} is absent, expected 1 to {int(end) - 1}.")
    return Numbered(int(end) - 1, 1), offsets[1 : int(end)]


def _read_index(index: Path) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all records, sorted, and where each begins: int64 [R] each."""
    numbers, offsets = array("q"), array("q")
    try:
        with index.open("rb") as lines:
            for place, line in enumerate(lines, 1):
                number, tab, offset = line.rstrip(b"\r\n").partition(b"\t")
                if not (tab and number.isdigit() and offset.isdigit() and len(line) <= _LONGEST_LINE):
                    raise DataError(f"{index}, line {place}: {line[:40]!r}, expected 'number<TAB>offset'.")
                numbers.append(int(number))
                offsets.append(int(offset))
    except OSError as error:
        raise DataError(
            f"{index}: cannot be read ({error.strerror or error}), expected the index of {index.stem}.rec."
        ) from error
    if not numbers:
        raise DataError(f"{index}: it is empty, expected lines 'number<TAB>offset'.")
    order = np.argsort(numbers, kind="stable")
    ordered = np.asarray(numbers, np.int64)[order]
    if len(twice := ordered[1:][np.diff(ordered) == 0]):
        raise DataError(f"{index}: record {twice[0]} stands there twice, expected once.")
    return ordered, np.asarray(offsets, np.int64)[order]


def _told_classes(file: Path) -> int | None:
    """The number of people that `property` states; None where there is no such file."""
    if not file.is_file():
        return None
    with file.open("rb") as source:
        text = source.read(256).decode("ascii", "replace").strip()
    count = text.partition(",")[0].strip()
    if not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise DataError(f"{file}: {text[:40]!r}, expected 'classes,height,width'.")
    return int(count)
