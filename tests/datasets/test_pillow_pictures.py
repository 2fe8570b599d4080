# SPDX-License-Identifier: Apache-2.0
"""Pictures that Pillow holds are taken by the rules for files, and the program's picture stays as it is."""

from __future__ import annotations

import io
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from facepipe.datasets.images import Decoded, decode, decode_or_reason, of_pillow
from facepipe.results import Unread

COLOUR = np.random.default_rng(5).integers(0, 256, (24, 36, 3), np.uint8)


def written(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def other_profile() -> bytes:
    """Of colours that are not sRGB: its red and blue are exchanged, which Little CMS makes no difficulty of."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = (profile.index(tag) for tag in (b"rXYZ", b"bXYZ"))
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(swapped)


def grey_of_16_bits() -> Image.Image:
    return Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 257)


FILES = {
    "rgb": lambda: written(Image.fromarray(COLOUR), "PNG"),
    "jpeg": lambda: written(Image.fromarray(COLOUR), "JPEG", exif=exif(6)),
    "cmyk": lambda: written(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    "grey": lambda: written(Image.fromarray(COLOUR[..., 0]), "PNG"),
    "bilevel": lambda: written(Image.fromarray(COLOUR[..., 0]).convert("1"), "PNG"),
    "alpha": lambda: written(Image.fromarray(np.dstack([COLOUR, COLOUR[..., 0]])), "PNG"),
    "grey and alpha": lambda: written(Image.fromarray(COLOUR[..., 0]).convert("LA"), "PNG"),
    "palette": lambda: written(Image.fromarray(COLOUR).convert("P"), "PNG", transparency=3),
    "16 bits": lambda: written(grey_of_16_bits(), "PNG"),
    "floating point": lambda: written(Image.fromarray(COLOUR[..., 0].astype(np.float32) / 255), "TIFF"),
    "profile": lambda: written(Image.fromarray(COLOUR), "PNG", icc_profile=other_profile()),
    "profile and alpha": lambda: written(
        Image.fromarray(np.dstack([COLOUR, COLOUR[..., 0]])), "PNG", icc_profile=other_profile()
    ),
    "webp": lambda: written(Image.fromarray(COLOUR), "WEBP", exif=exif(3), lossless=True),
    "tiff": lambda: written(Image.fromarray(COLOUR), "TIFF", exif=exif(8)),
    **{f"turned {n}": (lambda n=n: written(Image.fromarray(COLOUR), "PNG", exif=exif(n))) for n in range(1, 9)},
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("state", ["opened", "loaded", "copied"])
def test_a_picture_that_pillow_holds_gives_the_pixels_of_its_file(kind: str, state: str) -> None:
    content = FILES[kind]()
    expected = decode(content, kind)
    with Image.open(io.BytesIO(content)) as image:
        if state != "opened":
            image.load()
        given = image.copy() if state == "copied" else image
        before = None if state == "opened" else (given.size, given.mode, given.tobytes())
        found = of_pillow(given)
        assert isinstance(found, Decoded) and found.pixels.dtype == np.uint8
        assert np.array_equal(found.pixels, expected)
        assert (found.height, found.width, found.by) == (*expected.shape[:2], 1)
        assert before in (None, (given.size, given.mode, given.tobytes())), "the program's picture was changed"
        again = of_pillow(given)
        assert isinstance(again, Decoded) and np.array_equal(again.pixels, expected)


def test_the_profile_of_these_tests_moves_colours() -> None:
    assert not np.array_equal(decode(FILES["profile"](), "profile"), COLOUR)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Image.new("RGB", (0, 5)), "has 0x5 pixels, expected some"),
        (lambda: Image.new("I", (4, 4)), "has 32-bit or signed integer samples, and their white is not known"),
        (lambda: Image.new("F", (4, 4), 256.0), "has floating-point samples outside 0..255"),
        (lambda: Image.open(io.BytesIO(FILES["jpeg"]()[:-200])), "is broken .*truncated"),
    ],
)
def test_a_picture_that_cannot_be_had_is_an_answer(make: Any, told: str) -> None:
    found = of_pillow(make())
    assert isinstance(found, Unread) and re.search(told, found.reason)


def test_the_limits_of_files_hold_for_what_pillow_holds() -> None:
    image = Image.new("RGB", (200, 100))
    assert of_pillow(image, max_pixels=19_999) == Unread(
        "has 200x100 pixels, at most 19,999 are read (more with --max-pixels)"
    )
    assert of_pillow(image, max_side=199) == Unread("has a side of 200 pixels, expected at most 199")
    costly = of_pillow(image, memory=1 << 17)
    assert isinstance(costly, Unread) and "would take" in costly.reason


def test_threads_that_read_leave_the_warning_filters_as_they_were() -> None:
    """Each opens a picture that Pillow warns of, again and again, and none undoes another's silence."""
    content = written(Image.new("L", (16, 16)), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\xff\xff")
    before = list(warnings.filters)
    start = threading.Barrier(8)

    def read_often() -> None:
        start.wait()
        for _ in range(300):
            assert isinstance(decode_or_reason(content), Decoded)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(read_often) for _ in range(8)]:
            done.result()
    assert list(warnings.filters) == before
