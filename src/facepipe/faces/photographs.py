# SPDX-License-Identifier: Apache-2.0
"""The one reader of photographs: the bytes of a file are read once, those bytes are hashed, those bytes are decoded.

So the digest that a run records is that of the pixels it saw, whatever happens to the file meanwhile. What may be
looked at is bounded here for everybody, on the disk and in memory alike.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.datasets.images import (
    MORE,
    Decoded,
    PillowImage,
    decode_or_reason,
    file_or_reason,
    is_animated,
    list_keys,
    of_pillow,
    other_kinds,
    size_or_reason,
)
from facepipe.errors import DataError
from facepipe.results import Unread
from facepipe.store.shard import stamp_of

MAX_BATCH_PIXELS = 1 << 23
"""Photographs of one batch together: 8.4 million pixels, one 4K scene or 134 of LFW's."""

PEEK_PIXELS = MAX_BATCH_PIXELS // 4
"""From here on the size of the next photograph is read from its header first; 34 of LFW's are fewer."""

MAX_FILE_BYTES = 1 << 27
"""The largest file that is held: 134 MB, more than 12.5 million pixels take in any format without compression."""

_PIECE = 1 << 20
_MOST_KINDS, _MOST_NAMED = 8, 3
_NUMBERS = re.compile(r"\d[\d,.]*")

FULL_SIZE_PIXELS, REDUCED_PIXELS = 12_500_000, 25_000_000
"""Pixels of the largest photograph that is looked at: where a detector sees all of them, and where it sees a copy of a
working size. Either way a process takes at most some 400 MB for it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is decoded of a photograph, and the largest one that is looked at.

    Attributes:
        max_pixels: as they are decoded. The default is a telephone's 4032 x 3024, of which the cascade takes some 25
            bytes for each pixel where it sees all of them.
        max_side: JPEG's own limit, and what the first network is declared for.
        size: pixels of the longer side that a detector looks at: a JPEG is decoded at a half, a quarter or an eighth
            where that is enough. 0: everything is decoded in full.
    """

    max_pixels: int = FULL_SIZE_PIXELS
    max_side: int = 65_535
    size: int = 0

    @property
    def memory(self) -> int:
        """Bytes that one photograph may take, file and all; it is estimated before anything is decoded."""
        return self.max_pixels * (16 if self.size else 32)


EVERYDAY = Limits()


def limits_for(size: int, max_pixels: int | None = None) -> Limits:
    """The limits where a detector looks at `size` pixels of the longer side, 0: at all of them.

    Args:
        max_pixels: None: as many as take 400 MB.
    """
    return Limits(max_pixels or (REDUCED_PIXELS if size else FULL_SIZE_PIXELS), size=size)


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """One photograph of a folder.

    Attributes:
        key: POSIX path below the folder.
        decoded: what a pipeline looks at; or why it cannot be had.
        sha256: of the file's bytes in hex, the very bytes that were decoded; "" where there was no file to read.
        stamp: of the file as it was opened (`store.shard.stamp_of`); "" where it would not tell a later change.
    """

    key: str
    decoded: Decoded | Unread
    sha256: str
    stamp: str = ""

    @property
    def pixels(self) -> np.ndarray | Unread:
        """uint8 [h, w, 3] RGB, upright: all that was decoded; or why they cannot be had."""
        return self.decoded if isinstance(self.decoded, Unread) else self.decoded.pixels


def read_photographs(
    root: Path, keys: Sequence[str], batch: int, limits: Limits = EVERYDAY, *, undecoded: Collection[str] = ()
) -> Iterator[list[Photograph]]:
    """The photographs in order, at most `batch` and MAX_BATCH_PIXELS at a time (one that is larger comes alone).

    What cannot be read keeps its place, its key and the reason. A file of more than MAX_FILE_BYTES is hashed in pieces
    and not decoded. Nothing of one batch is kept while the caller has the next, and while the batch is large its
    successor is not decoded yet (its bytes are there).

    Args:
        undecoded: keys of photographs that are hashed and not looked at; they come as Unread.
    """
    # Nothing between the reader and the batches holds on to a file's bytes.
    yield from _in_batches((_source(root, key, key in undecoded) for key in keys), batch, limits)


def read_given(
    given: Iterable[Path | bytes | np.ndarray | PillowImage], batch: int, limits: Limits = EVERYDAY
) -> Iterator[list[Photograph]]:
    """The same for files anywhere, for the bytes of files, for arrays uint8 [H, W, 3] RGB and for what Pillow holds;
    these three have no key and no digest."""
    sources = ((str(one), *_bytes_of(one)) if isinstance(one, Path) else ("", one, "", "") for one in given)
    yield from _in_batches(sources, batch, limits)


_Content = bytes | np.ndarray | PillowImage | Unread


def _in_batches(
    sources: Iterable[tuple[str, _Content, str, str]], batch: int, limits: Limits
) -> Iterator[list[Photograph]]:
    """Photographs of (key, content, sha256, stamp), in bounded batches."""
    members: list[Photograph] = []
    pixels = 0
    for key, content, sha256, stamp in sources:
        is_full = len(members) == batch
        if is_full or (pixels > PEEK_PIXELS and pixels + _declared(content, limits) > MAX_BATCH_PIXELS):
            yield members
            members, pixels = [], 0
        image = _decoded(content, limits)
        size = 0 if isinstance(image, Unread) else _held(image)
        if members and pixels + size > MAX_BATCH_PIXELS:
            yield members
            members, pixels = [], 0
        members.append(Photograph(key, image, sha256, stamp))
        del image, content
        pixels += size
    if members:
        yield members


