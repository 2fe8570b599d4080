# SPDX-License-Identifier: Apache-2.0
"""A set of faces in one file, which is read by memory: an LMDB database, made of any other form by `pack`.

Its entries, by their keys (docs/file-formats.md has the bytes):

    "set"                 sealed JSON: format, side, how many faces, the digest, what it was made from
    "classes", "labels"   the people's names; the number of each face's person
    8 bytes, big-endian   one face: a checksum, its key, the encoded picture as it was

The digest is of keys, labels and pictures; so it tells of the content, wherever the file lies. Reading takes no lock
and writes nothing: a set may lie where nobody may write.
"""

from __future__ import annotations

import json
import struct
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.errors import BackendError, DataError
from facepipe.results import Unread
from facepipe.store.files import atomic_path
from facepipe.store.sealed_json import sealed, strict_json, unsealed
from facepipe.train.data.face_set import MAX_CONTENT, FaceSet, Sample, class_notes, face_or_reason, in_range

SUFFIX = ".faces"
FORMAT = "facepipe.faces.2"
_AGAIN = "`facepipe train-data pack` again."
_PLACE = struct.Struct(">Q")
_BEGIN = struct.Struct("<IH")  # the checksum; length of the key
_CHECK = struct.Struct("<I")
_KEY_LENGTH = struct.Struct("<H")
_MOST = MAX_CONTENT + (1 << 16) + _BEGIN.size  # bytes of a face's entry
_BATCH_BYTES = 1 << 25
_FIRST_SIZE = 1 << 30  # of the map, while it is written; it doubles
_MOST_NAMED = 100


def _library() -> Any:
    """LMDB's package, which the other forms of a set can do without."""
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise BackendError(
            "a packed set needs the module 'lmdb', which is not installed.", "pip install 'facepipe[train]'."
        ) from error
    return lmdb


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed, and the samples that were left out, with their reasons."""

    faces: int
    people: int
    digest: str
    left_out: tuple[tuple[Sample, str], ...]


class _Database:
    """An open LMDB file; LMDB takes one of each in a process, which all that read the file share."""

    def __init__(self, path: Path) -> None:
        lmdb = _library()
        try:
            status = path.stat()
            self.identity, self.size = (status.st_dev, status.st_ino), status.st_size
            # No read-ahead: samples are asked for in any order.
            self.environment = lmdb.open(
                str(path), subdir=False, readonly=True, lock=False, readahead=False, create=False, max_spare_txns=8
            )
        except (lmdb.Error, OSError) as error:
            raise DataError(f"{path}: cannot be opened ({error}), expected a packed set.", _AGAIN) from error
        pages = self.environment.info()["last_pgno"] + 1
        whole = pages * self.environment.stat()["psize"]
        if status.st_size < whole:  # what is not there would be looked at in memory, and end the process
            self.environment.close()
            raise DataError(f"{path}: {status.st_size:,} bytes, expected {whole:,}; it is cut.", "copy it again.")

    def __del__(self) -> None:
        if hasattr(self, "environment"):
            self.environment.close()

    def get(self, key: bytes, most: int | None = None) -> bytes | None:
        """The value of a key; None where there is none, or one of more than `most` bytes (None: than the file has),
        which is not copied."""
        with self.environment.begin(buffers=True) as transaction:
            value: memoryview | None = transaction.get(key)
            return None if value is None or len(value) > min(most or self.size, self.size) else bytes(value)


_OPEN: weakref.WeakValueDictionary[str, _Database] = weakref.WeakValueDictionary()


def _database(path: Path) -> _Database:
    """The open file at `path`. A forked process goes on with its parent's: reading shares nothing but memory."""
    place = str(path.resolve())
    found = _OPEN.get(place)
    if found is None:
        found = _OPEN[place] = _Database(path)
        return found
    status = path.stat()
    if found.identity != (status.st_dev, status.st_ino):
        raise DataError(f"{path}: was replaced while it is open here, expected the set as it was opened.")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class PackedKeys(Sequence[str]):
    """The keys of a packed set; each lies with its picture and is read when it is asked for."""

    pictures: PackedPictures
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        places = range(self.size)[index]
        return (
            [self.pictures.key(place) for place in places] if isinstance(places, range) else self.pictures.key(places)
        )


