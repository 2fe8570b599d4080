# SPDX-License-Identifier: Apache-2.0
"""HEIC photographs, as iPhones write them, by pillow-heif: an extra, for its libraries are large and HEVC is patented.

libheif turns them upright by itself. There is no decoding at a reduced scale.
"""

from __future__ import annotations

import importlib.util
from typing import Any, BinaryIO

from PIL import ImageFile

from facepipe.datasets.picture_checks import Unreadable

SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_SHARED = frozenset({b"mif1", b"msf1"})  # of a HEIF file of any coding: the compatible brands tell


def is_heif(head: bytes) -> bool:
    """Whether a file that begins so (64 bytes are enough) holds pictures in HEVC. Source: ISO/IEC 23008-12, 10."""
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    return head[8:12] in _BRANDS or (head[8:12] in _SHARED and bool(brands & _BRANDS))


def open_heif(file: BinaryIO) -> ImageFile.ImageFile:
    """The photograph before it is decoded.

    Raises:
        Unreadable: pillow-heif is not installed.
    """
    if importlib.util.find_spec("pillow_heif") is None:
        raise Unreadable("is HEIC, which the extra 'heic' reads: pip install 'facepipe[heic]'")
    import pillow_heif

    of_file: Any = pillow_heif.HeifImageFile  # it has no types
    return of_file(file)