def _source(root: Path, key: str, undecoded: bool) -> tuple[str, bytes | Unread, str, str]:
    content, sha256, stamp = _bytes_of(root / key)
    return key, Unread("was left out") if undecoded else content, sha256, stamp


def read_photograph(path: Path, limits: Limits = EVERYDAY) -> Photograph:
    """One photograph by itself; its key is its name."""
    ((photograph,),) = read_photographs(path.parent, [path.name], 1, limits)
    return photograph


def decoded_or_error(path: Path, limits: Limits = EVERYDAY) -> Decoded:
    """A photograph that a command cannot do without.

    Raises:
        DataError: it cannot be read; the reason is named.
    """
    decoded = read_photograph(path, limits).decoded
    if isinstance(decoded, Unread):
        raise DataError(f"{path}: {decoded.reason}.")
    return decoded


def checked(image: np.ndarray, limits: Limits = EVERYDAY) -> np.ndarray | Unread:
    """A picture given in memory, or why it is not looked at: its form, or the same limits as a file's."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        return Unread(f"is {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3]")
    height, width = image.shape[:2]
    if height * width > limits.max_pixels:
        return Unread(f"has {width}x{height} pixels, at most {limits.max_pixels:,} are read{MORE}")
    if max(height, width) > limits.max_side:
        return Unread(f"has a side of {max(height, width)} pixels, expected at most {limits.max_side}")
    return image


def photographs_of(root: Path, out: Path) -> list[str]:
    """The keys of `root`, without what lies in `out`: results of an earlier call are no photographs.

    Raises:
        DataError: there is no such folder, or no photograph in it.
    """
    keys, folder = list_keys(root), out.resolve()
    if not folder.is_relative_to(root.resolve()) or folder == root.resolve():
        return keys
    inside = folder.relative_to(root.resolve()).as_posix() + "/"
    kept = [key for key in keys if not key.startswith(inside)]
    if not kept:
        raise DataError(f"{root}: no photograph in it beside {out}, expected some.")
    return kept


def _bytes_of(path: Path) -> tuple[bytes | Unread, str, str]:
    """The content of a file, its sha256 and its stamp; of one that is too large to be held, the reason for the content.

    The stamp is taken before the content is read, so that what is changed meanwhile has another one.
    """
    file = file_or_reason(path)
    if isinstance(file, Unread):
        return file, "", ""
    digest = hashlib.sha256()
    try:
        with file:
            status = os.fstat(file.fileno())
            size, stamp = status.st_size, stamp_of(status)
            if size <= MAX_FILE_BYTES:
                content = file.read(size)
                digest.update(content)
                return content, digest.hexdigest(), stamp
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        return Unread(f"cannot be read ({error.strerror or error})"), "", ""
    return Unread(f"has {size:,} bytes, at most {MAX_FILE_BYTES:,} are read"), digest.hexdigest(), stamp


def notes_of(root: Path, keys: Iterable[str], unread: Iterable[str] = (), out: Path | None = None) -> list[str]:
    """What was not looked at of a folder, in words: a line for each kind, none where all was.

    Args:
        keys: the photographs below `root` that were; those with several frames are named.
        unread: why others could not be. Reasons that differ in their numbers alone are of one kind.
        out: the folder of the results, which is not searched for files of other kinds; None: none are looked for.
    """
    kinds: dict[str, list[str]] = {}
    for reason in unread:
        kinds.setdefault(_NUMBERS.sub("#", reason), []).append(reason)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    notes = [f"{len(of):,} unread{'' if len(of) == 1 else ', of which the first'}: {of[0]}" for of in ordered]
    if moving := [key for key in keys if is_animated(root / key)]:
        named = ", ".join(moving[:_MOST_NAMED]) + (", ..." if len(moving) > _MOST_NAMED else "")
        notes.append(f"{len(moving):,} with several frames or pages, of which the first was looked at: {named}")
    if out is not None and (others := other_kinds(root, out)):
        files, most = sum(others.values()), list(others.items())[:_MOST_KINDS]
        told = [f"{kind} {count:,}" for kind, count in most]
        if rest := files - sum(count for _, count in most):
            told.append(f"others {rest:,}")
        were = "file of another kind was" if files == 1 else "files of other kinds were"
        notes.append(f"{files:,} {were} not looked at ({', '.join(told)})")
    return notes


def _held(image: Decoded) -> int:
    """The pixels that a batch holds for a photograph; its file, while it is kept, counts as the pixels it would be."""
    return image.pixels.shape[0] * image.pixels.shape[1] + len(image.content) // 3


def _declared(content: _Content, limits: Limits) -> int:
    """The pixels that a photograph would be decoded at, as it says; 0 when it will not be."""
    if isinstance(content, PillowImage):
        return content.width * content.height
    if isinstance(content, np.ndarray):
        content = checked(content, limits)
        return 0 if isinstance(content, Unread) else content.shape[0] * content.shape[1]
    size = content if isinstance(content, Unread) else size_or_reason(content, limits.size)
    if isinstance(size, Unread):
        return 0
    height, width = size
    return height * width if height * width <= limits.max_pixels else 0


def _decoded(content: _Content, limits: Limits) -> Decoded | Unread:
    if isinstance(content, Unread):
        return content
    if isinstance(content, PillowImage):
        return of_pillow(content, limits.max_pixels, limits.max_side, limits.memory)
    if isinstance(content, np.ndarray):
        image = checked(content, limits)
        return image if isinstance(image, Unread) else Decoded(image, *image.shape[:2])
    return decode_or_reason(content, limits.max_pixels, limits.max_side, limits.size, limits.memory)
