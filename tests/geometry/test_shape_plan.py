# SPDX-License-Identifier: Apache-2.0
"""Shape planning: the sizes that occur, gears within the limit, chunks and padding for every kind of gear."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepipe.errors import TensorError
from facepipe.geometry.shape_plan import Call, calls, cells, image_gears, padded, pyramid_sizes


def test_lfw_needs_exactly_eight_square_gears() -> None:
    # Facts 1.5: 250x250 at least face 20 and factor 0.709.
    sizes = pyramid_sizes([(250, 250)] * 3, 20, 0.709)
    assert sizes == tuple((side, side) for side in (151, 107, 76, 54, 38, 27, 20, 14))


def test_a_480x640_photograph_needs_ten_sizes_and_a_1080p_one_twelve() -> None:
    small = pyramid_sizes([(480, 640)], 20, 0.709)
    assert len(small) == 10 and small[0] == (289, 385) and small[-1] == (14, 18)
    large = pyramid_sizes([(1080, 1920)], 20, 0.709)
    assert len(large) == 12 and large[0] == (649, 1153) and large[-1] == (15, 27)


def test_a_photograph_below_the_least_face_needs_no_size() -> None:
    assert pyramid_sizes([(15, 15)], 20, 0.709) == ()


def test_sizes_within_the_limit_are_their_own_gears() -> None:
    sizes = [(151, 151), (20, 31), (20, 31), (14, 14)]
    gears = image_gears(sizes, 3)
    assert gears.gears == ((151, 151), (20, 31), (14, 14))
    assert gears.padded == () and gears.overhead == 0


@given(
    st.lists(st.tuples(st.integers(12, 900), st.integers(12, 900)), min_size=1, max_size=300),
    st.sampled_from([1, 2, 3, 7, 100]),
)
def test_every_size_fits_its_gear_and_the_limit_holds(sizes: list[tuple[int, int]], most: int) -> None:
    gears = image_gears(sizes, most)
    assert len(gears.gears) <= most and len(set(gears.gears)) == len(gears.gears)
    assert set(gears.assigned) == set(sizes) and set(gears.assigned.values()) == set(gears.gears)
    assert all(gear[0] >= size[0] and gear[1] >= size[1] for size, gear in gears.assigned.items())


def test_a_thousand_sizes_are_letterboxed_into_a_hundred_gears_at_a_bearable_price() -> None:
    rng = np.random.default_rng(0)
    photographs = [(int(height), int(width)) for height, width in rng.integers(200, 2000, (200, 2))]
    sizes = pyramid_sizes(photographs, 20, 0.709)
    gears = image_gears(sizes, 100)
    assert len(sizes) > 1000 and 50 <= len(gears.gears) <= 100
    assert gears.padded and gears.overhead < 1.0


@pytest.mark.parametrize(("side", "count"), [(12, 1), (13, 2), (14, 2), (151, 71), (107, 49), (54, 22), (27, 9)])
def test_cells_follow_the_networks_pooling(side: int, count: int) -> None:
    assert cells(side, 2, 12) == count == math.ceil((side - 2) / 2) - 4


def test_a_batch_is_cut_by_the_largest_gear_and_its_rest_takes_the_least_that_holds_it() -> None:
    gears = [(batch, 3, 24, 24) for batch in (1, 2, 4, 8)]
    planned = calls((19, 3, 24, 24), gears, False, "rnet")
    assert planned == (
        Call(0, 8, (8, 3, 24, 24)),
        Call(8, 16, (8, 3, 24, 24)),
        Call(16, 19, (4, 3, 24, 24)),
    )


def test_an_image_takes_its_own_gear_before_any_larger_one() -> None:
    gears = [(2, 3, 20, 20), (2, 3, 14, 14)]
    assert calls((3, 3, 14, 14), gears, True, "pnet") == (Call(0, 2, gears[1]), Call(2, 3, gears[1]))


def test_an_image_between_gears_is_letterboxed_only_where_the_plan_says_so() -> None:
    gears = [(1, 3, 20, 20), (1, 3, 16, 40)]
    assert calls((1, 3, 15, 17), gears, True, "pnet") == (Call(0, 1, (1, 3, 20, 20)),)
    with pytest.raises(
        TensorError, match=r"pnet: no gear for 3x15x17, it was compiled for 3x16x40; 3x20x20\. Try: `fac"
    ):
        calls((1, 3, 15, 17), gears, False, "pnet")


def test_an_image_larger_than_every_gear_is_refused() -> None:
    with pytest.raises(TensorError, match="no gear for 3x21x20"):
        calls((1, 3, 21, 20), [(1, 3, 20, 20)], True, "pnet")


def test_padding_keeps_the_dtype_and_the_corner() -> None:
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    out = padded(array, (2, 3, 4))
    assert out.dtype == np.float32 and out.shape == (2, 3, 4) and out.flags.c_contiguous
    np.testing.assert_array_equal(out[:1, :2, :3], array)
    assert out.sum() == array.sum()


@given(st.integers(1, 700))
def test_calls_cover_every_row_once_in_order(rows: int) -> None:
    gears = [(batch, 3, 48, 48) for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    planned = calls((rows, 3, 48, 48), gears, False, "onet")
    assert [row for call in planned for row in range(call.start, call.stop)] == list(range(rows))
    assert all(call.stop - call.start <= call.gear[0] for call in planned)
    assert planned[-1].gear[0] < 2 * (planned[-1].stop - planned[-1].start)
