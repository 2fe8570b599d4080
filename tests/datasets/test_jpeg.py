# SPDX-License-Identifier: Apache-2.0
"""JPEG data that ends early, goes on or lacks a part, at every place; and good files, which give Pillow's pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from facepipe.datasets import jpeg
from facepipe.datasets.images import Decoded, decode, decode_or_reason
from facepipe.errors import DataError
from facepipe.results import Unread

END = b"\xff\xd9"
FORMS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 2},
}


def photograph(height: int = 40, width: int = 56) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    return np.clip(np.stack([x * 4, y * 5, 255 - x * 2], axis=-1) + noise, 0, 255).astype(np.uint8)


def saved(picture: np.ndarray, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", **options)
    return content.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("quality", [5, 75, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 9), (40, 56), (211, 3)])
def test_a_good_file_gives_pillows_own_pixels(form: str, quality: int, subsampling: int, size: tuple[int, int]) -> None:
    for picture in (photograph(*size), np.zeros((*size, 3), np.uint8), photograph(*size)[..., 0]):
        options = {} if picture.ndim == 2 else {"subsampling": subsampling}
        content = saved(picture, quality=quality, **options, **FORMS[form])
        np.testing.assert_array_equal(decode(content, "x"), by_pillow(content))


@pytest.mark.parametrize("form", FORMS)
def test_data_that_ends_early_is_refused_wherever_it_ends(form: str) -> None:
    """With an end marker set behind it. The last bytes may be missing: fewer than libjpeg reads ahead."""
    content = saved(photograph(), **FORMS[form])
    data = jpeg.layout(content).pieces[0][0]
    for end in range(data, len(content) - 2 - len(jpeg.FILLER)):
        with pytest.raises(DataError, match="x: is broken"):
            decode(content[:end] + END, "x")


@pytest.mark.parametrize("form", FORMS)
def test_a_piece_of_which_a_part_is_missing_is_refused(form: str) -> None:
    content = saved(photograph(), **FORMS[form])
    for begin, end in jpeg.layout(content).pieces:
        if end - begin > 60:
            with pytest.raises(DataError, match="x: is broken"):
                decode(content[: end - 50].rstrip(b"\xff") + content[end:], "x")


@pytest.mark.parametrize("form", FORMS)
def test_a_piece_with_more_data_than_blocks_is_refused(form: str) -> None:
    content = saved(photograph(), **FORMS[form])
    for _, end in jpeg.layout(content).pieces:
        with pytest.raises(DataError, match="it has more JPEG data than the picture has blocks"):
            decode(content[:end] + b"\x12\x34\x56\x78" * 10 + content[end:], "x")
        decode(content[:end] + b"\0\0" + content[end:], "x")


def test_pieces_are_counted_and_numbered() -> None:
    content = saved(photograph(), restart_marker_rows=1, subsampling=0)
    pieces = jpeg.layout(content).pieces
    assert len(pieces) == 5
    (_, first), (second, last) = pieces[0], pieces[1]
    with pytest.raises(DataError, match="its restart markers are out of order"):
        decode(content[:first] + b"\xff\xd3" + content[second:], "x")
    with pytest.raises(DataError, match="its restart markers are out of order"):
        decode(content[:first] + content[last:], "x")
    end = pieces[-2][1]
    with pytest.raises(DataError, match="fewer or more restart markers than the picture needs"):
        decode(content[:end] + END, "x")


def test_a_progressive_file_without_its_last_scan_is_refused() -> None:
    content = saved(photograph(), progressive=True)
    begin = content.rindex(b"\xff\xda")
    with pytest.raises(DataError, match="its JPEG data ends before every scan has come"):
        decode(content[:begin] + END, "x")


def test_what_follows_the_end_does_not_count() -> None:
    content = saved(photograph())
    np.testing.assert_array_equal(decode(content + b"\xff\xd8\xff\xda" + content, "x"), by_pillow(content))


@pytest.mark.parametrize("form", FORMS)
def test_a_scan_of_no_component_is_refused(form: str) -> None:
    """Found by atheris: the scanner looked for the first of its components."""
    content = saved(photograph(), **FORMS[form])
    at = content.index(b"\xff\xda")
    with pytest.raises(DataError, match="a scan's header has another length than it says"):
        decode(content[: at + 2] + b"\0\6\0\0\0\0" + content[at:], "x")


def reduced(content: bytes, size: int) -> Decoded:
    found = decode_or_reason(content, size=size)
    assert isinstance(found, Decoded), found
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(64, 80), (203, 333), (96, 9), (8, 500)])
@pytest.mark.parametrize("by", [2, 4, 8])
def test_a_reduced_scale_gives_pillows_own_pixels(form: str, size: tuple[int, int], by: int) -> None:
    content = saved(photograph(*size), **FORMS[form])
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, (size[1] // by, size[0] // by))
        wanted = np.asarray(image)
    found = reduced(content, -(-max(size) // by))
    assert found.by == by and (found.height, found.width) == size
    assert found.pixels.shape == (-(-size[0] // by), -(-size[1] // by), 3)
    np.testing.assert_array_equal(found.pixels, wanted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by", [2, 4, 8])
def test_data_that_ends_early_is_refused_at_a_reduced_scale_too(form: str, by: int) -> None:
    content = saved(photograph(96, 120), **FORMS[form])
    data = jpeg.layout(content).pieces[0][0]
    reduced(content, 120 // by)
    for end in range(data, len(content) - 2 - len(jpeg.FILLER), 7):
        found = decode_or_reason(content[:end] + END, size=120 // by)
        assert isinstance(found, Unread) and "is broken" in found.reason


@pytest.mark.parametrize(
    ("width", "height", "size", "by"),
    [
        (4032, 3024, 1280, 2),
        (4032, 3024, 1008, 4),
        (4032, 3024, 1009, 2),
        (40_000, 10_000, 1600, 8),
        (250, 250, 250, 1),
        (250, 250, 1600, 1),
        (4032, 3024, 0, 1),
        (1, 4000, 500, 1),  # nothing would be left of its width
        (7, 60_000, 1600, 4),
    ],
)
def test_the_least_scale_that_still_has_the_pixels(width: int, height: int, size: int, by: int) -> None:
    assert jpeg.reduction(width, height, size) == by


def test_what_libjpeg_holds_of_several_scans_is_counted() -> None:
    picture = photograph(160, 240)
    assert jpeg.layout(saved(picture)).held == 0
    # 4:4:4: three components of 30 x 20 blocks of 64 coefficients of 2 bytes.
    assert jpeg.layout(saved(picture, progressive=True, subsampling=0)).held == 3 * 30 * 20 * 128
    assert jpeg.layout(saved(picture, progressive=True, subsampling=2)).held == (30 * 20 + 2 * 15 * 10) * 128
    assert jpeg.layout(saved(picture[..., 0], progressive=True)).held == 30 * 20 * 128


def test_a_progressive_jpeg_is_refused_where_its_coefficients_do_not_fit() -> None:
    content = saved(photograph(160, 240), progressive=True, subsampling=0)
    fits = len(content) + 3 * 30 * 20 * 128 + 20 * 30 * 13
    assert isinstance(decode_or_reason(content, size=30, memory=fits), Decoded)
    found = decode_or_reason(content, size=30, memory=fits - 1)
    assert isinstance(found, Unread) and "240x160 pixels and would take" in found.reason
    assert isinstance(decode_or_reason(saved(photograph(160, 240)), size=30, memory=fits - 1), Decoded)


def test_more_pixels_are_had_of_the_file_as_far_as_memory_allows() -> None:
    content = saved(photograph(400, 800))
    small = reduced(content, 100)
    assert small.by == small.enough(1 / 8) == small.enough(0.0) == 8 and small.at(8) is small
    for scale, by in ((0.13, 4), (0.25, 4), (0.26, 2), (0.5, 2), (0.51, 1), (1, 1), (9, 1)):
        assert small.enough(scale) == by
        larger = small.at(by)
        assert larger.by == by and (larger.height, larger.width) == (400, 800)
    np.testing.assert_array_equal(small.at(1).pixels, decode(content, "x"))
    memory = 2 * (len(content) + 200 * 400 * 13)  # half is for what is cut
    bounded = decode_or_reason(content, size=100, memory=memory)
    assert isinstance(bounded, Decoded) and bounded.at(1).by == 2


def test_a_reduced_photograph_is_upright_and_tells_its_own_size() -> None:
    picture = photograph(160, 240)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = reduced(saved(picture, exif=exif), 60)
    assert (found.height, found.width, found.by) == (240, 160, 4)
    np.testing.assert_array_equal(found.pixels, np.rot90(reduced(saved(picture), 60).pixels, -1))
