# SPDX-License-Identifier: Apache-2.0
"""Sizes of network inputs, and bilinear sampling."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.geometry.fit import Fit, Inside, Original, Resample, ShortSide, Stretch, filled_up, fitted, stretch


@pytest.mark.parametrize(
    ("fit", "size", "expected"),
    [
        (Stretch(240, 320), (678, 1024), (240, 320)),
        (Original(), (678, 1024), (678, 1024)),
        (Inside(320, 320, grow=True), (678, 1024), (212, 320)),
        (Inside(320, 320, grow=True), (100, 50), (320, 160)),
        (Inside(320, 320, grow=False), (100, 50), (100, 50)),
        (Inside(640, 640, grow=False), (1000, 4000), (160, 640)),
        (ShortSide(1600, 2150), (800, 1000), (1600, 2000)),
        (ShortSide(1600, 2150), (678, 1024), (1424, 2150)),
        (ShortSide(500, 2150), (800, 1000), (500, 625)),
        (Inside(10, 10, grow=False), (1, 10000), (1, 10)),
    ],
)
def test_sizes_of_inputs(fit: Fit, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(fit, *size) == expected


def test_sides_are_filled_up_to_the_next_multiple() -> None:
    assert [filled_up(side, 32) for side in (1, 32, 33, 250)] == [32, 32, 64, 256]


def _slow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel by pixel: where the output's centre lies in the input, and its four neighbours."""
    result = np.empty((height, width, 3))
    rows, columns = image.shape[:2]
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            v, u = y - top, x - left
            result[i, j] = (
                image[top, left] * (1 - v) * (1 - u)
                + image[top, right] * (1 - v) * u
                + image[bottom, left] * v * (1 - u)
                + image[bottom, right] * v * u
            )
    return result


@pytest.mark.parametrize("size", [(7, 5), (20, 31), (1, 1), (13, 9)])
def test_sampling_equals_the_definition(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 9, 3), np.uint8)
    stretched = stretch(image, *size, "sampled")
    assert stretched.dtype == np.uint8
    assert np.abs(stretched - _slow(image, *size)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("resample", ["smooth", "sampled"])
def test_a_single_pixel_fills_the_input(resample: Resample) -> None:
    assert (stretch(np.full((1, 1, 3), 77, np.uint8), 24, 32, resample) == 77).all()


def test_both_ways_are_one_where_a_photograph_grows_and_differ_where_it_shrinks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 16, 3), np.uint8)
    grown = [stretch(image, 45, 40, resample).astype(int) for resample in ("smooth", "sampled")]
    assert np.abs(grown[0] - grown[1]).max() <= 1  # rounding
    stripes = np.zeros((4, 40, 3), np.uint8)
    stripes[:, ::4] = 255
    assert np.abs(stretch(stripes, 4, 10, "smooth").astype(int) - 64)[:, 1:-1].max() <= 40  # near the mean everywhere
    assert (stretch(stripes, 4, 10, "sampled") == 0).all()  # the stripes lie between the samples