@dataclass(frozen=True, slots=True, eq=False)
class PackedPictures:
    """From a place to the bytes of the picture."""

    path: Path
    database: _Database

    def __call__(self, index: int) -> bytes:
        record = self._record(index)
        begin = _BEGIN.size + _BEGIN.unpack_from(record)[1]
        return record[begin:]

    def key(self, index: int) -> str:
        """The key of the picture there."""
        record = self._record(index)
        return record[_BEGIN.size : _BEGIN.size + _BEGIN.unpack_from(record)[1]].decode()

    def _record(self, index: int) -> bytes:
        place = _PLACE.pack(index)
        try:
            record = self.database.get(place, _MOST)
        except _library().Error as error:
            raise DataError(f"{self.path}: face {index}: cannot be read ({error}).", _AGAIN) from error
        if record is None or len(record) < _BEGIN.size:
            raise DataError(f"{self.path}: face {index}: is not there, expected it; the file is damaged.", _AGAIN)
        check, length = _BEGIN.unpack_from(record)
        if _checksum(place, memoryview(record)[_CHECK.size :]) != check:
            told = record[_BEGIN.size : _BEGIN.size + min(length, 200)].decode(errors="replace")
            raise DataError(
                f"{self.path}: face {index} ('{told}'): its checksum is another, expected that with which it was "
                "packed; damaged.",
                _AGAIN,
            )
        return record


def open_packed(path: Path) -> FaceSet:
    """The set in a file that `pack` wrote.

    Raises:
        DataError: it is none, of another format, cut, or its head is damaged.
    """
    database = _database(path)
    head = _head(path, database)
    count, people = head["faces"], head["classes"]
    names = strict_json(_checked(path, database, b"classes"))
    labels = np.frombuffer(_checked(path, database, b"labels"), "<i8").astype(np.int64)
    if len(labels) != count or len(names) != people or not all(type(name) is str for name in names):
        raise DataError(f"{path}: {len(labels)} labels of {len(names)} people, expected {count} of {people}.", _AGAIN)
    for label in (labels.min(), labels.max()):
        in_range(int(label), str(path), people)
    pictures = PackedPictures(path, database)
    again = partial(open_packed, path)
    keys, classes = PackedKeys(pictures, count), tuple(names)
    notes = (*class_notes(labels, classes), *_left_out(head))
    return FaceSet(path, head["side"], keys, labels, classes, head["digest"], pictures, again, notes)


def pack(
    faces: FaceSet, out: Path, *, overwrite: bool = False, progress: Callable[[int], None] = lambda _: None
) -> Packed:
    """Write a set as one file, whole or not at all; every picture is decoded once to see that it is one.

    A damaged sample is left out; who it was is returned, and stands in the file.

    Args:
        out: the file; its name ends in `.faces`.
        overwrite: replace a file that is there and not ours.

    Raises:
        DataError: no picture is whole, or the name ends otherwise.
    """
    if out.suffix != SUFFIX:
        raise DataError(f"{out}: a packed set's name ends in '{SUFFIX}', by which it is known.", f"{out.name}{SUFFIX}")
    left_out: list[tuple[Sample, str]] = []
    labels: list[int] = []
    digest = sha256(FORMAT.encode())
    with atomic_path(out, overwrite=overwrite) as part:
        environment = _library().open(
            str(part), subdir=False, lock=False, map_size=_FIRST_SIZE, sync=False, metasync=False, max_spare_txns=0
        )
        try:
            for entries in _batches(_records(faces, left_out, labels, digest, progress)):
                _put(environment, entries)
            if not labels:
                raise DataError(
                    f"{faces.path}: none of its {len(faces):,} pictures is whole (first: {left_out[0][1]}), expected "
                    "some."
                )
            names = json.dumps(list(faces.classes), ensure_ascii=False).encode()
            digest.update(names)
            head: dict[str, object] = {
                "format": FORMAT,
                "side": faces.side,
                "faces": len(labels),
                "classes": len(faces.classes),
                "digest": digest.hexdigest(),
                "made_from": {"name": faces.path.name, "digest": faces.digest},
                "left_out": len(left_out),
                "left_out_first": [[sample.key, reason] for sample, reason in left_out[:_MOST_NAMED]],
            }
            numbers = np.array(labels, "<i8").tobytes()
            told = [(name, _with_check(name, content)) for name, content in ((b"classes", names), (b"labels", numbers))]
            _put(environment, [*told, (b"set", json.dumps(sealed(head)).encode())], append=False)
            environment.sync(True)
        finally:
            environment.close()
    return Packed(len(labels), len(faces.classes), digest.hexdigest(), tuple(left_out))


