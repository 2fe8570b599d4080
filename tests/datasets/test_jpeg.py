# SPDX-License-Identifier: Apache-2.0
"""JPEG data that ends early, goes on or lacks a part, at every place; and good files, which give Pillow's pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from facepipe.datasets import jpeg
from facepipe.datasets.images import decode
from facepipe.errors import DataError

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
