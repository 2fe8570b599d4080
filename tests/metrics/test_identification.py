# SPDX-License-Identifier: Apache-2.0
"""Identification rates against their definition written out, and thresholds that keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facepipe.errors import DataError
from facepipe.metrics.identification import cosines, open_set_rate, rank_one_rate, threshold_at


@settings(max_examples=200)
@given(st.lists(st.integers(-20, 20), min_size=10, max_size=60), st.floats(0.1, 0.9))
def test_the_threshold_is_the_lowest_that_keeps_the_rate(values: list[int], rate: float) -> None:
    impostors = np.array(values, float) / 20
    threshold = threshold_at(impostors, rate)
    assert (impostors > threshold).mean() <= rate + 1e-9
    lower = impostors[impostors < threshold]
    if len(lower):  # any lower one lets too many through, unless nothing lies between
        assert (impostors > lower.max()).mean() > rate - 1e-9 or (impostors > threshold).sum() == np.floor(
            rate * len(impostors) + 1e-9
        )


def test_three_of_three_thousand_are_one_in_a_thousand() -> None:
    impostors = np.arange(3000) / 3000
    threshold = threshold_at(impostors, 1e-3)
    assert (impostors > threshold).sum() == 3


def test_rates_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    mated, right, strangers = rng.normal(0.6, 0.2, 500), rng.random(500) < 0.9, rng.normal(0.2, 0.2, 400)
    rate = open_set_rate(mated, right, strangers, 0.01)
    assert rate.fpir == (strangers > rate.threshold).sum() / 400 == 0.01
    assert rate.dir == sum(bool(r) and m > rate.threshold for m, r in zip(mated, right, strict=True)) / 500
    looser = open_set_rate(mated, right, strangers, 0.1)
    assert looser.threshold < rate.threshold
    assert rate.dir < looser.dir < rank_one_rate(right)


@pytest.mark.parametrize("dimension", [3, 64, 127, 128, 512])
def test_a_pair_has_the_same_bits_in_any_company(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    sides = rng.normal(size=(2, 400, dimension)).astype(np.float32)
    first, second = sides / np.linalg.norm(sides, axis=2, keepdims=True)
    whole = cosines(first, second)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, (first.astype(np.float64) * second).sum(axis=1), atol=6e-8)
    assert all(
        (cosines(first[i : i + n], second[i : i + n]) == whole[i : i + n]).all() for i in range(390) for n in (1, 7)
    )
    assert (cosines(first[::-3], second[::-3]) == whole[::-3]).all()
    assert (cosines(np.asfortranarray(first), second[:, ::-1][:, ::-1]) == whole).all()
    assert (cosines(second, first) == whole).all()


def test_cosines_stay_cosines_and_shapes_are_compared() -> None:
    long = np.full((1, 4), 0.5001, np.float32)
    assert cosines(long, long).tolist() == [1.0] and cosines(long, -long).tolist() == [-1.0]
    with pytest.raises(DataError, match=r"shapes are \[1, 4\] and \[2, 4\], expected one"):
        cosines(long, np.vstack([long, long]))
    for shape in ((4,), (1, 2, 4)):
        with pytest.raises(DataError, match="expected one"):
            cosines(np.ones(shape, np.float32), np.ones(shape, np.float32))


def test_the_threshold_of_float32_similarities_is_a_float32() -> None:
    impostors = np.random.default_rng(0).random(50, np.float32)
    assert np.float32(threshold_at(impostors, 0.1)) == threshold_at(impostors, 0.1)
    everybody = threshold_at(impostors, 1 - 1e-12)
    assert np.float32(everybody) == everybody < impostors.min()


def test_what_cannot_be_told_is_refused() -> None:
    some = np.linspace(0, 1, 50)
    with pytest.raises(DataError, match=r"50 comparisons .* cannot show a rate of 0.01, expected at least 100"):
        threshold_at(some, 0.01)
    with pytest.raises(DataError, match="0 mated and 50 non-mated probes"):
        open_set_rate(some[:0], some[:0] > 0, some, 0.1)
    with pytest.raises(DataError, match="the rate is 1"):
        threshold_at(some, 1)
    with pytest.raises(DataError, match="NaN"):
        threshold_at(np.array([np.nan] * 20), 0.1)
    with pytest.raises(DataError, match="there are no mated probes"):
        rank_one_rate(np.zeros(0, bool))
