# SPDX-License-Identifier: Apache-2.0
"""Augmentation: the same draws give the same bits, and each change against another program's, or by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_sets import face
from scipy import ndimage

from facepipe.train.data.augment import (
    ARCFACE_TORCH,
    FLIP_ONLY,
    Augmentation,
    augmented,
    blurred,
    mirrored,
    resized_and_back,
    shifted,
    turned_in_colour,
)
from facepipe.train.draws import generator

ALL = Augmentation(1, 1, 1, 1, 1, 1)
NONE = Augmentation(0, 0, 0, 0, 0, 0)


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)


@pytest.mark.parametrize("chances", [NONE, FLIP_ONLY, ARCFACE_TORCH, ALL])
def test_the_same_draws_give_the_same_bits_and_the_given_picture_stays(chances: Augmentation) -> None:
    picture = noisy(0)
    before = picture.copy()
    for index in range(20):
        one = augmented(picture, chances, generator(1, "augment", 0, index))
        assert one.dtype == np.uint8 and one.shape == (112, 112, 3) and one.flags.c_contiguous
        assert np.array_equal(one, augmented(picture, chances, generator(1, "augment", 0, index)))
        one[:] = 0
    assert np.array_equal(picture, before)


def test_nothing_is_changed_where_nothing_may_be() -> None:
    assert np.array_equal(augmented(noisy(1), NONE, generator(1, "augment", 0)), noisy(1))


@pytest.mark.parametrize("name", ["flip", "resize", "blur", "colour", "grey", "shift"])
def test_each_change_comes_as_often_as_it_is_said_to(name: str) -> None:
    picture, chances = noisy(2), Augmentation(**{**dict.fromkeys(Augmentation.__slots__[:6], 0.0), name: 0.3})
    changed = sum(
        not np.array_equal(augmented(picture, chances, generator(7, "augment", 0, index)), picture)
        for index in range(1000)
    )
    # A shift by (0, 0), 1 of 81, is none. 1000 throws of .3: deviation 14.5.
    assert 240 < changed < 360


def test_a_change_that_is_switched_off_leaves_the_draws_of_the_others() -> None:
    picture = noisy(3)
    for index in range(50):
        only = augmented(picture, Augmentation(flip=0.5), generator(1, "augment", 0, index))
        both = augmented(picture, Augmentation(flip=0.5, grey=1.0), generator(1, "augment", 0, index))
        assert np.array_equal(turned_in_colour(only, 0, 0), both)


def test_mirrored_twice_is_the_picture() -> None:
    assert np.array_equal(mirrored(mirrored(noisy(4))), noisy(4))
    assert np.array_equal(mirrored(noisy(4))[:, 0], noisy(4)[:, -1])


@given(right=st.integers(-5, 5), down=st.integers(-5, 5))
def test_shifted_there_and_back_loses_only_the_edge(right: int, down: int) -> None:
    picture = noisy(5)
    back = shifted(shifted(picture, right, down), -right, -down)
    inside = (slice(5, -5), slice(5, -5))
    assert np.array_equal(back[inside], picture[inside])
    there = shifted(picture, right, down)
    assert np.array_equal(there[60 + down, 50 + right], picture[60, 50])
    assert (
        (right, down) == (0, 0) or not there[0 if down > 0 else -1, 0 if right > 0 else -1].any() or 0 in (right, down)
    )


@pytest.mark.parametrize(("window", "sigma"), [(3, 0.8), (5, 1.1)])
def test_the_blur_is_scipys(window: int, sigma: float) -> None:
    picture = noisy(6)
    filtered = [
        ndimage.gaussian_filter(picture[..., channel].astype(float), sigma, mode="nearest", radius=window // 2)
        for channel in range(3)
    ]
    assert np.abs(blurred(picture, window) - np.stack(filtered, axis=2)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("small", [56, 63, 75, 88])
def test_smaller_and_back_is_the_mean_of_what_is_covered_and_torchs_bilinear(small: int) -> None:
    picture = noisy(7)
    rows = np.repeat(picture.astype(np.float64), small, axis=0).reshape(small, 112, 112, 3).mean(axis=1)
    both = np.repeat(rows, small, axis=1).reshape(small, small, 112, 3).mean(axis=2)
    channels = torch.from_numpy(both).permute(2, 0, 1)[None]
    back = torch.nn.functional.interpolate(channels, size=(112, 112), mode="bilinear", align_corners=False)
    exact = back[0].permute(1, 2, 0).numpy()
    assert np.abs(resized_and_back(picture, small) - exact).max() <= 0.5 + 1e-6


def test_grey_is_bt_601s_and_grey_stays_grey_under_any_turn() -> None:
    picture = noisy(8)
    grey = turned_in_colour(picture, 0, 0)
    assert np.abs(grey[..., 0] - picture @ np.array([0.299, 0.587, 0.114])).max() <= 0.5 + 1e-6
    assert (grey == grey[..., :1]).all()
    assert np.array_equal(turned_in_colour(grey, 20, 1.2), grey)


def test_hue_grows_from_red_towards_yellow_and_no_turn_is_none() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    turned = turned_in_colour(red, 20, 1)[0, 0].astype(int)
    assert turned[1] > turned[2] and turned[1] > 10
    assert np.array_equal(turned_in_colour(face(9), 0, 1), face(9))
