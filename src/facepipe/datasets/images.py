# SPDX-License-Identifier: Apache-2.0
"""Photographs: which ones a folder holds, and one of them as uint8 RGB.

What becomes of pictures that are not plain 8-bit RGB is decided here, and nowhere else:

- EXIF orientation is applied: boxes then lie in the picture as it is seen.
- Transparency is dropped: the colours under it count, as with `convert("RGB")`, which published numbers were made with.
- 16 bits are scaled from 0..65535 (12 bits: 0..4095) to 0..255 and rounded, not clipped or cut off. Floating-point grey
  is taken as 0..1 when nothing in it is above 1, else as 0..255.
- Colours with an RGB profile that is not sRGB are converted to sRGB: see colour.py. CMYK goes through Pillow's plain
  formula, and profiles of CMYK and grey are not used.
- Of an animation, the first frame counts, and of several pages the first.
- A JPEG may be decoded at a half, a quarter or an eighth of its size, where the caller needs no more; see jpeg.py. No
  other format can.
- More than MAX_PIXELS pixels, as they would be decoded, are refused before anything is; so is what would take more
  memory than the caller allows (see `faces.photographs.Limits`). So is what ends too early or is damaged, as far as the
  format tells: half a photograph is no photograph. See jpeg.py and picture_checks.py.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import stat
import struct
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError, features

from facepipe.datasets import heif, jpeg
from facepipe.datasets.colour import in_srgb
from facepipe.datasets.picture_checks import (
    Unreadable,
    has_12_bits,
    jpegs_inside,
    refuse_damaged_png,
    refuse_missing_rows,
    refuse_unread_tiff,
    white_is_zero,
)
from facepipe.errors import DataError
from facepipe.results import Unread
from facepipe.store.files import lacking

SUFFIXES = heif.SUFFIXES | {
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif")
}
# By content, whatever the suffix says. Only these: some of Pillow's other readers start programs (EPS) or open
# documents, and none of them is a photograph.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", *(("AVIF",) if features.check("avif") else ()))
# Twice Pillow's line for a warning, which is where Pillow itself refuses: 537 MB as RGB, 20000 x 8947.
MAX_PIXELS = 2 * (1 << 30) // 4 // 3
# A row of 32 bits a pixel is at most 2^31 - 1 bits long in Pillow's decoders, which otherwise say "out of memory".
MAX_SIDE = (1 << 26) - 1
# Profiles, previews and notes in a file, in bytes; its pixels may take eight each.
METADATA = 1 << 26
DECODED_BYTES = 13
"""Memory for one pixel of 8 bits and three colours while it is decoded: 4 in Pillow's own form, and 3 in each of three
copies on the way to an array."""
DEEP_BYTES = 32
"""The same for more bits a sample: the picture is decoded twice, and rounded in 16 or 32 bits."""

_SIGNATURES = {
    jpeg.SIGNATURE: "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
}
MORE = " (more with --max-pixels)"

PillowImage = Image.Image
"""A picture that Pillow has opened or made."""

# Python's list of warning filters is the process's: of two threads that set it and set it back, one undoes the other.
_FILTERS = threading.Lock()
_OF_COLOURS = ("RGB", "RGBA", "RGBX", "P", "PA")
# Formats that can hold several frames.
_MAY_MOVE = heif.SUFFIXES | {".gif", ".webp", ".png", ".tif", ".tiff", ".avif"}
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)
# Pillow's names of 16-bit samples, and of the same bytes in the other order.
_ORDERS = [("L", "B"), ("B", "L"), ("N", "B" if sys.byteorder == "little" else "L")]
_SWAPPED = {
    f"{mode};16{one}": f"{mode};16{other}" for mode in ("RGB", "RGBA", "RGBX", "CMYK") for one, other in _ORDERS
}


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What was decoded of a photograph.

    Attributes:
        pixels: uint8 [h, w, 3] RGB, upright.
        height, width: of the photograph, upright. `pixels` are as many, or those of a JPEG divided by `by` and rounded
            up.
        by: the denominator of the scale; see `jpeg.reduction`.
        content: the file, where more pixels can be had of it; else empty.
        memory: the most bytes that may be taken to decode it.
    """

    pixels: np.ndarray
    height: int
    width: int
    by: int = 1
    content: bytes = field(default=b"", repr=False)
    memory: int | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels for each of the photograph's: across and down, at most 1."""
        height, width = self.pixels.shape[:2]
        return width / self.width, height / self.height

    def enough(self, scale: float) -> int:
        """The denominator at which there are `scale` pixels for each of the photograph's own; no greater than `by`."""
        return next((by for by in jpeg.REDUCTIONS if by <= self.by and by * scale <= 1), 1)

    def at(self, by: int) -> Decoded:
        """The photograph decoded again at a smaller denominator, or at the next one that memory allows; else this."""
        for step in sorted(step for step in jpeg.REDUCTIONS if by <= step < self.by):
            with suppress(Unreadable):  # it was decoded before, so it is the limit; fewer pixels are its own still
                # Half: crops are cut beside what was decoded first.
                return _read(self.content, memory=None if self.memory is None else self.memory // 2, by=step)
        return self


def list_keys(root: Path) -> list[str]:
    """The photographs below `root` as sorted POSIX paths relative to it.

    A photograph is told by its suffix, in any case. Names that begin with a dot are passed over. Links are followed; a
    link to a folder that it lies in is not. A broken link with a photograph's name is listed, and `read` says why.
    Folders may be as deep as the system's paths are long. A key is the name that the file system gives, letter by
    letter: two ways of writing one accent are two keys, and the order is that of the letters' numbers everywhere.

    Raises:
        DataError: `root` is no folder, holds no photograph or a folder that cannot be listed, or a photograph's name is
            no valid text.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {lacking(root, 'folder')}, expected a folder of photographs.")
    keys = sorted(_walk(root)[0])
    suffixes = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
    if not keys:
        raise DataError(f"{root}: no photograph in it, expected files that end in one of: {suffixes}.")
    for key in keys:
        if any("\ud800" <= letter <= "\udfff" for letter in key):  # bytes that Python could not read as text
            raise DataError(f"{root}: {key!a} is no valid UTF-8, expected a name that can be written as text.")
    return keys


def other_kinds(root: Path, out: Path | None = None) -> dict[str, int]:
    """Suffix to the number of files below `root` that are no photographs by theirs, the most frequent first.

    Args:
        out: what lies in this folder is not counted.

    Raises:
        DataError: a folder cannot be listed.
    """
    inside = None if out is None else _below(root, out)
    names = [name for name in _walk(root)[1] if inside is None or not name.startswith(inside)]
    found = Counter(PurePosixPath(name).suffix or PurePosixPath(name).name for name in names)
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _below(root: Path, folder: Path) -> str | None:
    """What the keys of all that lies in `folder` begin with; None where it does not lie below `root`."""
    here, there = root.resolve(), folder.resolve()
    return f"{there.relative_to(here).as_posix()}/" if there != here and there.is_relative_to(here) else None


def is_animated(path: Path) -> bool:
    """Whether a photograph's file holds several frames or pages, of which the first is looked at.

    False also where it cannot be opened: whoever reads it says why.
    """
    if path.suffix.lower() not in _MAY_MOVE:
        return False
    try:
        with _opened(_file(path), whole=False) as image:
            return bool(getattr(image, "is_animated", False))
    except Unreadable:
        return False


def read(path: Path) -> np.ndarray:
    """One photograph, upright, as uint8 [H, W, 3] RGB. Any size from 1x1 to MAX_PIXELS pixels.

    Warnings that Pillow gives about size and metadata are silenced while the file is opened, since this module decides
    what they warn of.

    Raises:
        DataError: there is no such file, or it cannot be read whole as a photograph; the reason is named.
    """
    try:
        return _read(path).pixels
    except Unreadable as error:
        raise DataError(f"{path}: {error}.") from error


def decode(content: bytes, where: str) -> np.ndarray:
    """A photograph whose file lies in memory, as `read` gives it; `where` names it in the error.

    Raises:
        DataError: the bytes cannot be read whole as a photograph; the reason is named.
    """
    try:
        return _read(content).pixels
    except Unreadable as error:
        raise DataError(f"{where}: {error}.") from error


def file_or_reason(path: Path) -> BinaryIO | Unread:
    """The open file of a photograph; or why it is none: a folder, a pipe, an empty file, one that cannot be opened."""
    try:
        return _file(path)
    except Unreadable as error:
        return Unread(str(error))


def decode_or_reason(
    content: bytes, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE, size: int = 0, memory: int | None = None
) -> Decoded | Unread:
    """A photograph whose file lies in memory, as `read` gives it, or the reason why it cannot be read.

    Args:
        max_pixels: one of more pixels, as it would be decoded, is refused before it is.
        max_side: the same for the photograph's longer side.
        size: pixels of the longer side that are needed: a JPEG is decoded at the least scale that gives them. 0: all.
        memory: bytes; what is estimated to take more is refused before it is decoded. None: any.
    """
    try:
        return _read(content, max_pixels, max_side, size, memory)
    except Unreadable as error:
        return Unread(str(error))


def of_pillow(
    image: PillowImage, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE, memory: int | None = None
) -> Decoded | Unread:
    """A picture that Pillow holds, by the rules for files (upright, sRGB, no transparency); or why it cannot be had.

    The picture stays as it is. What Pillow has not decoded yet is decoded by Pillow, in full: damage is seen as far as
    that tells, and colour of 16 bits has lost the low ones. Of an animation the frame counts at which it stands.

    Args:
        max_pixels, max_side, memory: as `decode_or_reason` takes them.
    """
    try:
        with _reasons(max_pixels):
            if 0 in image.size:
                raise Unreadable(f"has {image.width}x{image.height} pixels, expected some")
            _refuse_large(image, 1, max_pixels)
            _refuse_long(image, max_side)
            if memory is not None:
                _refuse_costly(image, 1, 0, memory)
            image.load()
            colour = _rgb(image)
            if colour is image and "icc_profile" in image.info:
                colour = image.copy()  # colours are converted in place
            pixels = np.array(_as_seen(image, colour), np.uint8)
    except Unreadable as error:
        return Unread(str(error))
    return Decoded(pixels, *pixels.shape[:2])


def size_or_reason(content: bytes, size: int = 0) -> tuple[int, int] | Unread:
    """(height, width) that the photograph in memory would be decoded at, as it says, before it is turned upright."""
    try:
        with _opened(io.BytesIO(content), whole=False) as image:
            by = jpeg.reduction(*image.size, size) if content.startswith(jpeg.SIGNATURE) else 1
            return -(-image.height // by), -(-image.width // by)
    except Unreadable as error:
        return Unread(str(error))


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of the array that `read` would give. Most formats tell it without being decoded.

    Raises:
        DataError: there is no such file, or it is no photograph; the reason is named.
    """
    try:
        with _opened(_file(path)) as image:
            width, height = image.size
            # Pillow has turned a TIFF's size already.
            is_turned = image.format != "TIFF" and _orientation(image) in _ON_ITS_SIDE
    except Unreadable as error:
        raise DataError(f"{path}: {error}.") from error
    return (width, height) if is_turned else (height, width)


def decoder_versions() -> dict[str, str]:
    """The version of Pillow, and of the libraries behind it that round as they like, by name."""
    found = {"Pillow": PIL.__version__}
    with suppress(importlib.metadata.PackageNotFoundError):
        found["pillow-heif"] = importlib.metadata.version("pillow-heif")
    for name, feature in (("libjpeg", "jpg"), ("libwebp", "webp"), ("libavif", "avif"), ("littlecms", "littlecms2")):
        version = features.version(feature)
        if version is not None:
            found[name] = version
    return found


def _walk(root: Path) -> tuple[list[str], list[str]]:
    """Keys below `root`, and those of what is no photograph, unsorted. Each folder knows the identity of those
    above it, so that a loop of links ends."""
    keys, others = [], []
    pending = [(root, "", frozenset([_identity(root)]))]
    while pending:
        folder, prefix, above = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    here = Path(entry.path)
                    # Not entry.is_dir() alone: of a link to itself it raises.
                    if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and here.is_dir()):
                        if (identity := _identity(here)) not in above:
                            pending.append((here, f"{prefix}{entry.name}/", above | {identity}))
                    elif Path(entry.name).suffix.lower() in SUFFIXES:
                        keys.append(prefix + entry.name)
                    else:
                        others.append(prefix + entry.name)
        except OSError as error:
            place = prefix if len(prefix) <= 200 else f"{prefix[:100]}...{prefix[-100:]}"
            raise DataError(
                f"{root}: the folder {(place or '.')!a} in it cannot be listed ({error.strerror}).",
                "chmod -R a+rX, or a folder that is less deep.",
            ) from error
    return keys, others


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _read(
    source: Path | bytes,
    max_pixels: int = MAX_PIXELS,
    max_side: int = MAX_SIDE,
    size: int = 0,
    memory: int | None = None,
    by: int | None = None,
) -> Decoded:
    """A photograph as `decode_or_reason` gives it; `by`: the JPEG's scale itself, in place of `size`."""
    content = source if isinstance(source, bytes) else _content(source, max_pixels)
    parts = jpeg.layout(content) if content.startswith(jpeg.SIGNATURE) else None
    with _opened(io.BytesIO(content), max_pixels, max_side, whole=False) as image:
        height, width = image.height, image.width
        if by is None:
            by = jpeg.reduction(width, height, size) if parts else 1
        _refuse_large(image, by, max_pixels)
        if memory is not None:
            _refuse_costly(image, by, len(content) + (parts.held if parts else 0), memory)
        if parts:
            jpeg.load(image, content, parts, by)
        elif image.format == "PNG":
            refuse_damaged_png(content)
        elif image.format == "TIFF":
            refuse_unread_tiff(image)
            _refuse_damaged_jpegs(jpegs_inside(image, content))
        rawmode = _rawmode(image) if image.format in ("PNG", "TIFF") else ""
        image.load()
        if image.format == "PNG":
            refuse_missing_rows(image, content)
        colour = _rounded(image, rawmode, content) if ";16" in rawmode else _rgb(image)
        if _orientation(image) in _ON_ITS_SIDE:
            height, width = width, height
        pixels = np.array(_as_seen(image, colour), np.uint8)
    if by == 1:
        return Decoded(pixels, *pixels.shape[:2])
    return Decoded(pixels, height, width, by, content, memory)


