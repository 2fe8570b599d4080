# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: `faces.jsonl`, one line for each face, and `embeddings.npy`.

`faces.jsonl` is UTF-8, one JSON object per line, sorted by key (by code point) and face. Of a face:

    {"key": "Some_One/Some_One_0001.jpg", "face": 0, "box": [x1, y1, x2, y2], "score": s, "landmarks": [[x, y], ...],
     "sharpness": v, "row": i}

and of one that could not be cut out, in a run of all faces:

    {"key": "Some_One/Some_One_0001.jpg", "face": 1, "box": ..., "score": s, "landmarks": ..., "reason": "..."}

and of a photograph without any:

    {"key": "Some_One/Some_One_0002.jpg", "reason": "no face found"}

and of a photograph that could not be read, so that nobody knows whether it has one:

    {"key": "Some_One/Some_One_0003.jpg", "unread": "is empty (0 bytes)"}

and of one that ended every process that looked at it (the run is not sealed then):

    {"key": "Some_One/Some_One_0004.jpg", "killed": "ended with signal SIGSEGV"}

key         POSIX path of the photograph, relative to the data root
face        place of the face in the detector's order, from 0, the best score first. A run of main faces has one line
            for each photograph, and this tells which face was chosen
box         corners in pixels of the photograph, float32; may lie outside it
score       the detector's probability, float32, 0..1
landmarks   K points (5: left eye, right eye, nose, left and right mouth corner; 0 where the detector gives none)
sharpness   of the crop between eyes and mouth: the variance of its Laplacian, float32
row         row of `embeddings.npy` that belongs to this line; counted over the lines with a face that was cut out: 0,
            1, 2, ... Absent from every line when the run made no embeddings.
group       the person that the face was put to, where faces were grouped
weak        why it was not let link others to that person, in words
reason      why there is no face, or why it gave no crop, in words
unread      why the photograph could not be read, in words
killed      how the process ended, in words

Numbers are written with as few digits as bring the same float32 back. `embeddings.npy` is float32 [F, D], rows of
length 1, F the number of lines with a row. Both are written and read as streams: a million lines are never held.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.errors import DataError
from facepipe.results import Face, FaceLine, Killed, NoFace, Outcome, UncutFace, Unread
from facepipe.store.files import atomic_path

FACES_FILE = "faces.jsonl"
EMBEDDINGS_FILE = "embeddings.npy"

_WITH_FACE = {"key", "face", "box", "score", "landmarks"}
_ALSO_WITH_FACE = {"sharpness", "row", "group", "weak"}
_UNCUT = _WITH_FACE | {"reason"}
_WITHOUT_FACE = ({"key", "reason"}, {"key", "unread"}, {"key", "killed"})


@dataclass(frozen=True, slots=True)
class Written:
    """How many photographs were written, how many faces that were cut out, how many photographs could not be read, and
    how many were looked at and have no such face."""

    images: int
    faces: int
    unread: int
    faceless: int


def write_faces(path: Path, records: Iterable[FaceLine], with_rows: bool = True) -> Written:
    """Write faces.jsonl, whole or not at all, taking the records one by one.

    Args:
        path: the file.
        records: sorted by key and face; of a key either faces, each once, or one line.
        with_rows: number the faces; row i is row i of embeddings.npy.

    Raises:
        DataError: a key or a face is out of order, appears twice, or cannot be written; or a box or landmark is not
            finite.
    """
    images = faces = unread = with_face = killed = 0
    before: FaceLine | None = None
    counted = ""  # the last photograph with a face that was cut out
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="\n") as target:
        for record in records:
            _require_order(str(path), before, record)
            is_face = isinstance(record.outcome, Face)
            try:
                line = _as_json(record, faces if with_rows and is_face else None)
                target.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            except ValueError as error:  # NaN, which JSON has not; a key that is no valid text
                raise DataError(f"{path}: {record.key!a} cannot be written ({error}).") from error
            images += before is None or record.key != before.key
            faces += is_face
            unread += isinstance(record.outcome, Unread)
            killed += isinstance(record.outcome, Killed)
            with_face += is_face and counted != record.key
            counted = record.key if is_face else counted
            before = record
    return Written(images, faces, unread, images - with_face - unread - killed)


def read_main_faces(path: Path) -> Iterator[FaceLine]:
    """`read_faces` of a run that has one line for each photograph.

    Raises:
        DataError: as `read_faces`; or a photograph has several lines.
    """
    before = None
    for line in read_faces(path):
        if line.key == before:
            raise DataError(
                f"{path}: {line.key} has several lines, expected a run of one face for each photograph.",
                "`facepipe embed` or `facepipe lfw`, without --faces all.",
            )
        before = line.key
        yield line


def read_faces(path: Path) -> Iterator[FaceLine]:
    """The lines of faces.jsonl one by one, each checked.

    Arrays come back as float32 (box [4], landmarks [K, 2]), the same bits that were written.

    Raises:
        DataError: the file cannot be read, or a line has not the form above; the line's number is named.
    """
    before: FaceLine | None = None
    faces = 0
    with_rows = False  # told by the first line with a face
    try:
        with path.open("rb") as source:
            for number, content in enumerate(source, start=1):
                where = f"{path}, line {number}"
                line = _line(where, content)
                _require_order(where, before, line)
                if isinstance(line.outcome, Face):
                    with_rows = with_rows or (faces == 0 and line.row is not None)
                    expected = faces if with_rows else None
                    if line.row != expected:
                        raise DataError(f"{where}: 'row' is {line.row}, expected {expected}.")
                    faces += 1
                before = line
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


