# SPDX-License-Identifier: Apache-2.0
"""Colours as sRGB: what networks were trained on, and what a photograph without a profile is taken for.

Telephones write Display P3, some cameras Adobe RGB: the same numbers mean stronger colours there. A picture with such a
profile is converted by Little CMS, which Pillow brings along. Whether a profile is sRGB is decided by what it does and
not by its name: one that moves no colour of a grid by more than a rounding leaves every pixel as it was.
"""

from __future__ import annotations

import functools
import io
import itertools

import numpy as np
from PIL import Image, ImageCms

from facepipe.datasets.picture_checks import Unreadable

MOST_BYTES = 1 << 22
"""The largest profile that is looked at; tables of printers take 1 to 3 MB."""

ROUNDING = 1
"""Levels of 255 by which an sRGB profile may move a colour: its tables are rounded, and so is the result."""

_STEPS = (*range(0, 256, 32), 255)
_GRID = np.array(
    [*((level, level, level) for level in range(256)), *itertools.product(_STEPS, repeat=3)], np.uint8
)  # all greys, and 9 x 9 x 9 colours


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An RGB picture in sRGB; the very picture where it is that already.

    Args:
        profile: the ICC profile that its file holds. One of another kind than RGB (a grey picture's, say) says nothing
            of these pixels, and is passed over.

    Raises:
        Unreadable: the profile is damaged, or too large to be looked at.
    """
    if len(profile) > MOST_BYTES:
        raise Unreadable(f"has a colour profile of {len(profile):,} bytes, at most {MOST_BYTES:,} are read")
    transform = _to_srgb(profile)
    if transform is None:
        return image
    ImageCms.applyTransform(image, transform, inPlace=True)
    return image


@functools.lru_cache(maxsize=8)
def _to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The transform of a profile to sRGB; None where there is nothing to do."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() != "RGB":
            return None
        transform = ImageCms.buildTransform(
            opened, ImageCms.createProfile("sRGB"), "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(f"has a damaged colour profile ({reason})") from error
    moved = ImageCms.applyTransform(Image.fromarray(_GRID[None]), transform)
    assert moved is not None, "not in place, so it gives a picture back"
    by = np.abs(np.asarray(moved)[0].astype(np.int16) - _GRID)
    return None if by.max() <= ROUNDING else transform
