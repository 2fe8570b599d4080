# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: `faces.jsonl`, one line for each photograph, and `embeddings.npy`.

`faces.jsonl` is UTF-8, one JSON object per line, sorted by key (by code point), each key once. With a face:

    {"key": "Some_One/Some_One_0001.jpg", "box": [x1, y1, x2, y2], "score": s, "landmarks": [[x, y], ...], "row": i}

and without:

    {"key": "Some_One/Some_One_0002.jpg", "reason": "no face found"}

and of a photograph that could not be read, so that nobody knows whether it has one:

    {"key": "Some_One/Some_One_0003.jpg", "unread": "is empty (0 bytes)"}

and of one that ended every process that looked at it (the run is not sealed then):

    {"key": "Some_One/Some_One_0004.jpg", "killed": "ended with signal SIGSEGV"}

key         POSIX path of the photograph, relative to the data root
box         corners in pixels of the photograph, float32; may lie outside it
score       the detector's probability, float32, 0..1
landmarks   K points (5: left eye, right eye, nose, left and right mouth corner; 0 where the detector gives none)
row         row of `embeddings.npy` that belongs to this line; counted over the lines with a face: 0, 1, 2, ...
            Absent from every line when the run made no embeddings.
reason      why there is no face, in words
unread      why the photograph could not be read, in words
killed      how the process ended, in words

Numbers are written with as few digits as bring the same float32 back. `embeddings.npy` is float32 [F, D], rows of
length 1, F the number of lines with a face. Both are written and read as streams: a million lines are never held.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.errors import DataError
from facepipe.results import Face, FaceLine, Killed, NoFace, Outcome, Unread
from facepipe.store.files import atomic_path

FACES_FILE = "faces.jsonl"
EMBEDDINGS_FILE = "embeddings.npy"

_WITH_FACE = {"key", "box", "score", "landmarks"}
_WITHOUT_FACE = ({"key", "reason"}, {"key", "unread"}, {"key", "killed"})


@dataclass(frozen=True, slots=True)
class Written:
    """How many lines were written, how many of them hold a face, and how many are of unread photographs."""

    images: int
    faces: int
    unread: int


def write_faces(path: Path, records: Iterable[FaceLine], with_rows: bool = True) -> Written:
    """Write faces.jsonl, whole or not at all, taking the records one by one.

    Args:
        path: the file.
        records: sorted by key, each key once.
        with_rows: number the faces; row i is row i of embeddings.npy.

    Raises:
        DataError: a key is out of order, appears twice, or cannot be written; or a box or landmark is not finite.
    """
    images = faces = unread = 0
    before: str | None = None
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="\n") as target:
        for record in records:
            if before is not None and record.key <= before:
                raise DataError(f"{path}: {record.key!r} comes after {before!r}, expected sorted keys, each once.")
            row = faces if with_rows and isinstance(record.outcome, Face) else None
            try:
                target.write(_text(record, row) + "\n")
            except ValueError as error:  # NaN, which JSON has not; a key that is no valid text
                raise DataError(f"{path}: {record.key!a} cannot be written ({error}).") from error
            before = record.key
            images += 1
            faces += isinstance(record.outcome, Face)
            unread += isinstance(record.outcome, Unread)
    return Written(images, faces, unread)


def read_faces(path: Path) -> Iterator[FaceLine]:
    """The lines of faces.jsonl one by one, each checked.

    Arrays come back as float32 (box [4], landmarks [K, 2]), the same bits that were written.

    Raises:
        DataError: the file cannot be read, or a line has not the form above; the line's number is named.
    """
    before: str | None = None
    faces = 0
    with_rows = False  # told by the first line with a face
    try:
        with path.open("rb") as source:
            for number, content in enumerate(source, start=1):
                where = f"{path}, line {number}"
                line = _line(where, content)
                if before is not None and line.key <= before:
                    raise DataError(f"{where}: {line.key!r} comes after {before!r}, expected sorted keys, each once.")
                if isinstance(line.outcome, Face):
                    with_rows = with_rows or (faces == 0 and line.row is not None)
                    expected = faces if with_rows else None
                    if line.row != expected:
                        raise DataError(f"{where}: 'row' is {line.row}, expected {expected}.")
                    faces += 1
                before = line.key
                yield line
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}), expected the faces of a run.", "finish the run first."
        ) from error


