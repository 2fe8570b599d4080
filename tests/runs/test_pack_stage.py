# SPDX-License-Identifier: Apache-2.0
"""Crops to bins: normalised float32 as the embedder itself makes them, or raw bytes for the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facepipe.catalogue import model
from facepipe.errors import TensorError
from facepipe.geometry.normalise import normalise
from facepipe.runs.pack_stage import pack_crops
from facepipe.store.bins import read_bins, read_index

SPEC = model("mobilefacenet.ms1m")
KEYS = tuple(f"p/{number}.jpg" for number in range(5))


def crop_of(key: str) -> np.ndarray:
    return np.random.default_rng(KEYS.index(key)).integers(0, 256, (112, 112, 3), dtype=np.uint8)


def test_crops_become_what_the_network_is_given(tmp_path: Path) -> None:
    pack_crops(tmp_path, [KEYS[:3], KEYS[3:]], crop_of, SPEC, 2, {"crops": "x"})
    index = read_index(tmp_path)
    assert [len(file.keys) for file in index.files] == [2, 1, 2], "no batch spans two shards"
    assert index.made_from == {"crops": "x", "embedder": SPEC.name}
    rows = np.concatenate([rows for _, rows in read_bins(tmp_path)])
    assert np.array_equal(rows, normalise(np.stack([crop_of(key) for key in KEYS]), SPEC.pixels))


def test_raw_bytes_are_stored_for_a_device_that_normalises(tmp_path: Path) -> None:
    pack_crops(tmp_path, [KEYS], crop_of, SPEC, 4, {}, raw_bytes=True)
    index = read_index(tmp_path)
    assert (index.tensor.dtype, index.tensor.layout, index.tensor.shape) == ("uint8", "NHWC", (4, 112, 112, 3))
    rows = np.concatenate([rows for _, rows in read_bins(tmp_path)])
    assert np.array_equal(rows, np.stack([crop_of(key) for key in KEYS]))


def test_a_crop_for_another_embedder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorError, match=r"crop of 'p/0\.jpg': is uint8 \[112, 112, 3\], expected uint8 \[160, 160"):
        pack_crops(tmp_path, [KEYS], crop_of, model("facenet.seeded"), 2, {})
