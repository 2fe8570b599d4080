# SPDX-License-Identifier: Apache-2.0
"""The Paddle port's training data: one encoded picture in one `.bin`, and `label.txt`.

A record is, in little-endian order without padding:

    uint32    length of the key, at most 5000
    bytes     the key: the picture's file name in UTF-8
    uint32    length of the value
    bytes     the value: a pickle of one bytes object, the picture's file as it was

`label.txt` is UTF-8, one line for each picture: its path relative to the file's own folder, a tab, the person's number.
Records come from anywhere: the pickle is read by `restricted_pickle`, and the key never becomes a path.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from facepipe.datasets.images import SUFFIXES
from facepipe.datasets.restricted_pickle import read_pickle
from facepipe.errors import DataError

MAX_KEY = 5000

_LENGTH = struct.Struct("<I")
# The first bytes of a format, and the suffix that its files go by.
_SIGNATURES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A picture's file as it was, and the name that the record gives it."""

    name: str
    content: bytes


def bytes_from_record(record: ImageRecord) -> bytes:
    """The record as the content of its `.bin`."""
    key, value = record.name.encode(), pickle.dumps(record.content, protocol=4)
    assert len(key) <= MAX_KEY, record.name
    return b"".join((_LENGTH.pack(len(key)), key, _LENGTH.pack(len(value)), value))


def record_from_bytes(content: bytes, where: str) -> ImageRecord:
    """The one record in a `.bin`.

    Raises:
        DataError: the lengths do not fit the file, or the value is anything but bytes; nothing in it was executed.
    """
    if len(content) < 4:
        raise DataError(f"{where}: {len(content)} bytes, expected a record of key and picture.")
    (key_length,) = _LENGTH.unpack_from(content)
    if key_length > MAX_KEY or len(content) < 8 + key_length:
        raise DataError(f"{where}: its key has {key_length:,} bytes, expected at most {MAX_KEY:,} and within the file.")
    (value_length,) = _LENGTH.unpack_from(content, 4 + key_length)
    value = content[8 + key_length :]
    if len(value) != value_length:
        raise DataError(
            f"{where}: {len(value):,} bytes follow the key, expected {value_length:,}; it is cut or joined."
        )
    try:
        name = content[4 : 4 + key_length].decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: its key is no UTF-8 text, expected a file name.") from error
    return ImageRecord(name, read_pickle(value, where, ("bytes",)))


def suffix_of(content: bytes, where: str) -> str:
    """The suffix of a picture's file, told by its first bytes.

    Raises:
        DataError: it begins like no picture.
    """
    for signature, suffix in _SIGNATURES:
        if content.startswith(signature):
            return suffix
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    raise DataError(f"{where}: its content begins with {content[:8]!r}, expected a picture (JPEG, PNG, BMP, ...).")


def picture_name(record: ImageRecord, stem: str, where: str) -> str:
    """The file name for the record's picture: the one it had where that fits `stem`, else stem and true suffix."""
    suffix = suffix_of(record.content, where)
    told = PurePosixPath(record.name)
    is_plain = record.name == f"{stem}{told.suffix}" and told.suffix.lower() in SUFFIXES
    return record.name if is_plain else stem + suffix


def read_labels(path: Path) -> list[tuple[str, str]]:
    """The lines of a label file as (path, label), in order; both as text.

    Raises:
        DataError: it cannot be read, or a line has no tab (or no white space) between path and label.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}), expected lines 'path<TAB>label'.") from error
    labels = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip("\r ")
        if not line or line.startswith("#"):
            continue
        name, parted, label = line.partition("\t") if "\t" in line else line.rpartition(" ")
        if not parted or not name.strip() or not label.strip():
            raise DataError(f"{path}, line {number}: {line[:80]!r}, expected 'path<TAB>label'.")
        labels.append((name.strip(), label.strip()))
    if not labels:
        raise DataError(f"{path}: no line in it, expected 'path<TAB>label'.")
    return labels


def label_lines(labels: Iterable[tuple[str, int]]) -> str:
    """The content of a `label.txt`."""
    return "".join(f"{name}\t{label}\n" for name, label in labels)
