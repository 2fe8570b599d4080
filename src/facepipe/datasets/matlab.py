# SPDX-License-Identifier: Apache-2.0
"""MATLAB 5 files looked over before SciPy reads them: it makes room for what a file says that it holds.

A file of 200 bytes can claim a hundred million cells, and one of 400 kB can inflate to 400 MB.

Source: MathWorks, "MAT-File Format", version 5, chapter 1.
"""

from __future__ import annotations

import struct
import zlib
from math import prod

from facepipe.errors import DataError

# Of lists of names and boxes; the official ground truth inflates to six times its size.
INFLATED = 20
DEEPEST = 8

_HEADER = 128
_VERSIONS = {0x0100: "5", 0x0200: "7.3"}
_MATRIX, _COMPRESSED = 14, 15
_CELLS = 1
# Text, and numbers of 8 to 64 bits.
_FLAT = frozenset([4, *range(6, 16)])
_SMALLEST = 8  # an element that is empty


def refuse_unbounded(content: bytes, where: str) -> None:
    """Nothing but cells, text and numbers, no more of them than the bytes can hold.

    A MATLAB 7.3 (HDF5) file passes: SciPy reads nothing of it.

    Raises:
        DataError: it is no MATLAB 5 file, holds something else, or claims or inflates to more than it can hold.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    version = struct.unpack(f"{order}H", content[124:126])[0] if order else 0
    if version not in _VERSIONS:
        raise DataError(f"{where}: it cannot be read as a MATLAB 5 file (it begins like none).")
    if _VERSIONS[version] != "5":
        return
    room = INFLATED * len(content)
    pending: list[tuple[bytes, int]] = []
    try:
        for kind, body in _elements(content[_HEADER:], f"{order}II"):
            if kind == _COMPRESSED:
                inflater = zlib.decompressobj()
                body = inflater.decompress(body, room + 1)
                room -= len(body)
                if room < 0:
                    raise DataError(f"{where}: it inflates to more than {INFLATED} times its size.")
                pending += [(inner, 0) for kind, inner in _elements(body, f"{order}II") if kind == _MATRIX]
            elif kind == _MATRIX:
                pending.append((body, 0))
        while pending:
            body, depth = pending.pop()
            parts = _elements(body, f"{order}II")
            if not parts:  # an empty cell
                continue
            ((_, flags), (_, sizes), _, *rest) = parts
            kind = struct.unpack(f"{order}I", flags[:4])[0] & 0xFF
            count = prod(max(size, 0) for size in struct.unpack(f"{order}{len(sizes) // 4}i", sizes))
            if kind == _CELLS:
                if count > len(rest) or depth == DEEPEST:
                    raise DataError(f"{where}: it claims {count:,} cells, {depth} deep, and {len(rest):,} are there.")
                pending += [(inner, depth + 1) for _, inner in rest]
            elif kind not in _FLAT:
                raise DataError(f"{where}: it holds a value of class {kind}, expected cells, text and numbers.")
            elif count > sum(len(data) for _, data in rest):
                raise DataError(f"{where}: it claims {count:,} numbers, which are not there.")
    except (struct.error, zlib.error, ValueError) as error:
        raise DataError(f"{where}: it cannot be read as a MATLAB 5 file ({error}).") from error


def _elements(content: bytes, tag: str) -> list[tuple[int, bytes]]:
    """(type, data) of the elements that follow each other; one of at most four bytes lies in its own tag."""
    elements = []
    at = 0
    while at + _SMALLEST <= len(content):
        kind, size = struct.unpack_from(tag, content, at)
        if kind >> 16:
            kind, size, begin, step = kind & 0xFFFF, kind >> 16, at + 4, _SMALLEST
        else:
            begin, step = at + 8, 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if begin + size > len(content):
            raise ValueError(f"an element at byte {at} ends behind the file")
        elements.append((kind, content[begin : begin + size]))
        at += step
    return elements
