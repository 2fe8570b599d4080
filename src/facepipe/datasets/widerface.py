# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE's validation set: ground truth from the four official .mat files, and predictions in the official layout.

A photograph's key is "event/name" without a suffix: "0--Parade/0_Parade_marchingband_1_465".
"""

from __future__ import annotations

import importlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.datasets.images import SUFFIXES
from facepipe.datasets.matlab import refuse_unbounded
from facepipe.errors import BackendError, DataError
from facepipe.store.files import lacking, write_text

SETTINGS = ("easy", "medium", "hard")
FACES_FILE = "wider_face_val.mat"


@dataclass(frozen=True, slots=True, eq=False)
class WiderPhotograph:
    """One photograph of the ground truth.

    Attributes:
        key: "event/name".
        faces: float64 [G, 4], x, y, width, height in pixels; every face, whether it counts or not.
        counted: bool [G] for each of easy, medium, hard: the faces that count there; the others are ignored.
    """

    key: str
    faces: np.ndarray
    counted: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class WiderTruth:
    """The ground truth of all photographs, in the order of the official lists."""

    photographs: tuple[WiderPhotograph, ...]

    def by_key(self) -> dict[str, WiderPhotograph]:
        return {photograph.key: photograph for photograph in self.photographs}


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What was predicted for one photograph, in the file's order.

    Attributes:
        rows: float64 [N, 5]: x, y, width, height in pixels, score in 0..1.
    """

    key: str
    rows: np.ndarray

    @property
    def is_sorted(self) -> bool:
        """Whether scores never rise; the protocol takes the file's order as it is."""
        return bool((np.diff(self.rows[:, 4]) <= 0).all())


def read_truth(folder: Path) -> WiderTruth:
    """The ground truth from wider_face_val.mat and wider_{easy,medium,hard}_val.mat in `folder`.

    Raises:
        DataError: a file is not there, is no MATLAB 5 file or holds something else, or the four do not agree.
        BackendError: scipy, which reads them, is not installed.
    """
    path = folder / FACES_FILE
    whole = _load(path, ("event_list", "file_list", "face_bbx_list"))
    lists = {name: _load(folder / f"wider_{name}_val.mat", ("gt_list",))["gt_list"] for name in SETTINGS}
    photographs = []
    try:
        for number, event in enumerate(_texts(whole["event_list"])):
            names = _texts(whole["file_list"][number, 0])
            boxes = whole["face_bbx_list"][number, 0]
            for row, name in enumerate(names):
                faces = _boxes(boxes[row, 0])
                counted = {
                    setting: _mask(lists[setting][number, 0][row, 0], len(faces), f"{event}/{name}, {setting}")
                    for setting in SETTINGS
                }
                photographs.append(WiderPhotograph(f"{event}/{name}", faces, counted))
    except (IndexError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: its lists have another form or length than the three gt_lists ({error}), expected WIDER FACE's "
            "ground truth of the validation set."
        ) from error
    _refuse_duplicates((photograph.key for photograph in photographs), path)
    return WiderTruth(tuple(photographs))