def unread_reasons(run: Path) -> list[str]:
    """Why photographs of a finished run could not be looked at, one for each, in order.

    Raises:
        DataError: faces.jsonl cannot be read.
    """
    return [line.outcome.reason for line in read_faces(run / FACES_FILE) if isinstance(line.outcome, Unread)]


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


def face_as_json(face: Face) -> dict[str, object]:
    """The fields of a face that every file of ours has it by: face, box, score, landmarks, and sharpness once it is
    known. Floats are written with as few digits as bring the float32 back."""
    points = _shortest(face.landmarks)
    told: dict[str, object] = {
        "face": face.number,
        "box": _shortest(face.box),
        "score": _shortest(np.asarray([face.score]))[0],
        "landmarks": [list(pair) for pair in zip(points[::2], points[1::2], strict=True)],
    }
    return told if face.sharpness is None else {**told, "sharpness": _shortest(np.asarray([face.sharpness]))[0]}


def _require_order(where: str, before: FaceLine | None, line: FaceLine) -> None:
    """Refuse a line that does not follow the one before by key and face."""
    if before is None or before.key < line.key:
        return
    numbers = [_number(one) for one in (before, line)]
    if before.key != line.key or None in numbers:
        raise DataError(f"{where}: {line.key!r} comes after {before.key!r}, expected sorted keys, each once.")
    if numbers[0] >= numbers[1]:  # type: ignore[operator]
        raise DataError(
            f"{where}: face {numbers[1]} of {line.key!r} comes after face {numbers[0]}, expected sorted faces, each "
            "once."
        )


def _number(line: FaceLine) -> int | None:
    """The face's place in its photograph; None of a line without a face."""
    outcome = line.outcome.face if isinstance(line.outcome, UncutFace) else line.outcome
    return outcome.number if isinstance(outcome, Face) else None


def _as_json(record: FaceLine, row: int | None) -> dict[str, object]:
    """One line as an object. ValueError for what UTF-8 cannot hold."""
    outcome = record.outcome
    record.key.encode()  # a lone surrogate would only fail when the buffer is flushed
    line: dict[str, object] = {"key": record.key}
    if isinstance(outcome, Unread):
        line["unread"] = outcome.reason
    elif isinstance(outcome, NoFace):
        line["reason"] = outcome.reason
    elif isinstance(outcome, Killed):
        line["killed"] = outcome.how
    elif isinstance(outcome, UncutFace):
        line |= face_as_json(outcome.face) | {"reason": outcome.reason}
    else:
        line |= face_as_json(outcome)
        told = {"row": row, "group": record.group, "weak": record.weak}
        line |= {name: value for name, value in told.items() if value is not None}
    return line


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
    if fields not in (*_WITHOUT_FACE, _UNCUT) and not _WITH_FACE <= fields <= _WITH_FACE | _ALSO_WITH_FACE:
        raise DataError(
            f"{where}: has the fields {', '.join(sorted(fields)) or 'none'}, "
            "expected key, face, box, score, landmarks and perhaps sharpness, row, group, weak, or else reason; or key "
            "and reason, unread or killed."
        )
    key = line["key"]
    if not isinstance(key, str) or not key:
        raise DataError(f"{where}: 'key' is {key!r}, expected a path.")
    kinds: tuple[tuple[str, Callable[[str], Outcome]], ...]
    kinds = (("reason", NoFace), ("unread", Unread), ("killed", Killed))
    for name in ("reason", "unread", "killed", "group", "weak"):
        if name in line and not isinstance(line[name], str):
            raise DataError(f"{where}: '{name}' is {line[name]!r}, expected words.")
    for name, kind in kinds:
        if name in line and "face" not in line:
            return FaceLine(key, kind(line[name]))
    number, row = (_whole(where, name, line) for name in ("face", "row"))
    box = _numbers(where, "box", line["box"], (4,))
    landmarks = _numbers(where, "landmarks", line["landmarks"], (-1, 2))
    score = float(_numbers(where, "score", line["score"], ()))
    if not 0 <= score <= 1:
        raise DataError(f"{where}: 'score' is {score:g}, expected 0 to 1.")
    sharpness = float(_numbers(where, "sharpness", line["sharpness"], ())) if "sharpness" in line else None
    face = Face(box, score, landmarks, number or 0, sharpness)
    if "reason" in line:
        return FaceLine(key, UncutFace(face, line["reason"]))
    return FaceLine(key, face, row, line.get("group"), line.get("weak"))


def _whole(where: str, name: str, line: dict[str, Any]) -> int | None:
    """A whole number from 0; None where the line has none."""
    value = line.get(name)
    if name in line and (type(value) is not int or value < 0):
        raise DataError(f"{where}: '{name}' is {value!r}, expected a whole number from 0.")
    return value


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
