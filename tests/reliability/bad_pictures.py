# SPDX-License-Identifier: Apache-2.0
"""Pictures that nobody should have to read, the same ones for the same seed.

Each is a good picture in one of five formats, mutated in one way: cut off, bits turned over, bytes of the header
overwritten, sizes in the header that are absurd, decompression bombs, sides of 65,535 pixels, EXIF blocks that point
nowhere, animations, and files that are another format or no picture at all.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}

Mutation = Callable[[random.Random, bytes, str], bytes]


def seeds_of(face: Image.Image) -> dict[str, list[bytes]]:
    """Good pictures in every format, of several modes and with metadata: what is mutated."""
    small = face.convert("RGB").resize((96, 96))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9286] = 6, "a picture", b"x" * 64
    found: dict[str, list[bytes]] = {name: [] for name in FORMATS}
    for name in FORMATS:
        modes = ("RGB", "L", "CMYK") if name in ("JPEG", "TIFF") else ("RGB", "L", "P") if name != "WEBP" else ("RGB",)
        for mode in modes:
            found[name].append(_saved(small.convert(mode), name))
        if name not in ("BMP",):
            found[name].append(_saved(small, name, exif=exif))
    found["PNG"].append(_saved(small.convert("RGBA"), "PNG"))
    found["PNG"].append(_saved(Image.fromarray(np.arange(96 * 96, dtype=np.uint16).reshape(96, 96)), "PNG"))
    found["JPEG"].append(_saved(small, "JPEG", progressive=True))
    found["TIFF"].append(_saved(small, "TIFF", compression="tiff_lzw"))
    found["TIFF"].append(_saved(small, "TIFF", compression="tiff_adobe_deflate"))
    more = [small.rotate(90), small.rotate(180)]
    for name in ("PNG", "WEBP", "TIFF"):
        found[name].append(_saved(small, name, save_all=True, append_images=more))
    return found


def bad_pictures(face: Image.Image, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of `count` pictures. All formats and mutations take turns."""
    source = random.Random(seed)
    seeds = seeds_of(face)
    for number in range(count):
        kind = FORMATS[number % len(FORMATS)]
        mutate = MUTATIONS[(number // len(FORMATS)) % len(MUTATIONS)]
        content = mutate(source, source.choice(seeds[kind]), kind)
        yield f"{number:05d}-{mutate.__name__.strip('_')}{SUFFIX[kind]}", content


def write_among(good: bytes, face: Image.Image, folder: Path, count: int, seed: int, every: int = 50) -> list[str]:
    """Write `count` bad pictures and a good one after each `every`; return the good ones' keys."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = []
    for number, (name, content) in enumerate(bad_pictures(face, count, seed)):
        (folder / name).write_bytes(content)
        if number % every == 0:
            keys.append(f"{number:05d}-good.jpg")
            (folder / keys[-1]).write_bytes(good)
    return keys


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def _cut(source: random.Random, content: bytes, kind: str) -> bytes:
    return content[: source.randrange(len(content))]


def _bits(source: random.Random, content: bytes, kind: str) -> bytes:
    changed = bytearray(content)
    for _ in range(source.choice((1, 3, 20, 200))):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def _header(source: random.Random, content: bytes, kind: str) -> bytes:
    """Bytes among the first hundred are others."""
    changed = bytearray(content)
    for _ in range(source.randint(1, 8)):
        changed[source.randrange(min(100, len(changed)))] = source.choice(
            (0, 1, 0x7F, 0x80, 0xFF, source.randrange(256))
        )
    return bytes(changed)


def _sizes(source: random.Random, content: bytes, kind: str) -> bytes:
    """Width and height in the header are absurd; what follows is the small picture."""
    extremes = (0, 1, 65535, 65536, 40000, 2**31 - 1, 2**31, 2**32 - 1, 16384, 30000)
    width, height = source.choice(extremes), source.choice(extremes)
    return with_size(content, kind, width, height)


def _bomb(source: random.Random, content: bytes, kind: str) -> bytes:
    """A small file that is, or says it is, millions of pixels."""
    side = source.choice((3000, 3530, 12000, 20000, 65535))
    if kind == "PNG":
        return png_of_nothing(side, side) if side < 10_000 else with_size(png_of_nothing(3000, 3000), kind, side, side)
    if kind == "TIFF":
        return tiff_of_nothing(side)
    return with_size(content, kind, min(side, 16383 if kind == "WEBP" else 65535), side)


def _thin(source: random.Random, content: bytes, kind: str) -> bytes:
    """A true picture with one side of 65,535 pixels (16,383 in WebP), or one more than anybody looks at."""
    long = source.choice((65535, 65535, 65536, 70000)) if kind in ("PNG", "BMP", "TIFF") else 65500
    size = (16383, 2) if kind == "WEBP" else (long, source.choice((1, 2, 20)))
    image = Image.new("RGB", size if source.random() < 0.5 else size[::-1], (90, 120, 60))
    return _saved(image, kind)


def _exif(source: random.Random, content: bytes, kind: str) -> bytes:
    """An EXIF block whose entries point outside it, into each other, or count to four billion."""
    entries = b"".join(
        struct.pack("<HH", source.choice((0x0112, 0x8769, 0x0100, 0x9286)), source.randrange(14))
        + struct.pack("<I", source.choice((0, 1, 2**31, 2**32 - 1)))
        + struct.pack("<I", source.choice((0, 8, 2**32 - 1, source.randrange(1 << 16))))
        for _ in range(source.randint(1, 40))
    )  # fmt: skip
    block = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", source.choice((1, 40, 65535))) + entries
    if kind == "TIFF":
        return block + content
    if kind == "JPEG":
        segment = b"Exif\x00\x00" + block
        return content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]
    if kind == "PNG":
        return content[:33] + _chunk(b"eXIf", block) + content[33:]
    if kind == "WEBP":
        body = content[12:] + b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    return content[:14] + block + content[14:]


def _animated(source: random.Random, content: bytes, kind: str) -> bytes:
    """An animation, cut somewhere or with frames that are turned over."""
    side = source.choice((1, 12, 96))
    frames = [Image.new("RGB", (side, side), tuple(source.randrange(256) for _ in range(3))) for _ in range(5)]
    kind = kind if kind in ("PNG", "WEBP", "TIFF") else "GIF"
    whole = _saved(frames[0], kind, save_all=True, append_images=frames[1:])
    return source.choice((_cut, _bits, _header, _keep))(source, whole, kind)


def _disguised(source: random.Random, content: bytes, kind: str) -> bytes:
    """Another thing under a picture's name."""
    return source.choice((
        b"", b"\0" * 1000, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) show", b"GIF89a",
        b"#!/bin/sh\nexit 1\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', b"P6 99999 99999 255\n",
        b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\xff" * 400, source.randbytes(2000), b"BM" + source.randbytes(60),
        b"P5 -1 -1 255\n", b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 40, b"MM\x00*\x00\x00\x00\x08" + b"\xff" * 200,
    ))  # fmt: skip


def _keep(source: random.Random, content: bytes, kind: str) -> bytes:
    return content


def _spliced(source: random.Random, content: bytes, kind: str) -> bytes:
    """A piece is there twice, missing, or somewhere else."""
    first, second = sorted(source.randrange(len(content)) for _ in range(2))
    piece = content[first:second]
    return source.choice((
        content[:first] + piece + piece + content[second:], content[:first] + content[second:],
        content[:first] + piece[::-1] + content[second:], content + content,
    ))  # fmt: skip


MUTATIONS: tuple[Mutation, ...] = (
    _cut, _bits, _header, _sizes, _bomb, _bits, _thin, _exif, _animated, _disguised, _spliced, _header,
)  # fmt: skip


def with_size(content: bytes, kind: str, width: int, height: int) -> bytes:
    """The picture with another width and height in its header; the checksum of a PNG is right."""
    changed = bytearray(content)
    if kind == "PNG":
        changed[16:24] = struct.pack(">II", width % 2**32, height % 2**32)
        changed[29:33] = struct.pack(">I", zlib.crc32(bytes(changed[12:29])))
    elif kind == "BMP":
        changed[18:26] = struct.pack("<II", width % 2**32, height % 2**32)
    elif kind == "JPEG":
        at = next((i for i in range(len(changed) - 9) if changed[i] == 0xFF and changed[i + 1] in (0xC0, 0xC2)), None)
        if at is not None:
            changed[at + 5 : at + 9] = struct.pack(">HH", height % 65536, width % 65536)
    elif kind == "WEBP":
        changed[26:30] = struct.pack("<HH", width % 16384, height % 16384)
    else:
        offset = struct.unpack_from("<I", changed, 4)[0]
        count = struct.unpack_from("<H", changed, offset)[0]
        for entry in range(offset + 2, min(offset + 2 + 12 * count, len(changed) - 12), 12):
            tag = struct.unpack_from("<H", changed, entry)[0]
            if tag in (256, 257):
                struct.pack_into("<HHII", changed, entry, tag, 4, 1, (width if tag == 256 else height) % 2**32)
    return bytes(changed)


@lru_cache(maxsize=4)
def png_of_nothing(width: int, height: int) -> bytes:
    """A whole, valid PNG of black pixels: a thousandth of its pixels' bytes."""
    packer = zlib.compressobj(1)
    row = b"\0" * (width + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    size = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def tiff_of_nothing(side: int) -> bytes:
    """A TIFF that says it is `side` square, in one deflated strip of little."""
    strip = zlib.compress(b"\0" * 1000)
    tags = ((256, side), (257, side), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, side), (279, len(strip)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