def _as_seen(image: Image.Image, colour: Image.Image) -> Image.Image:
    """The RGB of a picture in sRGB, which may be done in place, and upright.

    Args:
        image: loaded: Pillow then has turned a TIFF, and says so.
    """
    if image.mode in _OF_COLOURS and (profile := image.info.get("icc_profile")):
        colour = in_srgb(colour, profile)
    orientation = _orientation(image)
    return colour.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else colour


def _refuse_large(image: Image.Image, by: int, max_pixels: int) -> None:
    width, height = (-(-side // by) for side in image.size)
    if width * height > max_pixels:
        reduced = "" if by == 1 else f", {width}x{height} of them at the least scale that serves"
        raise Unreadable(f"has {image.width}x{image.height} pixels{reduced}, at most {max_pixels:,} are read{MORE}")


def _refuse_long(image: Image.Image, max_side: int) -> None:
    if max(image.size) > max_side:
        raise Unreadable(f"has a side of {max(image.size)} pixels, expected at most {max_side}")


def _refuse_costly(image: Image.Image, by: int, held: int, memory: int) -> None:
    """Refuse what would take more than `memory` bytes: its pixels, and `held` bytes beside them."""
    width, height = (-(-side // by) for side in image.size)
    is_deep = image.mode.startswith(("I", "F")) or ";16" in _rawmode(image)
    needed = held + width * height * (DEEP_BYTES if is_deep else DECODED_BYTES)
    if needed > memory:
        raise Unreadable(
            f"has {image.width}x{image.height} pixels and would take {needed / 1e6:,.0f} MB to be decoded, "
            f"at most {memory / 1e6:,.0f} are used{MORE}"
        )


def _refuse_damaged_jpegs(contents: list[bytes]) -> None:
    """Those in a TIFF are decoded twice: libtiff fills what is missing with grey, as libjpeg does."""
    for content in contents:
        parts = jpeg.layout(content)
        with _header(io.BytesIO(content)) as image:
            jpeg.load(image, content, parts)


@contextmanager
def _opened(
    file: BinaryIO, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE, *, whole: bool = True
) -> Iterator[ImageFile.ImageFile]:
    """The picture in a file before it is decoded. Whatever goes wrong with it, in here or in the block, is a reason.

    Args:
        whole: refuse more than `max_pixels` here; else the caller does, who knows at what scale it decodes.
    """
    with _reasons(max_pixels), file:
        try:
            image = _header(file)
        except UnidentifiedImageError as error:
            raise Unreadable(_unknown(file)) from error
        with image:
            if whole:
                _refuse_large(image, 1, max_pixels)
            _refuse_long(image, max_side)
            yield image


@contextmanager
def _reasons(max_pixels: int) -> Iterator[None]:
    """Whatever goes wrong with a picture in the block is a reason."""
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"has too many pixels, at most {max_pixels:,} are read{MORE}") from error
    except Exception as error:  # for a broken file Pillow raises a dozen unrelated classes; all mean the same
        raise Unreadable(f"is broken ({' '.join(str(error).split()) or type(error).__name__})") from error


def _unknown(file: BinaryIO) -> str:
    """Why Pillow knows no format for it: it is of none, or of a kind of one that it does not open."""
    file.seek(0)
    head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis") and "AVIF" not in FORMATS:
        return "is AVIF, which Pillow reads from 11.3 on: pip install -U Pillow"
    for signature, form in _SIGNATURES.items():
        if head.startswith(signature):
            return f"is a {form} file of a kind that is not read, or its header is broken"
    return f"is no picture in a format known here ({', '.join(FORMATS)})"


def _content(path: Path, max_pixels: int) -> bytes:
    """A whole file, of at most as many bytes as `max_pixels` pixels can need."""
    most = 8 * max_pixels + METADATA
    with _file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Unreadable(f"has more than {most:,} bytes, and {max_pixels:,} pixels need no more")
    return content


def _file(path: Path) -> BinaryIO:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise Unreadable("is no file")
        if status.st_size == 0:
            raise Unreadable("is empty (0 bytes)")
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unreadable(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error


def _header(file: BinaryIO) -> ImageFile.ImageFile:
    head = file.read(64)
    file.seek(0)
    if head[4:8] == b"ftyp" and heif.is_heif(head):
        return heif.open_heif(file)
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of size, which is decided on in _refuse_large, and of metadata
        if not head.startswith(jpeg.SIGNATURE):
            return Image.open(file, formats=FORMATS)
        try:  # not Image.open, which refuses what would be large if it were decoded in full
            return JpegImagePlugin.JpegImageFile(file)
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            raise UnidentifiedImageError(str(error)) from error


def _orientation(image: Image.Image) -> int:
    """1 to 8 by EXIF or XMP, 1 being upright; a damaged EXIF block turns nothing, the pixels are good without it."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = image.getexif().get(_EXIF_ORIENTATION, 1)
        except (SyntaxError, struct.error, ValueError, KeyError, TypeError, EOFError):
            return 1
    return value if isinstance(value, int) else 1


def _rawmode(image: Image.Image) -> str:
    """Pillow's word for the samples as they lie in the file; "" where its decoder knows better, or there is no file."""
    tile = image.tile if isinstance(image, ImageFile.ImageFile) else ()
    arguments = tile[0][3] if tile else ""
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return rawmode if isinstance(rawmode, str) and not rawmode.startswith(("I", "F")) else ""


def _rounded(image: Image.Image, rawmode: str, content: bytes) -> Image.Image:
    """Colour of 16 bits as 8-bit RGB: Pillow takes the high bytes, so the low ones are read in the other order."""
    with _header(io.BytesIO(content)) as second:
        mode, other = (image.mode, _SWAPPED[rawmode]) if rawmode in _SWAPPED else ("RGBA", "RGBA")
        if rawmode not in (*_SWAPPED, "LA;16B"):
            raise Unreadable(f"has 16-bit samples in the form {rawmode}, which is not read")
        second._mode = mode
        second.tile = [_in_order(tile, other) for tile in second.tile]
        second.load()
        low = np.asarray(second)
    if rawmode not in _SWAPPED:  # grey and opacity of 16 bits read as four bytes
        high, low = low[..., :1], low[..., 1:2]
    else:
        high = np.asarray(image)
    # v / 257 rounded, with v = 257 high + (low - high).
    rest = low.astype(np.int16) - high
    samples = (high + (rest > 128) - (rest < -128)).astype(np.uint8)
    if image.mode == "CMYK":
        return Image.frombytes("CMYK", image.size, samples.tobytes()).convert("RGB")
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(samples[..., :3], (*samples.shape[:2], 3))))


def _in_order(tile: Any, rawmode: str) -> Any:
    """One of Pillow's tiles with another word for its samples; before Pillow 11 it is a plain tuple."""
    arguments = (rawmode, *tile[3][1:]) if isinstance(tile[3], tuple) else rawmode
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_grey_bytes(image)).convert("RGB")
    if image.mode == "P":
        return image.convert("RGBA").convert("RGB")  # on the direct way Pillow warns of a palette with transparency
    return image.convert("RGB")


def _grey_bytes(image: Image.Image) -> np.ndarray:
    """Grey of more than 8 bits as uint8 [H, W]."""
    samples = np.asarray(image)
    if image.mode == "F":
        if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > 255:
            raise Unreadable("has floating-point samples outside 0..255, and their white is not known")
        white_1 = samples.max() <= 1
        return np.asarray(np.rint(samples * 255 if white_1 else samples), np.uint8)
    # Pillow 10 opens a 16-bit PNG or PGM as "I"; any other "I" has 32 bits or a sign.
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise Unreadable("has 32-bit or signed integer samples, and their white is not known")
    white = 4095 if has_12_bits(image) else 65535
    grey = np.asarray((samples.astype(np.uint32) * 255 + white // 2) // white, np.uint8)
    return np.asarray(255 - grey, np.uint8) if white_is_zero(image) else grey