def read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """(height, width) of each photograph from a list of "# event/name.jpg width height" and lines of faces.

    Raises:
        DataError: the file has another form, or names a photograph twice.
    """
    sizes: list[tuple[str, tuple[int, int]]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: it cannot be read as text ({error}).") from error
    for number, line in enumerate(lines, start=1):
        if not line.startswith("#"):
            continue
        parts = line[1:].rsplit(maxsplit=2)
        if len(parts) != 3 or not all(map(_is_count, parts[1:])):
            raise DataError(f"{path}, line {number}: it is '{line[:80]}', expected '# event/name.jpg width height'.")
        sizes.append((parts[0].strip().rpartition(".")[0], (int(parts[2]), int(parts[1]))))
    if not sizes:
        raise DataError(
            f"{path}: no line begins with '#', expected '# event/name.jpg width height' for each photograph."
        )
    _refuse_duplicates((key for key, _ in sizes), path)
    return dict(sizes)


def find_photographs(root: Path, names: Iterable[str], truth: WiderTruth) -> dict[str, str]:
    """Key to path below `root`, for the photographs in `names` (paths as `images.list_keys` gives them).

    A path may be "event/name.jpg", below further folders too, or the flat "name.jpg".

    Raises:
        DataError: a file is no photograph of the list, or two files are one photograph.
    """
    keys = truth.by_key()
    flat = {key.split("/")[1]: key for key in keys}
    found: dict[str, str] = {}
    for name in names:
        parts = Path(name).with_suffix("").parts
        key = "/".join(parts[-2:])
        key = key if key in keys else flat.get(parts[-1], "") if len(parts) == 1 else ""
        if not key:
            raise DataError(f"{root / name}: WIDER FACE's validation list has no such photograph.")
        if key in found:
            raise DataError(f"{root}: {found[key]} and {name} are the same photograph {key}, expected each once.")
        found[key] = name
    return found


def write_prediction(folder: Path, key: str, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Write `folder`/event/name.txt: the name, the number of faces, then "x y width height score" for each.

    Args:
        boxes: float32 [N, 4], corners x1, y1, x2, y2 in pixels.
        scores: float32 [N], in 0..1; the rows are written best score first, as the protocol expects.
    """
    event, name = key.split("/")
    order = np.argsort(-scores, kind="stable")
    lines = [name, str(len(scores))]
    for (x1, y1, x2, y2), score in zip(boxes[order].tolist(), scores[order].tolist(), strict=True):
        lines.append(f"{x1:.3f} {y1:.3f} {max(x2 - x1, 0.0):.3f} {max(y2 - y1, 0.0):.3f} {score:.7f}")
    write_text(folder / event / f"{name}.txt", "\n".join(lines) + "\n")


def read_predictions(folder: Path, truth: WiderTruth, *, whole: bool = False) -> list[Prediction]:
    """Every prediction file below `folder`, in the order of the official list.

    Args:
        whole: every photograph of the list must have a file; else those without one are not scored.

    Raises:
        DataError: there is none; one is for a photograph that is not in the list; one has another form, a score
            outside 0..1 or a negative side; or `whole` and some are absent.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: {lacking(folder, 'folder')}, expected predictions as event/name.txt.")
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.txt"))}
    keys = [photograph.key for photograph in truth.photographs]
    foreign = sorted(files.keys() - set(keys))
    if foreign:
        raise DataError(
            f"{folder}: {len(foreign)} files are for no photograph of WIDER FACE's validation list (first: "
            f"{foreign[0]}.txt), expected event/name.txt with the list's names.",
        )
    if not files:
        raise DataError(f"{folder}: no prediction in it, expected event/name.txt for each photograph.")
    absent = [key for key in keys if key not in files]
    if whole and absent:
        events = sorted({key.split("/")[0] for key in keys} - {key.split("/")[0] for key in files})
        raise DataError(
            f"{folder}: {len(absent):,} of {len(keys):,} photographs have no prediction (first: {absent[0]}; whole "
            f"events that are missing: {', '.join(events) or 'none'}), expected all of them.",
            "leave --whole out to score the others against their own ground truth.",
        )
    return [read_prediction(files[key], key) for key in keys if key in files]


def read_prediction(path: Path, key: str) -> Prediction:
    """One file in the official layout. Its name line is compared with `key`'s name, with or without a suffix.

    Raises:
        DataError: as for `read_predictions`; the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: it cannot be read as text ({error}).") from error
    while lines and not lines[-1].strip():
        lines.pop()
    name = key.split("/")[1]
    if len(lines) < 2 or Path(lines[0].strip()).name not in (name, *(name + suffix for suffix in SUFFIXES)):
        raise DataError(
            f"{path}: it begins with '{lines[0].strip()[:80] if lines else ''}', expected the line '{name}' and the "
            "number of faces."
        )
    rows = [_row(path, number, line) for number, line in enumerate(lines[2:], start=3)]
    if lines[1].strip() != str(len(rows)):
        raise DataError(f"{path}, line 2: it says '{lines[1].strip()[:80]}' faces, and {len(rows)} follow.")
    return Prediction(key, np.array(rows, np.float64).reshape(-1, 5))


def _row(path: Path, number: int, line: str) -> tuple[float, ...]:
    try:
        values = tuple(map(float, line.split()))
    except ValueError:
        values = ()
    if len(values) != 5 or not all(map(math.isfinite, values)):
        raise DataError(f"{path}, line {number}: it is '{line[:80]}', expected 'x y width height score'.")
    if values[2] < 0 or values[3] < 0:
        raise DataError(f"{path}, line {number}: the box is {values[2]:g} x {values[3]:g}, expected no negative side.")
    if not 0 <= values[4] <= 1:
        raise DataError(f"{path}, line {number}: the score is {values[4]:g}, expected 0 to 1.")
    return values


def _is_count(text: str) -> bool:
    """A whole number from 1, in plain digits; nine of them are plenty."""
    return text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0


def _load(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The cell arrays `names` of a MATLAB 5 file."""
    try:
        reader = importlib.import_module("scipy.io")
    except ImportError as error:
        raise BackendError(f"{path}: scipy reads it and is not installed.", "pip install 'facepipe[wider]'") from error
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, expected WIDER FACE's ground truth ({FACES_FILE} and three gt lists).",
            "http://shuoyang1213.me/WIDERFACE/, 'Evaluation', eval_tools/ground_truth.",
        )
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), expected a MATLAB 5 file.") from error
    refuse_unbounded(raw, str(path))
    try:
        content = reader.loadmat(io.BytesIO(raw))
    except NotImplementedError as error:
        raise DataError(
            f"{path}: it is a MATLAB 7.3 (HDF5) file, expected MATLAB 5.", "save it with -v6 or -v7 in MATLAB."
        ) from error
    except Exception as error:  # scipy raises a dozen unrelated classes on damaged files; all mean "no such file"
        raise DataError(f"{path}: it cannot be read as a MATLAB 5 file ({error}).") from error
    for name in names:
        value = content.get(name)
        if not isinstance(value, np.ndarray) or value.dtype != object or value.ndim != 2 or value.shape[1] != 1:
            there = ", ".join(sorted(key for key in content if not key.startswith("_"))) or "nothing"
            raise DataError(f"{path}: it holds {there}, expected a column of cells '{name}'.")
    return dict(content)


def _texts(cells: np.ndarray) -> list[str]:
    texts = [str(cell.item()) for cell in cells[:, 0]]
    for text in texts:
        if not text or "/" in text or "\\" in text or text in (".", ".."):
            raise ValueError(f"a name is '{text}'")
    return texts


def _boxes(cell: np.ndarray) -> np.ndarray:
    boxes = np.asarray(cell, np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes have shape {list(boxes.shape)}")
    return boxes


def _mask(cell: np.ndarray, faces: int, where: str) -> np.ndarray:
    """1-based rows of the faces that count, as bool [G]."""
    rows = np.asarray(cell).astype(np.int64).reshape(-1)
    if rows.size and not 1 <= rows.min() <= rows.max() <= faces:
        raise ValueError(f"{where}: faces {rows.min()} to {rows.max()} of {faces} count")
    mask = np.zeros(faces, np.bool_)
    mask[rows - 1] = True
    return mask


def _refuse_duplicates(keys: Iterable[str], path: Path) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise DataError(f"{path}: {len(twice)} photographs are listed twice (first: {twice[0]}), expected each once.")
