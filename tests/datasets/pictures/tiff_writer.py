# SPDX-License-Identifier: Apache-2.0
"""TIFF files of any layout, written tag by tag: what no library would write is wanted too. Source: TIFF 6.0."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def packed(rows: np.ndarray, bits: int, order: str) -> bytes:
    """Samples [H, N], each row in `bits` bits a sample, padded to whole bytes."""
    if rows.dtype.kind == "f" or bits in (8, 16, 32):
        kind = rows.dtype.kind
        return np.ascontiguousarray(rows).astype(f"{order}{kind}{bits // 8}").tobytes()
    planes = (rows.astype(np.uint32)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.astype(np.uint8).reshape(len(rows), -1), axis=1).tobytes()


def packbits(content: bytes) -> bytes:
    """Literal runs alone: any reader has to take them."""
    pieces = [content[i : i + 128] for i in range(0, len(content), 128)]
    return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)


def lzw(content: bytes) -> bytes:
    """TIFF 6.0, section 13, with the table cleared before it would need ten bits."""
    bits, filled = [], 0
    for place, value in enumerate(content):
        if place % 200 == 0:
            bits.append((256, 9))
        bits.append((value, 9))
    bits.append((257, 9))
    word = 0
    for value, size in bits:
        word, filled = (word << size) | value, filled + size
    word, filled = word << (-filled % 8), filled + -filled % 8
    return word.to_bytes(filled // 8, "big")


CODERS: dict[int, Callable[[bytes], bytes]] = {NONE: bytes, LZW: lzw, DEFLATE: zlib.compress, PACKBITS: packbits}


def tiff(
    samples: np.ndarray,
    photometric: int,
    *,
    bits: int = 8,
    order: str = "<",
    planar: int = 1,
    compression: int = NONE,
    predictor: int = 1,
    rows_per_strip: int | None = None,
    tile: tuple[int, int] | None = None,
    fill_order: int = 1,
    sample_format: int | None = None,
    extra: Sequence[int] = (),
    colours: np.ndarray | None = None,
    more: dict[int, tuple[int, list[int]]] | None = None,
) -> bytes:
    """A file of one page.

    Args:
        samples: [H, W] or [H, W, S].
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 CIELAB.
        tile: (height, width) of tiles, else strips.
        more: further tags, {tag: (type, values)} with type 3 (16 bits) or 4 (32 bits).
    """
    whole = samples[..., None] if samples.ndim == 2 else samples
    height, width, count = whole.shape
    planes = [whole[..., [band]] for band in range(count)] if planar == 2 else [whole]
    chunks = []
    for plane in planes:
        if tile:
            down, across = tile
            padded = np.pad(plane, ((0, -height % down), (0, -width % across), (0, 0)), "edge")
            cut = [
                padded[y : y + down, x : x + across]
                for y in range(0, padded.shape[0], down)
                for x in range(0, padded.shape[1], across)
            ]
        else:
            step = rows_per_strip or height
            cut = [plane[y : y + step] for y in range(0, height, step)]
        for piece in cut:
            if predictor == 2:
                piece = np.concatenate([piece[:, :1], np.diff(piece, axis=1)], axis=1)
            content = packed(piece.reshape(len(piece), -1), bits, order)
            content = CODERS[compression](content)
            chunks.append(content.translate(REVERSED) if fill_order == 2 else content)
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * count),
        259: (3, [compression]),
        262: (3, [photometric]),
        277: (3, [count]),
        284: (3, [planar]),
    }
    if fill_order != 1:
        tags[266] = (3, [fill_order])
    if predictor != 1:
        tags[317] = (3, [predictor])
    if sample_format:
        tags[339] = (3, [sample_format] * count)
    if extra:
        tags[338] = (3, list(extra))
    if colours is not None:
        tags[320] = (3, [int(value) * 257 for value in colours.T.reshape(-1)])
    if tile:
        tags |= {322: (4, [tile[1]]), 323: (4, [tile[0]])}
    else:
        tags[278] = (4, [rows_per_strip or height])
    places, lengths = (324, 325) if tile else (273, 279)
    tags |= {places: (4, [0] * len(chunks)), lengths: (4, [len(chunk) for chunk in chunks])}
    tags |= more or {}
    sizes = {3: 2, 4: 4}
    begin = 8 + 2 + 12 * len(tags) + 4
    begin += sum(size for kind, values in tags.values() if (size := -(-sizes[kind] * len(values) // 2) * 2) > 4)
    at, starts = begin, []
    for chunk in chunks:
        starts.append(at)
        at += len(chunk) + len(chunk) % 2
    tags[places] = (4, starts)
    directory, values_at, beside = b"", 8 + 2 + 12 * len(tags) + 4, b""
    for tag, (kind, values) in sorted(tags.items()):
        content = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(content) > 4:
            directory += struct.pack(order + "HHII", tag, kind, len(values), values_at + len(beside))
            beside += content + b"\0" * (len(content) % 2)
        else:
            directory += struct.pack(order + "HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + directory + b"\0\0\0\0" + beside + b"".join(chunk + b"\0" * (len(chunk) % 2) for chunk in chunks)
