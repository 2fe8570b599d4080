# SPDX-License-Identifier: Apache-2.0
"""HEIC by an extra, AVIF by Pillow: upright, in sRGB, and named with what to install where they cannot be read."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import colour_profiles as spaces
import numpy as np
import pytest
from PIL import Image, features

from facepipe.datasets import heif
from facepipe.datasets.images import decode, list_keys, read
from facepipe.errors import DataError

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
needs_heif = pytest.mark.skipif(not HAS_HEIF, reason="the extra 'heic' is not installed")
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF here")


def _smooth(height: int = 64, width: int = 96) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 128 + 0 * x], -1).astype(np.uint8)


def _heic(pixels: np.ndarray, **options: object) -> bytes:
    import pillow_heif

    content = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(content, quality=95, **options)
    return content.getvalue()


def _head(brand: bytes, *compatible: bytes) -> bytes:
    body = brand + bytes(4) + b"".join(compatible)
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body + bytes(64)


def test_brands_tell_what_is_heic() -> None:
    assert heif.is_heif(_head(b"heic", b"mif1", b"heic"))
    assert heif.is_heif(_head(b"mif1", b"mif1", b"heic"))
    assert not heif.is_heif(_head(b"mif1", b"mif1", b"avif"))
    assert not heif.is_heif(_head(b"avif", b"mif1"))
    assert not heif.is_heif(_head(b"isom", b"mp42")) and not heif.is_heif(b"")


def test_without_the_extra_the_file_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(_head(b"heic", b"mif1"))
    monkeypatch.setattr(heif.importlib.util, "find_spec", lambda _: None)
    assert list_keys(tmp_path) == ["IMG_1.HEIC"]
    with pytest.raises(DataError, match=r"IMG_1\.HEIC: is HEIC, .* pip install 'facepipe\[heic\]'"):
        read(tmp_path / "IMG_1.HEIC")


@needs_heif
def test_heic_gives_about_the_pixels_that_were_written() -> None:
    assert np.abs(decode(_heic(_smooth()), "a").astype(int) - _smooth()).max() <= 8


@needs_heif
def test_heic_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(_heic(_smooth(), exif=exif.tobytes()), "a")
    assert found.shape == (96, 64, 3)
    assert np.abs(found.astype(int) - np.rot90(_smooth(), -1)).max() <= 8


@needs_heif
def test_heic_in_display_p3_becomes_srgb() -> None:
    image = Image.fromarray(_smooth())
    image.info["icc_profile"] = spaces.profile(spaces.P3)
    import pillow_heif

    content = io.BytesIO()
    pillow_heif.from_pillow(image).save(content, quality=95)
    found = decode(content.getvalue(), "a")
    wanted = spaces.in_srgb(_smooth(), spaces.P3)
    assert np.abs(found - wanted).mean() < 2 and np.abs(found.astype(int) - _smooth()).mean() > 4


@needs_heif
def test_heic_that_ends_early_is_a_reason() -> None:
    content = _heic(_smooth(256, 256))
    for end in range(40, len(content) - 1, max(1, len(content) // 60)):
        with pytest.raises(DataError, match=r"is broken|is no picture"):
            decode(content[:end], "a")


@needs_avif
def test_avif_gives_about_the_pixels_that_were_written_and_its_colours() -> None:
    for profile, wanted in ((None, _smooth()), (spaces.profile(spaces.P3), spaces.in_srgb(_smooth(), spaces.P3))):
        content = io.BytesIO()
        Image.fromarray(_smooth()).save(content, "AVIF", quality=95, icc_profile=profile)
        assert np.abs(decode(content.getvalue(), "a") - np.asarray(wanted, float)).mean() < 2


@needs_avif
def test_avif_that_ends_early_is_a_reason() -> None:
    content = io.BytesIO()
    Image.fromarray(_smooth(256, 256)).save(content, "AVIF", quality=90)
    whole = content.getvalue()
    for end in range(40, len(whole) - 1, max(1, len(whole) // 60)):
        with pytest.raises(DataError, match=r"is broken|is no picture|of a kind that is not read"):
            decode(whole[:end], "a")
