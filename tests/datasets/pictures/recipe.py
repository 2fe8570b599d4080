# SPDX-License-Identifier: Apache-2.0
"""The small pictures in `files/`, made again:

python tests/datasets/pictures/recipe.py FOLDER

Needs NumPy and Pillow, and libjpeg-turbo's `cjpeg` and `jpegtran`. Pillow writes only what is no question here (JPEG,
WebP, GIF); every other file is written byte by byte. The committed files count: another Pillow may write other bytes.
`expect.py` lets other decoders read them.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tiff_writer import DEFLATE, LZW, PACKBITS, tiff

HEIGHT, WIDTH = 13, 19
# A byte of JPEG data whose last bit changes no number of blocks; found by trial.
UNSEEN = 100
ORIENTATION = 0x0112
END = b"\xff\xd9"


def unit(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """float64 [H, W, 4] within 0..1, of no symmetry and of no multiples of 1/255."""
    y, x = np.mgrid[:height, :width]
    bands = [(x * 13 + y * 3) % 256, (y * 19 + x) % 256, (255 - x * 7 - y * 5) % 256, (x * y * 3) % 256]
    return np.stack(bands, axis=-1) / 255.0 * 0.99 + 0.003


def samples(bands: slice | int, bits: int) -> np.ndarray:
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.rint(unit()[..., bands] * ((1 << bits) - 1)).astype(kind)


GREY, RGB, FOUR, TWO = 0, slice(0, 3), slice(0, 4), slice(0, 4, 3)


def photograph(height: int = 33, width: int = 41) -> np.ndarray:
    """uint8 [H, W, 3], smooth enough for JPEG, with an edge and without symmetry."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    red = 120 + 90 * np.sin(x / 7) * np.cos(y / 11)
    green = 90 + 3 * x + 20 * np.sin(y / 3)
    blue = 40 + 5 * y + 30 * (x > y)
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8)


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


