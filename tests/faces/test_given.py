# SPDX-License-Identifier: Apache-2.0
"""What a program gives as photographs: every form has one answer, and what is none is refused in one sentence."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.errors import DataError
from facepipe.faces.given import checked_form, is_one, many
from facepipe.faces.photographs import Limits, read_given
from facepipe.results import Unread

PIXELS = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)


class Tensor:
    """As PyTorch's: counts in its rows, and gives itself to NumPy."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return PIXELS

    def __iter__(self) -> object:
        return iter(PIXELS)


class Named:
    def __fspath__(self) -> str:
        return "a.png"


ODD: list[tuple[object, str]] = [
    (PIXELS / 255, r"float64 \[40, 60, 3\] from 0 to 1, .* Try: \(255 \* array\).round\(\).astype\(numpy.uint8\)"),
    (PIXELS.astype(np.float32), r"float32 \[40, 60, 3\] from 0 to 255, .* Try: \(array\).round\(\).astype"),
    (PIXELS.astype(np.float32) / 127.5 - 1, r"from -1 to 1, .* Try: the pixels from 0 to 255, before they were norm"),
    (PIXELS.astype(np.uint16) * 257, r"uint16 .* from 0 to 65535, .* Try: \(array / 257\)"),
    (PIXELS.astype(np.int64), r"int64 .* from 0 to 255, .* Try: \(array\)"),
    (PIXELS > 9, r"bool \[40, 60, 3\], expected uint8 \[H, W, 3\] in RGB\.$"),
    (np.full((4, 4, 3), np.nan), r"float64 \[4, 4, 3\] from nan to nan, expected uint8"),
    (PIXELS[..., :1].repeat(4, axis=2), r"uint8 \[40, 60, 4\], .* Try: array\[..., :3\], where those are red, green"),
    (PIXELS[..., 0], r"uint8 \[40, 60\], .* Try: PIL.Image.fromarray\(array\)"),
    (PIXELS[..., :1], r"uint8 \[40, 60, 1\], .* Try: PIL.Image.fromarray\(array\[..., 0\]\)"),
    (PIXELS.transpose(2, 0, 1), r"uint8 \[3, 40, 60\], .* Try: array.transpose\(1, 2, 0\)"),
    (PIXELS[None], r"uint8 \[1, 40, 60, 3\], .* Try: list\(array\): one answer comes for each"),
    (PIXELS[:0], r"uint8 \[0, 60, 3\], expected uint8 \[H, W, 3\] in RGB\.$"),
    (np.zeros(()), r"float64 \[\] from 0 to 0, expected"),
    (io.BytesIO(b"x"), r"of type BytesIO, expected a path, the bytes of a file, a PIL image, .* Try: its .read\(\)"),
    (Tensor(), r"of type Tensor, .* Try: list\(...\) of several photographs; of one numpy.asarray"),
    (np.array(["a.jpg", "b.jpg"]), r"<U5 \[2\], .* Try: list\(array\), where it holds several photographs"),
    (np.array([Path("a.jpg")]), r"object \[1\], .* Try: list\(array\)"),
    (7, "of type int, expected a path"),
    (None, "of type NoneType, expected a path"),
]


@pytest.mark.parametrize(("given", "told"), ODD)
def test_what_is_no_photograph_is_refused_with_what_would_make_it_one(given: object, told: str) -> None:
    assert is_one(given)
    with pytest.raises(DataError, match=f"^photograph: is .*{told}"):
        checked_form(given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"^photographs\[1\]: is .*{told}"):
        list(many([PIXELS, given]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("given", "repair"),
    [
        (PIXELS / 255, lambda array: (255 * array).round().astype(np.uint8)),
        (PIXELS.astype(np.float32), lambda array: (array).round().astype(np.uint8)),
        (PIXELS.astype(np.uint16) * 257, lambda array: (array / 257).round().astype(np.uint8)),
        (PIXELS.transpose(2, 0, 1), lambda array: array.transpose(1, 2, 0)),
        (np.dstack([PIXELS, PIXELS[..., 0]]), lambda array: array[..., :3]),
    ],
)
def test_the_repair_that_is_named_gives_the_pixels(given: np.ndarray, repair: object) -> None:
    repaired = checked_form(repair(given))  # type: ignore[operator]
    assert isinstance(repaired, np.ndarray) and np.array_equal(repaired, PIXELS)


def test_text_bytes_and_arrays_are_one_and_lists_and_generators_are_many() -> None:
    for one in ("a.jpg", Path("a.jpg"), b"ab", bytearray(b"ab"), memoryview(b"ab"), PIXELS, Image.fromarray(PIXELS)):
        assert is_one(one)
    for several in (["a.jpg"], ("a.jpg",), iter(["a.jpg"]), (name for name in "ab"), np.array([]).tolist()):
        assert not is_one(several)


@pytest.mark.parametrize("given", [{"a": "a.jpg"}, {"a.jpg", "b.jpg"}])
def test_what_has_no_order_is_refused(given: object) -> None:
    with pytest.raises(DataError, match=r"photographs: are a (dict|set), expected a list; answers come in its order"):
        list(many(given))  # type: ignore[arg-type]


def test_a_list_is_looked_at_before_its_first_photograph_is_read_and_a_generator_as_it_comes() -> None:
    with pytest.raises(DataError, match=r"photographs\[2\]"):
        next(many([PIXELS, PIXELS, PIXELS / 255]))
    coming = many(one for one in (PIXELS, PIXELS / 255))
    assert next(coming) is PIXELS
    with pytest.raises(DataError, match=r"photographs\[1\]"):
        next(coming)


def test_one_photograph_in_every_form_has_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file)
    content = file.read_bytes()
    with Image.open(file) as opened:
        forms = ["a.png", file, os.path.relpath(file), Named(), content, bytearray(content), memoryview(content)]
        forms += [opened, Image.fromarray(PIXELS), PIXELS, PIXELS[::-1][::-1]]
        groups = list(read_given(many(forms), 4))
    assert [len(group) for group in groups] == [4, 4, 3]
    for photograph in (one for group in groups for one in group):
        assert isinstance(photograph.pixels, np.ndarray) and np.array_equal(photograph.pixels, PIXELS)


def test_a_photograph_that_is_too_large_or_broken_is_an_answer_in_every_form(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file)
    forms = [file, file.read_bytes(), Image.fromarray(PIXELS), PIXELS]
    for limits in (Limits(max_pixels=2399), Limits(max_side=59)):
        (group,) = read_given(many(forms), 4, limits)
        reasons = {one.pixels.reason for one in group if isinstance(one.pixels, Unread)}
        assert len(group) == 4 and len(reasons) == 1 and reasons.pop().startswith("has ")
    (group,) = read_given(many([tmp_path / "gone.png", b"", b"GIF89a", Image.new("RGB", (0, 3))]), 4)
    assert all(isinstance(one.pixels, Unread) for one in group)


def test_what_pillow_holds_is_counted_when_a_batch_is_bounded() -> None:
    large = Image.new("RGB", (4000, 2000))
    assert [len(group) for group in read_given([large, large, large], 16)] == [1, 1, 1]
