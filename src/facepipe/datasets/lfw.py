# SPDX-License-Identifier: Apache-2.0
"""Pairs of photographs, same person or not, in LFW's text form.

Huang et al. 2007, "Labeled Faces in the Wild". View 2 (`pairs.txt`) begins with "folds N", View 1 (`pairsDevTrain.txt`,
`pairsDevTest.txt`) with "N". Then, for each fold, come N lines "name i j" (the same person) and N lines
"name i other j" (two persons), fields parted by tabs. Photograph i of a person is `<name>/<name>_%04d` + extension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facepipe.errors import DataError

# In the order in which a photograph is looked for.
EXTENSIONS = (".jpg", ".png")
_FORM = "'name i j' or 'name i other j', parted by tabs"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photographs by key, whether they show the same person, and the fold, counted from 0."""

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True, slots=True)
class VerificationSet:
    """Pairs in the file's order. Nothing is shuffled or dropped: a pair that is listed twice counts twice."""

    name: str
    pairs: tuple[Pair, ...]
    folds: int

    def keys(self) -> tuple[str, ...]:
        """Every photograph that a pair names, once, sorted."""
        return tuple(sorted({key for pair in self.pairs for key in (pair.first, pair.second)}))

    def repeated(self) -> int:
        """How many pairs compare two photographs that an earlier pair compared, in either order."""
        return len(self.pairs) - len({frozenset((pair.first, pair.second)) for pair in self.pairs})


def jpg(stem: str) -> str:
    """The extension of every photograph in LFW."""
    return ".jpg"


def extensions_in(root: Path) -> Callable[[str], str]:
    """A function from a key without extension to the extension that it has below `root`.

    `.jpg` is looked for before `.png`. A photograph that has neither is called `.jpg`: it stays in the set, and the run
    reports it as missing.
    """

    def extension_of(stem: str) -> str:
        return next((extension for extension in EXTENSIONS if (root / (stem + extension)).is_file()), EXTENSIONS[0])

    return extension_of


def read_pairs(path: Path, extension_of: Callable[[str], str] = jpg) -> VerificationSet:
    """The verification set in `path`, named by the file; photographs are not looked at.

    Args:
        path: a pairs file.
        extension_of: from "name/name_0001" to the photograph's extension; see `extensions_in`.

    Raises:
        DataError: the file cannot be read, or a line has another form than expected; the line is shown.
    """
    lines = _lines(path)
    folds, per_kind = _header(path, lines[0] if lines else "")
    expected = folds * per_kind * 2
    if len(lines) - 1 != expected:
        raise DataError(
            f"{path}: {len(lines) - 1:,} pairs, expected {expected:,}: "
            f"the first line says {folds} fold(s) of {per_kind} same and {per_kind} different."
        )
    pairs = []
    for index, line in enumerate(lines[1:]):
        fold, place = divmod(index, 2 * per_kind)
        pairs.append(_pair(f"{path}, line {index + 2}", line, place < per_kind, fold, extension_of))
    return VerificationSet(path.stem, tuple(pairs), folds)


def _lines(path: Path) -> list[str]:
    """The lines of `path` without the empty ones at its end."""
    expected = "expected a pairs file in LFW's form"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), {expected}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text (byte {error.start}), {expected}.") from error
    # Not splitlines: it would also cut at separators that a name may hold.
    return [line.removesuffix("\r") for line in text.rstrip().split("\n")] if text.strip() else []


def _fields(line: str) -> list[str]:
    """Parted by tabs where there are any, so that a name may hold spaces; else by white space."""
    return line.split("\t") if "\t" in line else line.split()


def _header(path: Path, line: str) -> tuple[int, int]:
    """Folds, and the pairs of each kind in one fold."""
    fields = _fields(line)
    if len(fields) not in (1, 2) or not all(map(_is_count, fields)):
        raise DataError(f"{path}, line 1: {line[:80]!r}, expected 'folds pairs' (10 300) or one number (500).")
    counts = [int(field) for field in fields]
    return (counts[0], counts[1]) if len(counts) == 2 else (1, counts[0])


def _pair(where: str, line: str, same: bool, fold: int, extension_of: Callable[[str], str]) -> Pair:
    fields = _fields(line)
    if len(fields) != (3 if same else 4):
        kind = "the same person: 'name i j'" if same else "two persons: 'name i other j'"
        raise DataError(f"{where}: {line[:80]!r} has {len(fields)} fields, expected a pair of {kind}, parted by tabs.")
    names, numbers = (fields[0], fields[0]) if same else (fields[0], fields[2]), (fields[1], fields[-1])
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise DataError(f"{where}: {name[:80]!r} is no name of a person, expected {_FORM}.")
    for number in numbers:
        if not _is_count(number):
            raise DataError(f"{where}: {number[:80]!r} is no number of a photograph, expected {_FORM}.")
    if not same and names[0] == names[1]:
        raise DataError(f"{where}: {line[:80]!r} has one person twice, expected two persons.")
    if same and int(numbers[0]) == int(numbers[1]):
        raise DataError(f"{where}: {line[:80]!r} has one photograph twice, expected two photographs.")
    stems = [f"{name}/{name}_{int(number):04d}" for name, number in zip(names, numbers, strict=True)]
    first, second = (stem + extension_of(stem) for stem in stems)
    return Pair(first, second, same, fold)


def _is_count(text: str) -> bool:
    """A whole number from 1, in plain digits; nine of them are plenty."""
    return text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0
