# SPDX-License-Identifier: Apache-2.0
"""A run takes the same memory however long its list is, and however large a photograph."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.end_to_end import Configuration, ask_own, spread
from benchmarks.mosaic import write_mosaic
from benchmarks.scaling import repeated

from facepipe.datasets.images import list_keys

pytestmark = [pytest.mark.weights, pytest.mark.slow]


def test_a_list_that_is_repeated_takes_no_more_memory(weights_dir: Path, sample: Path) -> None:
    root = sample / "images"
    keys = spread(list_keys(root), 8)  # one batch, again and again: whatever grows is kept
    configuration = Configuration("onnxruntime", "f32", "mtcnn", "facenet.seeded", batch=8, workers=1, threads=1)
    few, many = (
        ask_own(configuration, root, repeated(keys, count), weights_dir)["peak_memory_bytes"] for count in (64, 256)
    )
    # Allocators keep pages as they like, some 3 % either way; a kept batch would be 100 % more.
    assert many < 1.2 * few


def test_a_4k_scene_of_many_faces_takes_bounded_memory(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    root = sample / "images"
    tiles = write_mosaic([root / key for key in spread(list_keys(root), 40)], tmp_path / "scene.jpg", 2160, 3840)
    configuration = Configuration("onnxruntime", "f32", "mtcnn", "facenet.seeded", batch=8, workers=1, threads=1)
    answer = ask_own(configuration, tmp_path, ["scene.jpg"], weights_dir, measure="detection")
    assert answer["faces"] > 0.8 * tiles > 90
    assert answer["peak_memory_bytes"] < 1.0e9