def _records(
    faces: FaceSet,
    left_out: list[tuple[Sample, str]],
    labels: list[int],
    digest: Any,
    progress: Callable[[int], None],
) -> Iterator[tuple[bytes, bytes]]:
    """The entry of every whole sample; what is found out of the others, and of all, goes into the arguments."""
    for index in range(len(faces)):
        content, reason = _whole(faces, index)
        if reason is not None:
            sample = Sample(index, _key_or_place(faces, index), int(faces.labels[index]))
            left_out.append((sample, reason))
        else:
            sample = faces.sample(index)
            key = sample.key.encode()
            digest.update(struct.pack("<QQH", len(labels), sample.label, len(key)) + key + sha256(content).digest())
            rest = _KEY_LENGTH.pack(len(key)) + key + content
            place = _PLACE.pack(len(labels))
            yield place, _with_check(place, rest)
            labels.append(sample.label)
        progress(1)


def _whole(faces: FaceSet, index: int) -> tuple[bytes, str | None]:
    """A sample's picture, as it is encoded; and why it is none."""
    try:
        content = faces.content(index)
    except DataError as error:
        return b"", error.what
    face = face_or_reason(content, faces.side)
    return content, face.reason if isinstance(face, Unread) else None


def _key_or_place(faces: FaceSet, index: int) -> str:
    """The sample's key; of a damaged record that holds its key itself, its place."""
    try:
        return faces.keys[index]
    except DataError:
        return f"#{index}"


def _batches(entries: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """Entries that are written together: a part that is killed is thrown away, so their number is free."""
    batch: list[tuple[bytes, bytes]] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += len(entry[1])
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _put(environment: Any, entries: list[tuple[bytes, bytes]], *, append: bool = True) -> None:
    """Write entries in one go; the map grows until they have room.

    Args:
        append: their keys are larger than all before.
    """
    lmdb = _library()
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in entries:
                    transaction.put(key, value, append=append)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
        except lmdb.DiskError as error:
            raise OSError(28, f"No space left on device ({error})") from error


def _checksum(name: bytes, content: bytes | memoryview) -> int:
    """Of an entry's key and its content: an index that was damaged would give another entry's content, whole."""
    return zlib.crc32(content, zlib.crc32(name))


def _with_check(name: bytes, content: bytes) -> bytes:
    return _CHECK.pack(_checksum(name, content)) + content


def _checked(path: Path, database: _Database, name: bytes) -> bytes:
    """The content of "classes" or "labels"."""
    value = database.get(name)
    check = None if value is None or len(value) < _CHECK.size else _CHECK.unpack_from(value)[0]
    if value is None or check != _checksum(name, value[_CHECK.size :]):
        raise DataError(f"{path}: '{name.decode()}' is not there or damaged, expected it as it was packed.", _AGAIN)
    return value[_CHECK.size :]


def _head(path: Path, database: _Database) -> dict[str, Any]:
    """The object "set"."""
    content = database.get(b"set")
    if content is None:
        raise DataError(f"{path}: no 'set' in it, expected a packed set's head.", _AGAIN)
    try:
        head = unsealed(content)
    except ValueError as error:
        raise DataError(f"{path}: its head cannot be used ({error}).", _AGAIN) from error
    if head.get("format") != FORMAT:
        raise DataError(f"{path}: is of format {head.get('format')}, expected {FORMAT}.", _AGAIN)
    return head


def _left_out(head: dict[str, Any]) -> tuple[str, ...]:
    if not head["left_out"]:
        return ()
    first, reason = head["left_out_first"][0]
    return (f"{head['left_out']:,} damaged pictures were left out when it was packed (first: {first}: {reason})",)
