# SPDX-License-Identifier: Apache-2.0
"""What Pillow would read wrong, or read although it is damaged: found here before it is decoded, and said in words.

JPEG has a file of its own. What no decoder can tell (zeros where an uncompressed or a lossless WebP picture had data,
other values under a right checksum) is listed in docs/reliability.md.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile


class Unreadable(Exception):
    """Why a photograph cannot be read; the text completes "the picture ..." and has no path in it."""


_PNG_SIGNATURE = 8
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# x and y of the first pixel, and steps, of each pass of an interlaced picture: ISO/IEC 15948, 8.2.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20
# The rest are notes that no pixel depends on.
_PNG_CHECKED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf"})

_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_COMPRESSION, _TIFF_PHOTOMETRIC = 256, 257, 258, 259, 262
_TIFF_FILL_ORDER, _TIFF_STRIPS, _TIFF_ROWS, _TIFF_PLANAR = 266, 273, 278, 284
_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT, _TIFF_TILES, _TIFF_EXTRA, _TIFF_FORMAT = 322, 323, 324, 338, 339
_TIFF_OLD_JPEG, _TIFF_JPEG = 6, 7
_WHITE_IS_ZERO, _CIELAB = 0, 8
_FLOATING_POINT = 3


def refuse_damaged_png(content: bytes) -> None:
    """Every chunk that pixels depend on has its checksum, and the file its end. Source: PNG (ISO/IEC 15948), 5.3.

    Raises:
        Unreadable: a checksum differs, or a chunk is cut off.
    """
    for kind, body, checksum in _chunks(content):
        if kind in _PNG_CHECKED and zlib.crc32(body, zlib.crc32(kind)) != checksum:
            raise Unreadable(f"is broken (a checksum of its {kind.decode('latin-1')} data is wrong)")
        if kind == b"IEND":
            return
    raise Unreadable("is broken (its PNG data ends too early)")


def refuse_missing_rows(image: ImageFile.ImageFile, content: bytes) -> None:
    """Every row of a decoded PNG was in its data. Pillow leaves those black that were not.

    Rows come from above, so one that is not black in the last line shows that all have come; else the data is inflated
    again and counted.

    Raises:
        Unreadable: there is less data than the picture has rows.
    """
    width, height, bits, colour, _, _, interlaced = _png_header(content)
    if not interlaced and np.asarray(image.crop((0, height - 1, width, height))).any():
        return
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    needed = sum(
        (1 + -(-columns * bits * _PNG_SAMPLES[colour] // 8)) * rows
        for columns, rows in sizes
        if columns > 0 and rows > 0
    )
    inflater = zlib.decompressobj()
    for kind, body, _ in _chunks(content):
        if kind == b"IDAT":
            piece = inflater.decompress(body, _PIECE)
            while piece:
                needed -= len(piece)
                piece = inflater.decompress(inflater.unconsumed_tail, _PIECE)
    if needed > 0:
        raise Unreadable("is broken (its PNG data ends before the picture is whole)")


def refuse_unread_tiff(image: ImageFile.ImageFile) -> None:
    """The kinds of TIFF that Pillow opens and reads wrong, and those that it would leave partly black.

    Raises:
        Unreadable: the kind is named.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(_TIFF_BITS, (1,))
    is_raw, in_planes = tags.get(_TIFF_COMPRESSION, 1) == 1, tags.get(_TIFF_PLANAR, 1) == 2
    if tags.get(_TIFF_COMPRESSION) == _TIFF_OLD_JPEG:
        raise Unreadable("is a TIFF with JPEG data in the withdrawn form of 1992, which is not read")
    if in_planes and len(bits) > 1 and max(bits) > 8:
        raise Unreadable(f"is a TIFF of {max(bits)} bits in separate planes, which is not read")
    if in_planes and len(bits) > 1 and is_raw and tags.get(_TIFF_FILL_ORDER, 1) == 2:
        raise Unreadable("is an uncompressed TIFF in separate planes with its bits reversed, which is not read")
    if tags.get(_TIFF_PHOTOMETRIC) == _CIELAB:
        raise Unreadable("is a TIFF in CIELAB, which is not read")
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO and _FLOATING_POINT in tags.get(_TIFF_FORMAT, (1,)):
        raise Unreadable("is a floating-point TIFF whose white is zero, and its black is not known")
    if not is_raw and tags.prefix == b"MM" and _FLOATING_POINT in tags.get(_TIFF_FORMAT, (1,)):
        raise Unreadable("is a compressed floating-point TIFF in big-endian order, which is not read")
    if max(bits) > 8 and 1 in tags.get(_TIFF_EXTRA, ()):
        raise Unreadable(f"is a TIFF of {max(bits)} bits with colours multiplied by their opacity, which is not read")
    _refuse_missing_pieces(tags, len(bits) if in_planes else 1)


def white_is_zero(image: Image.Image) -> bool:
    """Is it a TIFF in which 0 is white? Pillow turns 8 bits round, and not 16."""
    return image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO  # type: ignore[attr-defined]


def has_12_bits(image: Image.Image) -> bool:
    """Is it a TIFF of 12-bit samples?"""
    return image.format == "TIFF" and image.tag_v2.get(_TIFF_BITS) == (12,)  # type: ignore[attr-defined]


def _refuse_missing_pieces(tags: dict[int, tuple[int, ...] | int], planes: int) -> None:
    width, height = _whole(tags, _TIFF_WIDTH, 1), _whole(tags, _TIFF_HEIGHT, 1)
    if _TIFF_STRIPS in tags:
        pieces, across, down = tags[_TIFF_STRIPS], width, _whole(tags, _TIFF_ROWS, height)
    else:
        pieces = tags.get(_TIFF_TILES, ())
        across, down = _whole(tags, _TIFF_TILE_WIDTH, width), _whole(tags, _TIFF_TILE_HEIGHT, height)
    places = pieces if isinstance(pieces, tuple) else (pieces,)
    needed = -(-width // max(across, 1)) * -(-height // max(down, 1)) * planes
    if len(places) < needed or not all(places):
        raise Unreadable(f"is a TIFF that names {sum(map(bool, places[:needed]))} of its {needed} strips or tiles")


def jpegs_inside(image: ImageFile.ImageFile, content: bytes) -> list[bytes]:
    """The JPEG files in a TIFF of JPEG data, one for each strip or tile, with the tables that they share."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if tags.get(_TIFF_COMPRESSION) != _TIFF_JPEG:
        return []
    places, lengths = (_TIFF_STRIPS, 279) if _TIFF_STRIPS in tags else (_TIFF_TILES, 325)
    tables = tags.get(347, b"")[:-2]
    streams = [content[at : at + length] for at, length in zip(tags[places], tags.get(lengths, ()), strict=True)]
    return [tables + stream[2:] if tables else stream for stream in streams]


def _png_header(content: bytes) -> tuple[int, ...]:
    return struct.unpack(">IIBBBBB", content[16:29])


def _whole(tags: dict[int, tuple[int, ...] | int], tag: int, default: int) -> int:
    value = tags.get(tag, default)
    return value if isinstance(value, int) else default


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """(kind, content, checksum) of each whole chunk of a PNG file."""
    view = memoryview(content)
    at = _PNG_SIGNATURE
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(content):
            return
        yield content[at + 4 : at + 8], view[at + 8 : end], int.from_bytes(content[end : end + 4], "big")
        at = end + 4