def tiffs() -> Iterator[tuple[str, bytes]]:
    for photometric, colour in ((0, "white-is-zero"), (1, "black-is-zero")):
        for bits in (1, 2, 4, 8, 12, 16, 32):
            yield f"grey-{bits}-{colour}", tiff(samples(GREY, bits), photometric, bits=bits)
        yield f"grey-16-{colour}-big-endian", tiff(samples(GREY, 16), photometric, bits=16, order=">")
        yield f"grey-16-{colour}-tiles", tiff(samples(GREY, 16), photometric, bits=16, tile=(16, 16))
        yield f"grey-16-{colour}-strips", tiff(samples(GREY, 16), photometric, bits=16, rows_per_strip=4)
        for name, code in (("lzw", LZW), ("deflate", DEFLATE), ("packbits", PACKBITS)):
            yield f"grey-8-{colour}-{name}", tiff(samples(GREY, 8), photometric, compression=code)
        yield (
            f"grey-16-{colour}-predictor",
            tiff(samples(GREY, 16), photometric, bits=16, compression=DEFLATE, predictor=2),
        )
        floats = unit()[..., GREY].astype(np.float32)
        yield f"float-32-{colour}", tiff(floats, photometric, bits=32, sample_format=3)
        yield f"grey-1-{colour}-reversed", tiff(samples(GREY, 1), photometric, bits=1, fill_order=2)
    yield "float-32-big-endian", tiff(floats, 1, bits=32, sample_format=3, order=">", compression=DEFLATE)
    yield "float-16", tiff(floats.astype(np.float16), 1, bits=16, sample_format=3)
    yield "float-32-to-255", tiff(floats * 255, 1, bits=32, sample_format=3)
    yield "float-32-beyond", tiff(floats * 1000, 1, bits=32, sample_format=3)
    yield "signed-8", tiff((samples(GREY, 8) // 2).astype(np.int8), 1, sample_format=2)
    yield "signed-16", tiff((samples(GREY, 16) // 2).astype(np.int16), 1, bits=16, sample_format=2)
    for bits in (4, 8, 16):
        yield f"grey-{bits}-reversed", tiff(samples(GREY, bits), 1, bits=bits, fill_order=2)
    for bits in (8, 16):
        for order, name in (("<", ""), (">", "-big-endian")):
            yield f"rgb-{bits}{name}", tiff(samples(RGB, bits), 2, bits=bits, order=order)
            yield f"rgb-{bits}-planes{name}", tiff(samples(RGB, bits), 2, bits=bits, order=order, planar=2)
        yield f"rgb-{bits}-planes-deflate", tiff(samples(RGB, bits), 2, bits=bits, planar=2, compression=DEFLATE)
        yield f"rgb-{bits}-planes-tiles", tiff(samples(RGB, bits), 2, bits=bits, planar=2, tile=(16, 16))
        yield f"rgb-{bits}-tiles", tiff(samples(RGB, bits), 2, bits=bits, tile=(16, 16))
        yield f"rgb-{bits}-strips", tiff(samples(RGB, bits), 2, bits=bits, rows_per_strip=5)
        for name, code in (("lzw", LZW), ("deflate", DEFLATE)):
            yield f"rgb-{bits}-predictor-{name}", tiff(samples(RGB, bits), 2, bits=bits, compression=code, predictor=2)
        yield f"rgb-{bits}-packbits", tiff(samples(RGB, bits), 2, bits=bits, compression=PACKBITS)
        yield f"rgba-{bits}", tiff(samples(FOUR, bits), 2, bits=bits, extra=[2])
        yield f"rgba-{bits}-planes", tiff(samples(FOUR, bits), 2, bits=bits, extra=[2], planar=2)
        yield f"rgbx-{bits}", tiff(samples(FOUR, bits), 2, bits=bits, extra=[0])
        yield f"cmyk-{bits}", tiff(samples(FOUR, bits), 5, bits=bits)
    solid = samples(FOUR, 8).copy()
    solid[..., 3] = 255
    yield "rgba-8-multiplied-solid", tiff(solid, 2, extra=[1])
    yield "rgba-16-multiplied", tiff(samples(FOUR, 16), 2, bits=16, extra=[1])
    yield "cmyk-8-planes", tiff(samples(FOUR, 8), 5, planar=2)
    yield "rgb-4", tiff(samples(RGB, 4), 2, bits=4)
    yield "rgb-32", tiff(samples(RGB, 32), 2, bits=32)
    yield "grey-alpha-8", tiff(samples(TWO, 8), 1, extra=[2])
    yield "grey-alpha-8-white-is-zero", tiff(samples(TWO, 8), 0, extra=[2])
    yield "rgb-8-reversed", tiff(samples(RGB, 8), 2, fill_order=2)
    yield "rgb-8-reversed-deflate", tiff(samples(RGB, 8), 2, fill_order=2, compression=DEFLATE)
    yield "rgb-8-planes-reversed", tiff(samples(RGB, 8), 2, fill_order=2, planar=2)
    yield "rgb-8-planes-reversed-deflate", tiff(samples(RGB, 8), 2, fill_order=2, planar=2, compression=DEFLATE)
    for bits in (1, 2, 4, 8):
        colours = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3))
        yield f"palette-{bits}", tiff(samples(GREY, bits), 3, bits=bits, colours=colours)
    yield "palette-8-tiles", tiff(samples(GREY, 8), 3, colours=colours, tile=(16, 16))
    yield "palette-4-reversed", tiff(samples(GREY, 4), 3, bits=4, colours=colours[:16], fill_order=2)
    yield "ycbcr-8-not-subsampled", tiff(samples(RGB, 8), 6, more={530: (3, [1, 1])})
    yield "cielab-8", tiff(samples(RGB, 8), 8)
    for turn in range(1, 9):
        yield f"orientation-{turn}", tiff(samples(RGB, 8), 2, more={274: (3, [turn])}, compression=DEFLATE)
    yield "orientation-6-grey-16-white-is-zero", tiff(samples(GREY, 16), 0, bits=16, more={274: (3, [6])})
    yield "orientation-8-rgb-16", tiff(samples(RGB, 16), 2, bits=16, more={274: (3, [8])})
    whole = tiff(samples(RGB, 8), 2)
    yield "cut-at-60-percent", whole[: len(whole) * 6 // 10]
    yield "zeros-from-60-percent", whole[: len(whole) * 6 // 10].ljust(len(whole), b"\0")
    stripped = tiff(samples(RGB, 8), 2, rows_per_strip=5)
    yield "one-strip-is-not-named", stripped.replace(struct.pack("<HHI", 273, 4, 3), struct.pack("<HHI", 273, 4, 2))
    yield (
        "a-strip-at-0",
        tiff(samples(RGB, 8), 2).replace(
            struct.pack("<HHII", 273, 4, 1, len(whole) - 742), struct.pack("<HHII", 273, 4, 1, 0)
        ),
    )
    packed = bytearray(tiff(samples(RGB, 8), 2, compression=DEFLATE))
    packed[-60] ^= 0x55
    yield "deflate-with-a-changed-byte", bytes(packed)
    yield "deflate-cut", bytes(packed[:-100])
    jpeg = saved(photograph(), "TIFF", compression="jpeg", quality=90)
    yield "jpeg-inside", jpeg
    data = jpeg.index(b"\xff\xda")
    middle = (data + jpeg.index(END, data)) // 2
    yield "jpeg-inside-that-ends-early", jpeg[:middle] + END + jpeg[middle + 2 :]


def saved(picture: np.ndarray | Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(content, form, **options)
    return content.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(
    picture: np.ndarray, colour: int, bits: int, *, interlaced: bool = False, before: bytes = b"", after: bytes = b"",
    level: int = 9,
) -> bytes:  # fmt: skip
    """A PNG of filter type 0; samples [H, W] or [H, W, S]; `before` and `after` are chunks around its data."""
    whole = picture[..., None] if picture.ndim == 2 else picture
    data = b""
    passes = [whole[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [whole]
    for part in passes:
        for row in part if part.size else ():
            flat = row.reshape(-1)
            if bits == 16:
                body = flat.astype(">u2").tobytes()
            elif bits == 8:
                body = flat.astype(np.uint8).tobytes()
            else:
                planes = (flat[:, None] >> np.arange(bits - 1, -1, -1)) & 1
                body = np.packbits(planes.astype(np.uint8)).tobytes()
            data += b"\0" + body
    height, width = whole.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced)))
    body = chunk(b"IDAT", zlib.compress(data, level))
    return b"\x89PNG\r\n\x1a\n" + header + before + body + after + chunk(b"IEND", b"")


def pngs() -> Iterator[tuple[str, bytes]]:
    palette = np.random.default_rng(3).integers(0, 256, (256, 3), np.uint8)
    for interlaced, name in ((False, ""), (True, "-interlaced")):
        for bits in (1, 2, 4, 8, 16):
            yield f"grey-{bits}{name}", png(samples(GREY, bits), 0, bits, interlaced=interlaced)
        for bits in (8, 16):
            yield f"rgb-{bits}{name}", png(samples(RGB, bits), 2, bits, interlaced=interlaced)
            yield f"grey-alpha-{bits}{name}", png(samples(TWO, bits), 4, bits, interlaced=interlaced)
            yield f"rgba-{bits}{name}", png(samples(FOUR, bits), 6, bits, interlaced=interlaced)
        colours = chunk(b"PLTE", palette[:16].tobytes())
        yield f"palette-4{name}", png(samples(GREY, 4), 3, 4, interlaced=interlaced, before=colours)
    for bits in (1, 2, 8):
        colours = chunk(b"PLTE", palette[: 1 << bits].tobytes())
        yield f"palette-{bits}", png(samples(GREY, bits), 3, bits, before=colours)
        see_through = chunk(b"tRNS", bytes(range(0, 1 << bits))[: 1 << bits])
        yield f"palette-{bits}-transparent", png(samples(GREY, bits), 3, bits, before=colours + see_through)
    yield "grey-8-one-transparent", png(samples(GREY, 8), 0, 8, before=chunk(b"tRNS", b"\0\x80"))
    yield "grey-16-one-transparent", png(samples(GREY, 16), 0, 16, before=chunk(b"tRNS", b"\x80\x80"))
    yield "rgb-8-one-transparent", png(samples(RGB, 8), 2, 8, before=chunk(b"tRNS", b"\0\1\0\2\0\3"))
    yield "rgb-16-one-transparent", png(samples(RGB, 16), 2, 16, before=chunk(b"tRNS", b"\0\1\0\2\0\3"))
    yield "rgb-8-gamma", png(samples(RGB, 8), 2, 8, before=chunk(b"gAMA", struct.pack(">I", 45455)))
    for turn in (2, 3, 6, 8):
        note = chunk(b"eXIf", exif(turn).removeprefix(b"Exif\0\0"))
        yield f"orientation-{turn}", png(samples(RGB, 8), 2, 8, before=note)
    yield (
        "orientation-6-grey-16",
        png(samples(GREY, 16), 0, 16, before=chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))),
    )
    yield (
        "orientation-5-rgb-16-after",
        png(samples(RGB, 16), 2, 16, after=chunk(b"eXIf", exif(5).removeprefix(b"Exif\0\0"))),
    )
    frames = [Image.fromarray(samples(RGB, 8)), Image.fromarray(255 - samples(RGB, 8))]
    yield "animation", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    whole = png(samples(RGB, 8), 2, 8, level=0)
    yield "cut-at-60-percent", whole[: len(whole) * 6 // 10]
    yield "without-end", whole[:-12]
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0x40
    yield "a-changed-byte", bytes(changed)
    yield "zeros-from-60-percent", whole[: len(whole) * 6 // 10].ljust(len(whole) - 12, b"\0") + whole[-12:]
    note = bytearray(chunk(b"tEXt", b"Comment\0of no pixel"))
    note[-1] ^= 1
    yield "a-damaged-note", png(samples(RGB, 8), 2, 8, before=bytes(note))
    claimed, held = (struct.pack(">II", WIDTH, rows) for rows in (HEIGHT, HEIGHT - 2))
    for interlaced, name in ((False, ""), (True, "-interlaced")):
        body = png(samples(RGB, 8)[:-2], 2, 8, interlaced=interlaced)
        start = chunk(b"IHDR", held + body[24:29])
        yield f"two-rows-missing{name}", body.replace(start, chunk(b"IHDR", claimed + body[24:29]))
    yield "black", png(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 2, 8)
    yield "black-interlaced", png(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 2, 8, interlaced=True)


def bmp(
    data: bytes, bits: int, *, colours: np.ndarray | None = None, compression: int = 0, masks: bytes = b"",
    height: int = HEIGHT, core: bool = False, header_size: int = 40,
) -> bytes:  # fmt: skip
    table = (
        b"" if colours is None else b"".join(bytes([*row[::-1]]) + (b"" if core else b"\0") for row in colours.tolist())
    )
    if core:
        header = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", header_size, WIDTH, height, 1, bits, compression, len(data), 0, 0, 0, 0)
        header = (header + masks).ljust(header_size, b"\0") if header_size > 40 else header + masks
    begin = 14 + len(header) + len(table)
    return b"BM" + struct.pack("<IHHI", begin + len(data), 0, 0, begin) + header + table + data


def padded(rows: list[bytes]) -> bytes:
    return b"".join(row + b"\0" * (-len(row) % 4) for row in rows)


def bmps() -> Iterator[tuple[str, bytes]]:
    colours = np.random.default_rng(5).integers(0, 256, (256, 3), np.uint8)
    for bits in (1, 4, 8):
        planes = (samples(GREY, bits)[::-1, :, None] >> np.arange(bits - 1, -1, -1)) & 1
        rows = np.packbits(planes.astype(np.uint8).reshape(HEIGHT, -1), axis=1)
        yield f"palette-{bits}", bmp(padded([row.tobytes() for row in rows]), bits, colours=colours[: 1 << bits])
        yield (
            f"palette-{bits}-os2",
            bmp(padded([r.tobytes() for r in rows]), bits, colours=colours[: 1 << bits], core=True),
        )
    bgr = samples(RGB, 8)[::-1, :, ::-1]
    yield "rgb-24", bmp(padded([row.tobytes() for row in bgr]), 24)
    yield "rgb-24-os2", bmp(padded([row.tobytes() for row in bgr]), 24, core=True)
    yield "rgb-24-top-down", bmp(padded([row.tobytes() for row in bgr[::-1]]), 24, height=-HEIGHT)
    four = samples(FOUR, 8)[::-1, :, [2, 1, 0, 3]]
    yield "rgb-32", bmp(four.tobytes(), 32)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield "rgba-32-fields", bmp(four.tobytes(), 32, compression=3, masks=masks, header_size=108)
    yield "rgb-32-fields", bmp(four.tobytes(), 32, compression=3, masks=masks[:12])
    red, green, blue = (samples(i, 5)[::-1].astype(np.uint16) for i in range(3))
    words = (red << 10 | green << 5 | blue).astype("<u2")
    yield "rgb-555", bmp(padded([row.tobytes() for row in words]), 16)
    words = (red << 11 | samples(1, 6)[::-1].astype(np.uint16) << 5 | blue).astype("<u2")
    yield (
        "rgb-565-fields",
        bmp(padded([r.tobytes() for r in words]), 16, compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
    )
    index = samples(GREY, 8)[::-1] // 64
    runs = b"".join(b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in index) + b"\0\1"
    yield "rle-8", bmp(runs, 8, colours=colours, compression=1)
    absolute = b"".join(bytes([0, WIDTH]) + row.tobytes() + b"\0" * (WIDTH % 2) + b"\0\0" for row in index) + b"\0\1"
    yield "rle-8-absolute", bmp(absolute, 8, colours=colours, compression=1)
    nibbles = b"".join(b"".join(bytes([1, value << 4]) for value in row) + b"\0\0" for row in index) + b"\0\1"
    yield "rle-4", bmp(nibbles, 4, colours=colours[:16], compression=2)
    yield "rle-8-skips", bmp(bytes([5, 1, 0, 2, 3, 4, 6, 2, 0, 0, 0, 1]), 8, colours=colours, compression=1)
    yield "rle-8-cut", bmp(runs, 8, colours=colours, compression=1)[:-200]
    whole = bmp(padded([row.tobytes() for row in bgr]), 24)
    yield "cut-at-60-percent", whole[: len(whole) * 6 // 10]
    yield "zeros-from-60-percent", whole[: len(whole) * 6 // 10].ljust(len(whole), b"\0")


def gifs() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(samples(RGB, 8)).quantize(16)
    other = Image.fromarray(255 - samples(RGB, 8)).quantize(16)
    yield "plain", saved(image, "GIF", interlace=0)
    yield "interlaced", saved(image, "GIF", interlace=1)
    yield "transparent", saved(image, "GIF", transparency=3, interlace=0)
    yield "animation", saved(image, "GIF", save_all=True, append_images=[other], interlace=0)
    yield "animation-disposed", saved(image, "GIF", save_all=True, append_images=[other], disposal=2, interlace=0)
    whole = saved(image, "GIF", interlace=0)
    screen = whole[:6] + struct.pack("<HH", WIDTH + 5, HEIGHT + 4) + whole[10:]
    at = screen.index(b"," + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    yield "part-of-its-screen", screen[: at + 1] + struct.pack("<HH", 3, 2) + screen[at + 5 :]
    yield "cut-at-60-percent", whole[: len(whole) * 6 // 10]
    yield "cut-at-60-percent-with-end", whole[: len(whole) * 6 // 10] + b"\0;"


def webps() -> Iterator[tuple[str, bytes]]:
    picture = samples(RGB, 8)
    yield "lossless", saved(picture, "WEBP", lossless=True)
    yield "lossless-alpha", saved(samples(FOUR, 8), "WEBP", lossless=True, exact=True)
    yield "lossy", saved(photograph(), "WEBP", quality=90)
    yield "lossy-alpha", saved(np.dstack([photograph(), photograph()[..., :1]]), "WEBP", quality=90, exact=True)
    yield "orientation-6", saved(picture, "WEBP", lossless=True, exif=exif(6))
    yield (
        "animation",
        saved(
            Image.fromarray(picture),
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[Image.fromarray(255 - picture)],
        ),
    )
    smooth = saved(photograph(), "WEBP", lossless=True)
    yield "lossless-smooth-zeros-from-60-percent", smooth[: len(smooth) * 6 // 10].ljust(len(smooth), b"\0")
    yield "lossless-smooth-zeros-from-98-percent", smooth[: len(smooth) * 98 // 100].ljust(len(smooth), b"\0")
    whole = saved(np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "WEBP", lossless=True)
    yield "lossless-cut-at-60-percent", whole[: len(whole) * 6 // 10]
    yield "lossless-zeros-from-60-percent", whole[: len(whole) * 6 // 10].ljust(len(whole), b"\0")
    lossy = saved(photograph(), "WEBP", quality=90)
    yield "lossy-cut-at-60-percent", lossy[: len(lossy) * 6 // 10]


def pnms() -> Iterator[tuple[str, bytes]]:
    def text(values: np.ndarray) -> bytes:
        return b"\n".join(b" ".join(b"%d" % value for value in row) for row in values.reshape(HEIGHT, -1).tolist())

    size = b"%d %d" % (WIDTH, HEIGHT)
    bits = samples(GREY, 1)
    yield "p1", b"P1\n" + size + b"\n" + text(bits) + b"\n"
    yield "p4", b"P4\n" + size + b"\n" + np.packbits(bits, axis=1).tobytes()
    for most in (1, 15, 100, 255, 1000, 65535):
        grey = np.rint(unit()[..., 0] * most).astype(int)
        colour = np.rint(unit()[..., :3] * most).astype(int)
        form = np.uint8 if most < 256 else ">u2"
        yield f"p5-{most}", b"P5\n" + size + b"\n%d\n" % most + grey.astype(form).tobytes()
        yield f"p6-{most}", b"P6\n# a note\n" + size + b"\n%d\n" % most + colour.astype(form).tobytes()
    yield "p2-100", b"P2\n" + size + b"\n100\n" + text(np.rint(unit()[..., 0] * 100).astype(int)) + b"\n"
    yield "p3-1000", b"P3\n" + size + b"\n1000\n" + text(np.rint(unit()[..., :3] * 1000).astype(int)) + b"\n"
    whole = b"P6\n" + size + b"\n255\n" + samples(RGB, 8).tobytes()
    yield "p6-cut-at-60-percent", whole[: len(whole) * 6 // 10]
    yield (
        "p7",
        b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" % (WIDTH, HEIGHT)
        + samples(RGB, 8).tobytes(),
    )
    yield "float", b"Pf\n" + size + b"\n-1.0\n" + unit()[::-1, :, 0].astype("<f4").tobytes()


def by_tool(command: list[str], content: bytes) -> bytes:
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def jpegs() -> Iterator[tuple[str, bytes]]:
    picture = photograph()
    plain = b"P6\n41 33\n255\n" + picture.tobytes()
    for name, factors in (("444", "1x1"), ("422", "2x1"), ("420", "2x2"), ("440", "1x2"), ("411", "4x1")):
        yield f"baseline-{name}", by_tool(["cjpeg", "-quality", "90", "-sample", factors], plain)
        yield f"progressive-{name}", by_tool(["cjpeg", "-quality", "90", "-progressive", "-sample", factors], plain)
    yield "grey", by_tool(["cjpeg", "-quality", "90", "-grayscale"], plain)
    yield "grey-progressive", by_tool(["cjpeg", "-quality", "90", "-grayscale", "-progressive"], plain)
    yield "rgb-inside", by_tool(["cjpeg", "-quality", "90", "-rgb"], plain)
    yield "optimised", by_tool(["cjpeg", "-quality", "90", "-optimize"], plain)
    yield (
        "restart-each-block",
        (often := by_tool(["cjpeg", "-quality", "90", "-sample", "1x1", "-restart", "1B"], plain)),
    )
    yield "restart-each-row", (restarts := by_tool(["cjpeg", "-quality", "90", "-restart", "1"], plain))
    yield "progressive-restarts", by_tool(["cjpeg", "-quality", "90", "-progressive", "-restart", "1"], plain)
    yield "arithmetic", by_tool(["cjpeg", "-quality", "90", "-arithmetic"], plain)
    yield "arithmetic-progressive", by_tool(["cjpeg", "-quality", "90", "-arithmetic", "-progressive"], plain)
    yield "one-pixel", by_tool(["cjpeg"], b"P6\n1 1\n255\n\x10\x80\xf0")
    yield "cmyk-adobe", (cmyk := saved(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=90))
    yield "cmyk-without-mark", cmyk.replace(cmyk[cmyk.index(b"\xff\xee") :][:16], b"", 1)
    yield "ycck", cmyk.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2", 1)
    whole = by_tool(["cjpeg", "-quality", "90", "-sample", "1x1"], plain)
    for turn in range(1, 9):
        block = exif(turn)
        note = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        yield f"orientation-{turn}", whole[:2] + note + whole[2:]
    other = saved(255 - picture, "JPEG")
    yield (
        "several-pictures",
        saved(Image.fromarray(picture), "MPO", save_all=True, append_images=[Image.open(io.BytesIO(other))]),
    )
    yield "more-after-its-end", whole + b"anything that follows"
    yield "two-zeros-before-its-end", whole[:-2] + b"\0\0\xff\xd9"
    yield "filled-before-its-end", whole[:-2] + b"\xff\xff\xff\xff\xd9"
    data = whole.index(b"\xff\xda") + 14
    for percent in (20, 60, 95):
        kept = data + (len(whole) - data) * percent // 100
        yield f"cut-at-{percent}-percent-with-end", whole[:kept].rstrip(b"\xff") + b"\xff\xd9"
    yield "cut-at-60-percent", whole[: data + (len(whole) - data) * 6 // 10]
    yield "without-end", whole[:-2]
    kept = data + (len(whole) - data) * 6 // 10
    yield "zeros-from-60-percent-with-end", whole[:kept].rstrip(b"\xff").ljust(len(whole) - 2, b"\0") + b"\xff\xd9"
    noise = np.random.default_rng(2).integers(0, 255, 80, np.uint8).tobytes().replace(b"\xff", b"\xfe")
    middle = data + (len(whole) - data) // 3
    yield "noise-in-the-middle", whole[:middle] + noise + whole[middle + len(noise) :]
    yield "a-zero-scan", whole[:data] + bytes(len(whole) - data - 2) + b"\xff\xd9"
    marks = [i for i in range(len(often) - 1) if often[i] == 0xFF and 0xD0 <= often[i + 1] <= 0xD7]
    swapped = bytearray(often)
    swapped[marks[2] + 1], swapped[marks[3] + 1] = often[marks[3] + 1], often[marks[2] + 1]
    yield "restarts-out-of-order", bytes(swapped)
    yield "eight-restarts-missing", often[: marks[0]] + often[marks[8] :]
    yield "cut-at-a-restart-with-end", often[: marks[3]] + b"\xff\xd9"
    row = restarts.index(b"\xff\xd0")
    yield "a-row-cut", restarts[: row - 60].rstrip(b"\xff") + restarts[row:]
    steps = by_tool(["cjpeg", "-quality", "90", "-progressive"], plain)
    scans = [i for i in range(len(steps) - 1) if steps[i] == 0xFF and steps[i + 1] in (0xDA, 0xC4)]
    yield "progressive-scans-missing", steps[: scans[-2]] + b"\xff\xd9"
    last = steps.rindex(b"\xff\xda") + 10
    yield "progressive-cut-with-end", steps[: (last + len(steps)) // 2].rstrip(b"\xff") + b"\xff\xd9"
    first = steps.index(b"\xff\xda")
    second = steps.index(b"\xff\xc4", first)
    yield "progressive-first-scan-cut", steps[: second - 40].rstrip(b"\xff") + steps[second:]
    header = whole.index(b"\xff\xc0")
    yield "lossless-by-its-header", whole[: header + 1] + b"\xc3" + whole[header + 2 :]
    yield (
        "12-bits-by-its-header",
        whole[: header + 1] + b"\xc1" + whole[header + 2 : header + 4] + b"\x0c" + whole[header + 5 :],
    )
    yield "height-in-a-later-marker", whole[: header + 5] + b"\0\0" + whole[header + 7 :]
    flipped = bytearray(whole)
    flipped[data + 400] ^= 0x08
    yield "one-bit-changed", bytes(flipped)
    flipped = bytearray(whole)
    flipped[data + UNSEEN] ^= 0x01
    yield "one-bit-of-a-number-changed", bytes(flipped)


MAKERS = {"tif": tiffs, "png": pngs, "bmp": bmps, "gif": gifs, "webp": webps, "pnm": pnms, "jpg": jpegs}


def pictures() -> dict[str, bytes]:
    """Every file by its name."""
    return {f"{name}.{suffix}": content for suffix, maker in MAKERS.items() for name, content in maker()}


if __name__ == "__main__":
    for name, content in pictures().items():
        (Path(sys.argv[1]) / name).write_bytes(content)
