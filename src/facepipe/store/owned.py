# SPDX-License-Identifier: Apache-2.0
"""Which files are facepipe's own: it replaces and removes those alone.

A folder that facepipe fills holds `owned.jsonl`: one line for each file that was written in it or below, with its path
and the sha256 of its content. The line is there before the file takes its name, so a kill leaves nothing that nobody
knows. What lies at such a path with another content is somebody else's, or was edited, and stays. A folder with content
and without that record is not filled at all.

Below the record nothing that is a link is followed. The folder itself may be one.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from facepipe.errors import StageError
from facepipe.store.lock import LOCK, is_lock
from facepipe.store.parts import appear, is_part, part_of

RECORD = "owned.jsonl"
_HEADER = b'{"format": "facepipe.owned.1"}\n'


def claim(folder: Path, attempt: str = "name another folder.") -> None:
    """Make `folder` one of facepipe's: it is there afterwards, with its record.

    Args:
        folder: absent, empty, or one that was claimed before. Unfinished files and a lock of ours count as nothing.
        attempt: what the error advises, with the command's own option.

    Raises:
        StageError: it is no folder, or it holds something and no record of ours.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        names = []
        if folder.is_symlink():
            raise StageError(f"{folder}: is a link to nothing, expected a folder.", attempt) from None
    except NotADirectoryError:
        raise StageError(f"{folder}: is no folder, expected one to fill.", attempt) from None
    if _is_record(folder / RECORD):
        return
    others = [name for name in names if not _is_nothing(folder / name)]
    if others:
        raise StageError(
            f"{folder}: holds {len(others)} {'entry' if len(others) == 1 else 'entries'} that facepipe did not make "
            f"(first: {others[0]}) and no {RECORD}, expected an empty folder or one that it filled before.",
            attempt,
        )
    folder.mkdir(parents=True, exist_ok=True)
    _begin_record(folder)


def keep_record(path: Path) -> None:
    """See to it that what is written at `path` is recorded: in a folder above that is claimed, else in its own, which
    may hold a user's files beside (`weights/`).

    Raises:
        StageError: a file in the record's place is none.
    """
    if record_above(path) is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path.parent / RECORD):
            raise StageError(f"{path.parent / RECORD}: is no record of facepipe's, expected one or nothing.", _AWAY)
        _begin_record(path.parent)


def record_above(path: Path) -> Path | None:
    """The nearest folder above `path` that has a record; None where there is none."""
    return next((folder for folder in path.absolute().parents if _is_record(folder / RECORD)), None)


def require_place(path: Path) -> None:
    """Refuse a place where nothing of ours can lie: below the record's folder, a link or a file on the way to it; at
    the place itself anything but a plain file or nothing.

    Raises:
        StageError: so it is; what is in the way is named.
    """
    root = record_above(path)
    if root is not None:
        inside = path.absolute().relative_to(root).parts
        for depth in range(1, len(inside)):
            _require(root.joinpath(*inside[:depth]), stat.S_ISDIR, "a folder")
    _require(path, stat.S_ISREG, "a file")


def place(part: Path, path: Path, *, overwrite: bool = False) -> None:
    """`part`, which is whole, becomes `path`. A file that is there with the same content stays as it is.

    Args:
        overwrite: replace also a file that is not known as ours: the user has said so.

    Raises:
        StageError: there is another file and it is not ours; or as `require_place`.
    """
    require_place(path)
    content = _sha256(part)
    if os.path.lexists(path):
        if _sha256(path) == content:
            part.unlink()
            return
        if not overwrite:
            require_own(path)
    _note(path, content)
    part.replace(path)


def place_folder(part: Path, folder: Path) -> None:
    """The folder `part` becomes `folder`, which is absent or empty; its files are recorded.

    Raises:
        StageError: `folder` is a link, a file, or holds something.
    """
    _require(folder, stat.S_ISDIR, "a folder")
    require_place(folder / RECORD)
    if os.path.lexists(folder) and (first := next(folder.iterdir(), None)) is not None:
        raise StageError(f"{folder}: holds {first.name}, expected nothing there.", _AWAY)
    for name, path in files_below(part):
        _note(folder / name, _sha256(path))
    part.replace(folder)


def require_free(paths: Iterable[Path], overwrite: bool, attempt: str = "--overwrite, or another name.") -> None:
    """Refuse, before any work, to write over files that are not known as ours, unless the user said so.

    Args:
        attempt: what the error advises.

    Raises:
        StageError: the first of them is named; or as `require_place`.
    """
    for path in paths:
        require_place(path)
        if not overwrite and os.path.lexists(path) and not is_own(path):
            raise StageError(f"{path}: is there already, expected no file.", attempt)


def is_own(path: Path) -> bool:
    """Whether there is a file whose content facepipe wrote there."""
    root = record_above(path)
    if root is None or not path.is_file() or path.is_symlink():
        return False
    return _line(root, path, _sha256(path)) in (root / RECORD).read_bytes()


def require_grown(path: Path) -> None:
    """Refuse a file that grows by lines, unless its first line is what facepipe once wrote there as the whole file.

    Raises:
        StageError: it begins otherwise, or is no plain file.
    """
    require_place(path)
    root = record_above(path)
    with path.open("rb") as lines:
        first = hashlib.sha256(lines.readline()).hexdigest()
    if root is None or _line(root, path, first) not in (root / RECORD).read_bytes():
        raise StageError(
            f"{path}: does not begin as facepipe wrote it, or is not from facepipe; it stays, expected nothing there "
            "or a file of facepipe's own.",
            _AWAY,
        )


