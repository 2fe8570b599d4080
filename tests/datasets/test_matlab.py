# SPDX-License-Identifier: Apache-2.0
"""MATLAB files that claim, or inflate to, more than they hold are refused before room is made for it."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from facepipe.datasets.matlab import INFLATED, refuse_unbounded
from facepipe.errors import DataError

savemat = pytest.importorskip("scipy.io", reason="MATLAB files need the extra [wider]").savemat

HEADER = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + b"\x00\x01IM"


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(kind: int, sizes: tuple[int, ...], *parts: bytes) -> bytes:
    flags = element(6, struct.pack("<II", kind, 0))
    return element(14, flags + element(5, struct.pack(f"<{len(sizes)}i", *sizes)) + element(1, b"x") + b"".join(parts))


def test_what_scipy_writes_passes() -> None:
    cells = np.empty((2, 1), object)
    cells[:, 0] = ["a name", np.arange(6.0).reshape(2, 3)]
    for compressed in (False, True):
        content = io.BytesIO()
        savemat(content, {"cells": cells, "empty": np.zeros((0, 4))}, do_compression=compressed)
        refuse_unbounded(content.getvalue(), "x.mat")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (matrix(1, (1 << 27, 1)), "it claims 134,217,728 cells, 0 deep, and 0 are there"),
        (matrix(9, (1 << 15, 1 << 15), element(2, b"abc")), "it claims 1,073,741,824 numbers, which are not there"),
        (matrix(2, (1, 1)), "it holds a value of class 2, expected cells, text and numbers"),
        (matrix(5, (9, 9)), "it holds a value of class 5"),
        (struct.pack("<II", 14, 1 << 30), r"cannot be read as a MATLAB 5 file \(an element at byte 0 ends behind"),
        (struct.pack("<II", 15, 4) + b"abcd", "cannot be read as a MATLAB 5 file"),
    ],
)
def test_a_claim_that_the_bytes_cannot_hold_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"x\.mat: .*{said}"):
        refuse_unbounded(HEADER + body, "x.mat")


def test_cells_in_cells_have_a_deepest() -> None:
    body = matrix(1, (0, 0))
    for _ in range(20):
        body = matrix(1, (1, 1), body)
    with pytest.raises(DataError, match="8 deep"):
        refuse_unbounded(HEADER + body, "x.mat")


@pytest.mark.parametrize("inner", [b"", struct.pack("<II", 14, 0)], ids=["zeros", "elements"])
def test_a_file_that_inflates_costs_memory_by_its_size(inner: bytes) -> None:
    packed = zlib.compress(inner * (40_000_000 // 8) if inner else bytes(40_000_000), 9)
    content = HEADER + struct.pack("<II", 15, len(packed)) + packed
    tracemalloc.start()
    with pytest.raises(DataError, match="it inflates to more than 20 times its size"):
        refuse_unbounded(content, "x.mat")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * INFLATED * len(content)
