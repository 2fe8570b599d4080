# SPDX-License-Identifier: Apache-2.0
"""One's own pairs as a table: two paths, whether they show the same person, and a fold if one likes.

    first,second,same,fold
    ann/1.jpg,ann/2.jpg,1,1
    ann/1.jpg,bob/1.jpg,0,1

The first line may be a header. Without one there are three columns, or four with the fold, in this order. With one,
`first`, `second`, `same` and `fold` are found by name where the first three are all there; else the first three columns
count, and `fold` by name; others are passed over. Fields are parted by commas, else by semicolons, else by tabs, and
may stand in double quotes. Paths are those below a folder of photographs, or lead into it from the root of the disk.
How the truth may be written stands in TRUTHS, in any case. Folds are numbers or words. A pair may be listed again, in
either order: it counts each time, if it says the same.

The file is a stranger's: its size, its pairs and its fields are bounded, and what is wrong is told with its line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from facepipe.datasets.folds import deal_folds
from facepipe.datasets.images import SUFFIXES
from facepipe.datasets.lfw import Pair, VerificationSet
from facepipe.errors import DataError

_ROOT = "the folder that holds them all, as the photographs' folder."

MOST_BYTES, MOST_PAIRS, MOST_FOLDS, LONGEST_PATH, LONGEST_FOLD = 1 << 27, 1_000_000, 100, 4096, 40
TRUTHS = {
    **dict.fromkeys(("1", "true", "yes", "same"), True),
    **dict.fromkeys(("0", "false", "no", "different"), False),
}
_NAMES = ("first", "second", "same")
_FORM = "first,second,same and perhaps fold"
_TRUTHS = "1, true, yes or same; or 0, false, no or different"

Row = tuple[int, list[str]]
"""Number of the line, from 1, and its fields."""


def read_pairs_csv(path: Path, root: Path) -> VerificationSet:
    """The verification set in the table `path`; photographs are not looked at.

    Args:
        root: the folder that paths are relative to.

    Raises:
        DataError: the file cannot be read or is too large; a line has another form than expected, contradicts an
            earlier one, or names a path outside `root`; a fold lacks one kind of pair.
    """
    content = _content(path)
    rows = _rows(path, content)
    first, second, same, fold, has_header = _columns(path, rows)
    pairs: list[tuple[str, str, bool]] = []
    folds: list[str] = []
    lines: list[int] = []
    seen: dict[frozenset[str], tuple[int, bool, str]] = {}
    for line, fields in rows[has_header:]:
        where = f"{path}, line {line}"
        _require_fields(where, fields, max(first, second, same, fold) + 1, exactly=not has_header)
        keys = _key(where, fields[first], root), _key(where, fields[second], root)
        if keys[0] == keys[1]:
            raise DataError(f"{where}: {keys[0][:80]!r} is there twice, expected two photographs.")
        truth = TRUTHS.get(fields[same].strip().lower())
        if truth is None:
            raise DataError(f"{where}: {fields[same][:80]!r} is no truth, expected {_TRUTHS}.")
        group = fields[fold].strip() if fold >= 0 else ""
        before = seen.setdefault(frozenset(keys), (line, truth, group))
        if before[1:] != (truth, group):
            what = "another truth" if before[1] != truth else "another fold"
            raise DataError(f"{where}: the pair of line {before[0]} again, with {what}, expected the same.")
        pairs.append((*keys, truth))
        folds.append(group)
        lines.append(line)
    if fold >= 0:
        numbers, count, rule = *_own_folds(path, lines, folds, pairs), "folds of the file's column"
    else:
        try:
            dealt = deal_folds(pairs)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        numbers, count, rule = dealt.folds, dealt.count, dealt.rule
    listed = tuple(Pair(*pair, number) for pair, number in zip(pairs, numbers, strict=True))
    files = ((path, hashlib.sha256(content).hexdigest()),)
    return VerificationSet(path.stem, listed, count, rule, files, tuple(f"line {line}" for line in lines))


def _content(path: Path) -> bytes:
    expected = "expected a table of pairs"
    if not path.is_file():
        raise DataError(f"{path}: no such file, {expected}.")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), {expected}.") from error
    if len(content) > MOST_BYTES:
        raise DataError(f"{path}: more than {MOST_BYTES:,} bytes, {expected} of that at most.")
    return content


def _rows(path: Path, content: bytes) -> list[Row]:
    """The lines that are not empty, parted."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text (byte {error.start}), expected a table of pairs.") from error
    rows: list[Row] = []
    for delimiter in ",;\t":
        rows = list(_parted(path, text, delimiter, 1))
        if rows and len(rows[0][1]) >= len(_NAMES):
            rows = list(_parted(path, text, delimiter, MOST_PAIRS + 1))
            break
    if not rows:
        raise DataError(f"{path}: it is empty, expected lines of {_FORM}.")
    return rows