def require_own(path: Path) -> None:
    """Raise StageError unless there is a file that facepipe wrote there."""
    if not is_own(path):
        raise StageError(
            f"{path}: is not as facepipe wrote it, or not from facepipe; it stays, expected nothing there or a file "
            "of facepipe's own.",
            _AWAY,
        )


def adopt(path: Path) -> None:
    """Take a file for ours of which something else than the record says that it is: see `made_from.require_own`."""
    if not is_own(path):
        _note(path, _sha256(path))


def remove(path: Path) -> None:
    """Remove a file of ours, if it is there.

    Raises:
        StageError: there is something else.
    """
    if os.path.lexists(path):
        require_place(path)
        require_own(path)
        path.unlink()


def rename(path: Path, to: Path) -> None:
    """A file of ours takes another name.

    Raises:
        StageError: one of the two is not ours.
    """
    require_place(path)
    require_own(path)
    place_over = os.path.lexists(to)
    require_place(to)
    if place_over:
        require_own(to)
    _note(to, _sha256(path))
    path.replace(to)


def require_all_own(folder: Path) -> None:
    """Refuse unless every visible file below `folder` is ours, and nothing there is a link or a device.

    Raises:
        StageError: the first that is not is named.
    """
    root = record_above(folder / RECORD)
    lines = set[bytes]() if root is None else set((root / RECORD).read_bytes().splitlines(keepends=True))
    for name, path in files_below(folder):
        if name != RECORD:
            require_place(path)
            # Read once for all: a staged run of many photographs has as many crops.
            if root is None or path.is_symlink() or _line(root, path, _sha256(path)) not in lines:
                require_own(path)


def remove_below(folder: Path, but: str = "") -> None:
    """Remove what is ours below `folder`, and the folders that are empty then, itself too; hidden names stay.

    Args:
        but: a name in it that stays.

    Raises:
        StageError: as `require_all_own`, before anything is removed.
    """
    require_all_own(folder)
    for name, path in files_below(folder):
        if name not in (but, RECORD):
            path.unlink()
    for place_, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            below = Path(place_, name)
            if not name.startswith(".") and not any(below.iterdir()):
                below.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def files_below(folder: Path) -> list[tuple[str, Path]]:
    """What lies below `folder` and is no folder, by its path from there; links are not followed, hidden names left
    out."""
    return sorted(_files(folder, ""))


def recorded(folder: Path) -> dict[str, str]:
    """The sha256 with which each file of `folder` was written last, by name."""
    root = record_above(folder / RECORD)
    if root is None:
        return {}
    inside = folder.absolute().relative_to(root)
    return {Path(path).name: sha256 for path, sha256 in _lines(root) if Path(path).parent == inside}


def folders_written(folder: Path) -> list[Path]:
    """The claimed folder and those below it in which facepipe wrote; no link is among them."""
    inside = {".", *(str(parent) for path, _ in _lines(folder) for parent in Path(path).parents)}
    found = [folder / name for name in sorted(inside)]
    return [path for path in found if path == folder or (path.is_dir() and not _link_on_the_way(folder, path))]


_AWAY = "move it away."


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", Path(entry.path)


def _lines(root: Path) -> Iterator[tuple[str, str]]:
    """Path and sha256 of every line, in their order."""
    for line in (root / RECORD).read_bytes().splitlines()[1:]:
        start = line.rfind(b'{"path": ')  # what a full disk cut off stands before it
        try:
            told = json.loads(line[start:])
            yield str(told["path"]), str(told["sha256"])
        except (ValueError, KeyError, TypeError):
            continue


def _link_on_the_way(root: Path, path: Path) -> bool:
    inside = path.relative_to(root).parts
    return any(root.joinpath(*inside[: depth + 1]).is_symlink() for depth in range(len(inside)))


def _is_nothing(path: Path) -> bool:
    """An unfinished file of ours, or a lock."""
    return is_part(path) or (path.name == LOCK and is_lock(path))


def _require(path: Path, is_right: Callable[[int], bool], expected: str) -> None:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not is_right(mode):
        kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"))
        kind = next((name for is_kind, name in kinds if is_kind(mode)), "neither a file nor a folder")
        raise StageError(f"{path}: is {kind}, expected {expected} of facepipe's or nothing.", _AWAY)


def _is_record(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as source:
            return source.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def _begin_record(folder: Path) -> None:
    part = part_of(folder / RECORD)
    try:
        part.write_bytes(_HEADER)
        appear(part, folder / RECORD)  # another process may have begun it just now, and its lines stay
    finally:
        part.unlink(missing_ok=True)


def _note(path: Path, sha256: str) -> None:
    """Record what is about to be at `path`, where there is a record."""
    root = record_above(path)
    if root is not None:
        line = _line(root, path, sha256)
        with (root / RECORD).open("ab", buffering=0) as record:  # one call of the system: lines of workers do not mix
            if record.write(line) != len(line):
                raise OSError(28, "No space left on device", str(root / RECORD))


def _line(root: Path, path: Path, sha256: str) -> bytes:
    inside = path.absolute().relative_to(root).as_posix()
    return json.dumps({"path": inside, "sha256": sha256}).encode() + b"\n"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while piece := source.read(1 << 16):
            digest.update(piece)
    return digest.hexdigest()
