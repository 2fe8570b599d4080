# SPDX-License-Identifier: Apache-2.0
"""Pairs of photographs, same person or not: what a verification set is, and LFW's text form of one.

Huang et al. 2007, "Labeled Faces in the Wild". View 2 (`pairs.txt`) begins with "folds N", View 1 (`pairsDevTrain.txt`,
`pairsDevTest.txt`) with "N". Then, for each fold, come N lines "name i j" (the same person) and N lines
"name i other j" (two persons), fields parted by tabs. Photograph i of a person is `<name>/<name>_%04d` + extension.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facepipe.errors import DataError

# In the order in which a photograph is looked for.
EXTENSIONS = (".jpg", ".png")
IN_ORDER = "folds in the file's order"
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
    """Pairs in the file's order. Nothing is shuffled or dropped: a pair that is listed twice counts twice.

    Attributes:
        rule: where the folds come from, in words that begin with "folds".
        files: those that were read, and the sha256 of what was read; none of a set that was not read from files.
        places: where in its file each pair stands, in words; empty where nobody asks.
    """

    name: str
    pairs: tuple[Pair, ...]
    folds: int
    rule: str = IN_ORDER
    files: tuple[tuple[Path, str], ...] = ()
    places: tuple[str, ...] = ()

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


def read_verification_set(path: Path, root: Path) -> VerificationSet:
    """The pairs of photographs below `root` that `path` holds; photographs are not looked at.

    Args:
        path: a folder of CFP's protocol (`<CFP>/Protocol/Split/FF` or `FP`), a table (`.csv`, `.tsv`; see
            `datasets.pairs_csv`), or a file in LFW's form.

    Raises:
        DataError: it has another form.
    """
    # Not above: their readers need what stands here.
    from facepipe.datasets.cfp import read_cfp_pairs
    from facepipe.datasets.pairs_csv import read_pairs_csv

    if path.is_dir():
        if path.name not in ("FF", "FP") or path.parent.name != "Split":
            raise DataError(f"{path}: is a folder, expected a pairs file, or CFP's Protocol/Split/FF or FP.")
        return read_cfp_pairs(path.absolute().parents[2], "FF" if path.name == "FF" else "FP")
    if is_table(path):
        return read_pairs_csv(path, root)
    return read_pairs(path, extensions_in(root))


def is_table(path: Path) -> bool:
    """Whether pairs of that name are a table, and not in LFW's form."""
    return path.suffix.lower() in (".csv", ".tsv")


def read_pairs(path: Path, extension_of: Callable[[str], str] = jpg) -> VerificationSet:
    """The verification set in `path`, named by the file; photographs are not looked at.

    Args:
        path: a pairs file.
        extension_of: from "name/name_0001" to the photograph's extension; see `extensions_in`.

    Raises:
        DataError: the file cannot be read, or a line has another form than expected; the line is shown.
    """
    content = _content(path)
    lines = _lines(path, content)
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
    places = tuple(f"line {index + 2}" for index in range(len(pairs)))
    files = ((path, hashlib.sha256(content).hexdigest()),)
    return VerificationSet(path.stem, tuple(pairs), folds, files=files, places=places)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), expected a pairs file in LFW's form.") from error


def _lines(path: Path, content: bytes) -> list[str]:
    """The lines without the empty ones at the end."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is no UTF-8 text (byte {error.start}), expected a pairs file in LFW's form."
        ) from error
    # Not splitlines: it would also cut at separators that a name may hold.
    return text.rstrip().replace("\r\n", "\n").replace("\r", "\n").split("\n") if text.strip() else []


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