def write_embeddings(path: Path, rows: int, dimension: int, blocks: Iterable[np.ndarray]) -> None:
    """Write embeddings.npy, whole or not at all, block after block.

    The header states the final size and the blocks follow it, so the bytes are `np.save`'s and no block is kept.

    Args:
        path: the file.
        rows: F, the number of rows that the blocks add up to.
        dimension: D.
        blocks: float32 [any, D].

    Raises:
        DataError: a block has another dtype or shape, or the blocks do not add up to `rows`.
    """
    written = 0
    with atomic_path(path) as part, part.open("wb") as target:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
        np.lib.format.write_array_header_1_0(target, header)
        for block in blocks:
            if block.dtype != np.float32 or block.ndim != 2 or block.shape[1] != dimension:
                raise DataError(
                    f"{path}: a block is {block.dtype} {list(block.shape)}, expected float32 [any, {dimension}]."
                )
            target.write(np.ascontiguousarray(block, "<f4").data)
            written += len(block)
        if written != rows:
            raise DataError(f"{path}: {written:,} rows came, expected {rows:,}.")


def read_embeddings(path: Path, rows: int | None = None) -> np.ndarray:
    """embeddings.npy as a read-only float32 [F, D] that stays on disk until rows are taken.

    Raises:
        DataError: it cannot be read, is no float32 [F, D], or F is not `rows`.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of a damaged header NumPy raises a dozen unrelated classes; all mean the same
        raise DataError(f"{path}: cannot be read ({error}), expected the embeddings of a run.") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.float32:
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise DataError(f"{path}: is {found}, expected float32 [F, D].")
    if rows is not None and len(array) != rows:
        raise DataError(
            f"{path}: {len(array):,} rows, expected {rows:,}, one for each face in {FACES_FILE}.",
            "delete both files and finish the run again.",
        )
    return array


def _text(record: FaceLine, row: int | None) -> str:
    """One line without its end. ValueError for what JSON or UTF-8 cannot hold."""
    outcome = record.outcome
    record.key.encode()  # a lone surrogate would only fail when the buffer is flushed
    line: dict[str, object] = {"key": record.key}
    if isinstance(outcome, Unread):
        line["unread"] = outcome.reason
    elif isinstance(outcome, NoFace):
        line["reason"] = outcome.reason
    elif isinstance(outcome, Killed):
        line["killed"] = outcome.how
    else:
        line["box"] = _shortest(outcome.box)
        line["score"] = _shortest(np.asarray([outcome.score]))[0]
        points = _shortest(outcome.landmarks)
        line["landmarks"] = [list(pair) for pair in zip(points[::2], points[1::2], strict=True)]
        if row is not None:
            line["row"] = row
    return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _shortest(values: np.ndarray) -> list[float]:
    """Each value with the fewest digits that give its float32 back: 84.1 rather than 84.0999984741211."""
    return [float(str(value)) for value in values.astype(np.float32).ravel()]


def _line(where: str, content: bytes) -> FaceLine:
    """One line, checked."""
    try:
        line = json.loads(content)
    except ValueError as error:
        raise DataError(f"{where}: is no JSON ({error}), expected one object per line.") from error
    if not isinstance(line, dict):
        raise DataError(f"{where}: is {type(line).__name__}, expected an object.")
    fields = set(line)
    if fields not in (*_WITHOUT_FACE, _WITH_FACE, _WITH_FACE | {"row"}):
        raise DataError(
            f"{where}: has the fields {', '.join(sorted(fields)) or 'none'}, "
            "expected key, box, score, landmarks and perhaps row; or key and reason, unread or killed."
        )
    key = line["key"]
    if not isinstance(key, str) or not key:
        raise DataError(f"{where}: 'key' is {key!r}, expected a path.")
    kinds: tuple[tuple[str, Callable[[str], Outcome]], ...]
    kinds = (("reason", NoFace), ("unread", Unread), ("killed", Killed))
    for name, kind in kinds:
        if name in line:
            if not isinstance(line[name], str):
                raise DataError(f"{where}: '{name}' is {line[name]!r}, expected words.")
            return FaceLine(key, kind(line[name]))
    box = _numbers(where, "box", line["box"], (4,))
    landmarks = _numbers(where, "landmarks", line["landmarks"], (-1, 2))
    score = float(_numbers(where, "score", line["score"], ()))
    if not 0 <= score <= 1:
        raise DataError(f"{where}: 'score' is {score:g}, expected 0 to 1.")
    row = line.get("row")
    if "row" in line and (type(row) is not int or row < 0):
        raise DataError(f"{where}: 'row' is {row!r}, expected a whole number from 0.")
    return FaceLine(key, Face(box, score, landmarks), row)


def _numbers(where: str, name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """`value` as finite float32 of `shape`, -1 meaning any length."""
    expected = {(): "a number", (4,): "four numbers"}.get(shape, "a list of [x, y]")
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        array = np.asarray(None)
    if array.size == 0 and shape == (-1, 2) and value == []:
        return np.zeros((0, 2), np.float32)
    fits = array.ndim == len(shape) and all(want in (-1, size) for want, size in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "if" or not np.isfinite(array).all():
        raise DataError(f"{where}: '{name}' is {json.dumps(value)[:80]}, expected {expected}.")
    return array.astype(np.float32)
