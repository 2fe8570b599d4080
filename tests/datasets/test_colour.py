# SPDX-License-Identifier: Apache-2.0
"""Colour profiles: what is not sRGB becomes sRGB as the published primaries say, and what is sRGB keeps every bit."""

from __future__ import annotations

import io
from pathlib import Path

import colour_profiles as spaces
import numpy as np
import pytest
from PIL import Image

from facepipe.datasets import colour
from facepipe.datasets.images import decode, read
from facepipe.errors import DataError

GRID = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3, indexing="ij"), -1).reshape(64, 64, 3)


def _png(pixels: np.ndarray, profile: bytes | None, mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "PNG", icc_profile=profile)
    return content.getvalue()


@pytest.mark.parametrize(("primaries", "gamma"), [(spaces.P3, None), (spaces.ADOBE, spaces.ADOBE_GAMMA)])
def test_another_space_becomes_srgb_as_its_primaries_say(
    primaries: tuple[tuple[float, float], ...], gamma: float | None
) -> None:
    found = decode(_png(GRID, spaces.profile(primaries, gamma)), "grid")
    wanted = spaces.in_srgb(GRID, primaries, gamma)
    assert np.abs(found - wanted).max() <= 2  # two roundings, and Little CMS's tables
    assert np.abs(found - wanted).mean() < 0.35
    assert np.abs(found.astype(int) - GRID).max() > 20  # it does move colours


def test_what_is_srgb_by_content_keeps_every_pixel_whatever_its_name() -> None:
    renamed = spaces.profile(spaces.SRGB, name="Display P3")
    assert np.array_equal(decode(_png(GRID, renamed), "grid"), GRID)
    assert np.array_equal(decode(_png(GRID, None), "grid"), GRID)


def test_what_calls_itself_srgb_and_is_not_is_converted() -> None:
    found = decode(_png(GRID, spaces.profile(spaces.P3, name="sRGB IEC61966-2.1")), "grid")
    assert np.abs(found - spaces.in_srgb(GRID, spaces.P3)).max() <= 2


def test_transparency_and_palettes_have_colours_too() -> None:
    profile = spaces.profile(spaces.P3)
    opaque = decode(_png(GRID, profile), "grid")
    assert np.array_equal(decode(_png(GRID, profile, "RGBA"), "grid"), opaque)
    few = np.repeat(np.repeat(GRID[:8, :8], 4, axis=0), 4, axis=1)
    assert np.array_equal(decode(_png(few, profile, "P"), "p")[0, 0], opaque[0, 0])


def test_a_profile_of_another_kind_says_nothing_of_rgb() -> None:
    grey = bytearray(spaces.profile(spaces.P3))
    grey[16:20] = b"GRAY"
    pixels = GRID[..., 0]
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", icc_profile=bytes(grey))
    assert np.array_equal(decode(content.getvalue(), "grey")[..., 1], pixels)


@pytest.mark.parametrize("cut", [1, 60, 127, 140, 400, -700])
def test_a_damaged_profile_is_a_reason(cut: int) -> None:
    with pytest.raises(DataError, match="colour profile"):
        decode(_png(GRID, spaces.profile(spaces.P3)[:cut]), "cut")


def test_a_profile_of_many_megabytes_is_not_looked_at() -> None:
    content = io.BytesIO()
    long = spaces.profile(spaces.P3) + bytes(colour.MOST_BYTES)
    Image.fromarray(GRID).save(content, "JPEG", icc_profile=long)
    with pytest.raises(DataError, match=r"colour profile of .* bytes"):
        decode(content.getvalue(), "long")


def test_random_bytes_in_a_profile_never_do_more_than_give_a_reason() -> None:
    whole, random = spaces.profile(spaces.ADOBE, spaces.ADOBE_GAMMA), np.random.default_rng(5)
    small = GRID[:4, :4]
    for _ in range(200):
        hostile = bytearray(whole)
        for place in random.integers(0, 400, 4).tolist():
            hostile[place] = int(random.integers(256))
        try:
            found = decode(_png(small, bytes(hostile)), "hostile")
        except DataError as error:
            assert "colour profile" in str(error)
        else:
            assert found.shape == (4, 4, 3)


def test_a_photograph_on_its_side_is_converted_and_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GRID[:40]).save(tmp_path / "a.png", icc_profile=spaces.profile(spaces.P3), exif=exif)
    wanted = decode(_png(GRID[:40], spaces.profile(spaces.P3)), "grid")
    assert np.array_equal(read(tmp_path / "a.png"), np.rot90(wanted, -1))