def _parted(path: Path, text: str, delimiter: str, most: int) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    count = 0
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: {error}, expected {_FORM}, in double quotes or bare.") from error
        if any(field.strip() for field in fields):
            yield line, fields
            count += 1
            if count > MOST_PAIRS:
                raise DataError(f"{path}, line {line}: more than {MOST_PAIRS:,} pairs, expected that many at most.")
            if most == 1:
                return


def _columns(path: Path, rows: Sequence[Row]) -> tuple[int, int, int, int, bool]:
    """The places of the two paths, the truth and the fold (-1: none), and whether line 1 is a header."""
    line, fields = rows[0]
    _require_fields(f"{path}, line {line}", fields, len(_NAMES), exactly=False)
    named = {name.strip().lower(): place for place, name in reversed(list(enumerate(fields)))}
    # No header that anybody writes names a photograph, or says that it is true.
    photographs = any(PurePosixPath(field.strip()).suffix.lower() in SUFFIXES for field in fields)
    if photographs or fields[2].strip().lower() in TRUTHS.keys() - {"same"}:
        return 0, 1, 2, 3 if len(fields) > len(_NAMES) else -1, False
    fold = named.get("fold", -1)
    if named.keys() >= set(_NAMES):
        return named["first"], named["second"], named["same"], fold, True
    return 0, 1, 2, fold if fold > 2 else -1, True


def _require_fields(where: str, fields: Sequence[str], least: int, *, exactly: bool) -> None:
    if len(fields) < least or (exactly and len(fields) > least):
        count = f"{least}" if exactly else f"at least {least}"
        raise DataError(f"{where}: {','.join(fields)[:80]!r} has {len(fields)} fields, expected {count}: {_FORM}.")


def _key(where: str, path: str, root: Path) -> str:
    """The photograph's key, of a path below `root` or into it."""
    told = repr(path[:80])
    if not path.strip() or len(path) > LONGEST_PATH or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise DataError(f"{where}: {told} is no path, expected one of a photograph, of {LONGEST_PATH} letters at most.")
    given = PurePosixPath(posixpath.normpath(path))
    if given.is_absolute():
        roots = (root.absolute(), root.resolve())
        below = next((given.relative_to(one) for one in roots if given.is_relative_to(one)), None)
    else:
        below = None if given.parts[:1] in ((), ("..",)) else given
    if below is None or not below.parts:
        raise DataError(f"{where}: {told} does not lie below {root}, expected a photograph there.", _ROOT)
    return below.as_posix()


def _own_folds(
    path: Path, lines: Sequence[int], folds: Sequence[str], pairs: Sequence[tuple[str, str, bool]]
) -> tuple[tuple[int, ...], int]:
    """The numbers of the folds from 0, in the order of theirs, and how many there are."""
    for line, fold in zip(lines, folds, strict=True):
        if not fold or len(fold) > LONGEST_FOLD:
            raise DataError(f"{path}, line {line}: {fold[:80]!r} is no fold, expected a number or a word.")
    names = set(folds)
    whole = all(name.isascii() and name.isdigit() for name in names)
    ordered = sorted(names, key=lambda name: (int(name), name) if whole else (0, name))
    if not 2 <= len(ordered) <= MOST_FOLDS:
        raise DataError(
            f"{path}: {len(ordered)} folds, expected 2 to {MOST_FOLDS}: a threshold is chosen on the others."
        )
    there = {(fold, same) for fold, (_, _, same) in zip(folds, pairs, strict=True)}
    for name in ordered:
        for truth, kind in ((True, "one person"), (False, "two people")):
            if (name, truth) not in there:
                raise DataError(f"{path}: fold {name!r} has no pair of {kind}, expected some of both kinds.")
    number = {name: place for place, name in enumerate(ordered)}
    return tuple(number[fold] for fold in folds), len(ordered)
