# SPDX-License-Identifier: Apache-2.0
"""Crops on disk under the names of their photographs.

`.png` keeps every pixel. `.jpg` is the vendor's choice and loses some; here it is written at quality 100 without chroma
subsampling, where a pixel is off by one or two levels, and not at Pillow's default 75.
"""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from facepipe.errors import DataError
from facepipe.store.files import write_bytes

_JPEG_QUALITY = 100  # the most that Pillow takes
_LOSSLESS, _LOSSY = frozenset({".png"}), frozenset({".jpg", ".jpeg"})


def crop_name(key: str) -> str:
    """The crop's path for a photograph's key: the same where it can be written, else with `.png` appended.

    Example:
        >>> crop_name("Some One/a.JPG"), crop_name("b.bmp")
        ('Some One/a.JPG', 'b.bmp.png')
    """
    return key if PurePosixPath(key).suffix.lower() in _LOSSLESS | _LOSSY else f"{key}.png"


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 [H, W, 3] RGB as PNG, whole."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)  # speed: the files are read once and thrown away
    write_bytes(path, content.getvalue())


def photograph_jpeg(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] RGB as JPEG of quality 95 without chroma subsampling, for photographs to train on."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95, subsampling=0)
    return content.getvalue()


def write_crop(path: Path, crop: np.ndarray) -> None:
    """Write uint8 [S, S, 3] RGB in the format of the path's suffix, whole.

    Raises:
        DataError: the suffix is neither .png nor .jpg.
    """
    suffix = path.suffix.lower()
    if suffix in _LOSSLESS:
        write_png(path, crop)
    elif suffix in _LOSSY:
        content = io.BytesIO()
        Image.fromarray(crop).save(content, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        write_bytes(path, content.getvalue())
    else:
        raise DataError(f"{path}: a crop cannot be written as '{suffix}', expected .png or .jpg.")
