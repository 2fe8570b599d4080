# SPDX-License-Identifier: Apache-2.0
"""dlib's file of a recogniser: what is told, and that anything else is refused in words, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from dlib_file import SMALL, dlib_file, seeded

from facepipe.datasets.dlib_network import read_dlib_network
from facepipe.errors import DataError

GOOD = dlib_file(seeded, SMALL)
FIRST_TENSOR = GOOD.index(b"\x05con_4") + 6


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        read_dlib_network(content, "net.dat")
    return str(caught.value)


def test_every_layer_is_told_with_its_sizes_and_numbers() -> None:
    network = read_dlib_network(GOOD, "net.dat")
    assert tuple((layer.name, layer.sizes) for layer in network.layers) == SMALL
    assert network.size == (150, 150)
    assert network.means == pytest.approx((122.782, 117.001, 104.298), abs=1e-5)
    first = network.layers[0].numbers
    assert first.dtype == np.float32 and np.array_equal(first, seeded(0, SMALL[0], 56))


@pytest.mark.parametrize("end", [0, 1, 16, 40, FIRST_TENSOR, FIRST_TENSOR + 50, len(GOOD) - 1])
def test_a_truncated_file_says_where_it_ends_and_what_is_missing(end: int) -> None:
    told = refusal(GOOD[:end])
    assert told.startswith("net.dat: at byte ") and "there is the end after" in told and "more byte" in told
    assert "truncated download" in told


def test_bytes_behind_the_end_are_no_layer() -> None:
    assert "expected" in refusal(GOOD + b"\0")
    assert "there is a layer called 'x', expected one of con_4, affine_" in refusal(GOOD + b"\x01\x01x")


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        (b"loss_metric_2", b"loss_multi_lg", "a loss called 'loss_multi_lg', expected loss_metric_2"),
        (b"input_rgb_image_sized", b"input_rgb_image_siyed", "an input called 'input_rgb_image_siyed'"),
        (b"\x05con_4", b"\x05con_5", "a layer called 'con_5'"),
        (b"\x01\x05con_4", b"\xf5\x05con_4", "the byte 0xf5, expected a whole number of 1 to 8 bytes"),
        (b"\x05con_4", b"\x7fcon_4", "a name of 127 bytes, expected 0 to 64"),
        (b"\x05relu_1", b"\x05relu_2", "the byte 0x32, expected a truth"),
        (b"\x05con_4\x01\x02", b"\x05con_4\x01\x01", "1 for the version of a tensor, expected 2"),
        (b"\x05con_4\x01\x02\x01", b"\x05con_4\x01\x02\x81", r"a tensor of \(-56, 1, 1, 1\), expected sizes of 0"),
    ],
)
def test_what_is_wrong_stands_in_the_error_with_what_was_expected(good: bytes, bad: bytes, told: str) -> None:
    assert good in GOOD
    with pytest.raises(DataError, match=told):
        read_dlib_network(GOOD.replace(good, bad, 1), "net.dat")


def test_a_number_that_is_not_finite_is_refused() -> None:
    numbers = seeded(0, SMALL[0], 56).copy()
    numbers[3] = np.nan
    bad = dlib_file(lambda place, layer, count: numbers if place == 0 else seeded(place, layer, count), SMALL)
    assert "numbers that are not finite" in refusal(bad)
    infinite = GOOD.replace(
        b"\x03b\x90\xf5\x81\x11", b"\x03b\x90\xf5\x02\x00\x7d", 1
    )  # the exponent dlib calls infinity
    assert infinite != GOOD and "a number with the exponent 32000, expected a finite one" in refusal(infinite)


def test_no_claim_of_a_size_takes_memory() -> None:
    huge = GOOD[: FIRST_TENSOR - 6] + b"\x05con_4\x01\x02" + (b"\x08" + b"\xff" * 8) * 4 + b"\0" * 100
    tracemalloc.start()
    try:
        assert "more bytes" in refusal(huge)
        assert "there is more than 10,000 layers" in refusal(GOOD[:29] + b"\x01\x02" * 50_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
