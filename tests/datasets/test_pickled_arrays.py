# SPDX-License-Identifier: Apache-2.0
"""Pickles of arrays: what is written is what Python's own pickle reads, and what is read is data."""

from __future__ import annotations

import pickle
import pickletools
import warnings
from pathlib import Path

import numpy as np
import pytest

from facepipe.datasets.pickled_arrays import pickled_array, read_pickled_array
from facepipe.errors import DataError

CENTRES = np.random.default_rng(0).normal(0, 0.01, (37, 128)).astype(np.float32)


@pytest.mark.parametrize("array", [CENTRES, CENTRES.T, CENTRES[::2], CENTRES[0], np.zeros((0, 4), np.float32)])
def test_pythons_pickle_reads_what_is_written(array: np.ndarray) -> None:
    content = pickled_array(array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy.core, which NumPy 1 knows too
        back = pickle.loads(content)
    assert back.dtype == np.float32 and back.flags.writeable
    np.testing.assert_array_equal(back, array)
    named = {arg for op, arg, _ in pickletools.genops(content) if op.name == "GLOBAL"}
    assert named == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_pythons_pickle_writes_is_read(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "rank:0_softmax_weight.pkl"
    path.write_bytes(pickled_array(CENTRES))
    np.testing.assert_array_equal(read_pickled_array(path, 2), CENTRES)
    path.write_bytes(pickle.dumps(CENTRES, protocol))
    np.testing.assert_array_equal(read_pickled_array(path, 2), CENTRES)


def test_what_is_no_matrix_of_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rank:0_softmax_weight.pkl"
    for value, told in (
        (np.zeros(3, np.float32), r"holds float32 \[3\], expected floats with 2 axes"),
        (np.zeros((3, 2), np.int64), r"holds int64 \[3, 2\], expected floats"),
        (np.full((3, 2), np.nan, np.float32), "numbers that are not finite"),
        ([1, 2], "kind 'list'"),
        (Path("x"), "it names 'pathlib"),
    ):
        path.write_bytes(pickle.dumps(value, 4))
        with pytest.raises(DataError, match=told):
            read_pickled_array(path, 2)
    with pytest.raises(DataError, match="cannot be opened"):
        read_pickled_array(tmp_path / "gone.pkl", 2)
