# SPDX-License-Identifier: Apache-2.0
"""What must not change a result: batch, order, companions, repetition, shards. Boxes agree to 0.05 pixels and
embeddings to 1e-3 (in each number, of vectors of length 1) where another batch was computed; else to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_networks import EMBEDDER

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.datasets.images import read
from facepipe.detect import Detector, open_detector
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.embed.embedder import Embedder, unit_rows
from facepipe.results import Detections
from facepipe.store.stage import Stage

BOX_PIXELS, EMBEDDING = 0.05, 1e-3
QUICK = settings(max_examples=6, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def detector(weights_dir: Path, request: pytest.FixtureRequest) -> Iterator[Detector]:
    backend = backend_by_name(request.param, RuntimeOptions())
    if (reason := backend.why_unavailable()) is not None:
        pytest.skip(f"{request.param} cannot run here: {reason}")
    with open_detector("mtcnn", backend, weights_dir, 4, MtcnnSettings(min_face_px=40)) as opened:
        yield opened


@pytest.fixture(scope="module")
def photographs(work: Path) -> list[np.ndarray]:
    whole = [read(path) for path in sorted((work / "sample/images").rglob("*.jpg"))[:6]]
    return [*whole, whole[0][:180, :200].copy(), whole[1][::2, ::2].copy()]


@pytest.fixture(scope="module")
def alone(detector: Detector, photographs: list[np.ndarray]) -> list[Detections]:
    """Each photograph by itself."""
    return [detector.detect([image])[0] for image in photographs]


def agree(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=BOX_PIXELS)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=BOX_PIXELS)


@QUICK
@given(order=st.lists(st.integers(0, 7), min_size=1, max_size=8))
def test_order_companions_and_repetition_do_not_move_a_box(
    detector: Detector, photographs: list[np.ndarray], alone: list[Detections], order: list[int]
) -> None:
    for index, found in zip(order, detector.detect([photographs[i] for i in order]), strict=True):
        agree(found, alone[index])


def test_the_same_call_again_gives_the_same_bits(detector: Detector, photographs: list[np.ndarray]) -> None:
    first, again = (detector.detect(photographs) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert (a.boxes.tobytes(), a.scores.tobytes()) == (b.boxes.tobytes(), b.scores.tobytes())


@settings(max_examples=40, derandomize=True)
@given(count=st.integers(0, 9), batch=st.integers(1, 5), fixed=st.sampled_from([None, 1, 3]))
def test_batches_and_padding_do_not_reach_an_embedding(count: int, batch: int, fixed: int | None) -> None:
    crops = np.random.default_rng(count).integers(0, 256, (count, 6, 6, 3), np.uint8)
    kernel = np.random.default_rng(0).normal(size=(108, 5)).astype(np.float32)

    def run(images: np.ndarray) -> tuple[np.ndarray]:
        assert fixed is None or len(images) == fixed
        return ((images.reshape(len(images), -1) @ kernel).astype(np.float32),)

    rows = Embedder(EMBEDDER, run, batch, fixed).embed(crops)
    single = Embedder(EMBEDDER, run, 1, None if fixed is None else fixed).embed(crops)
    np.testing.assert_allclose(rows, single, atol=EMBEDDING)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@given(rows=st.integers(1, 20), cuts=st.integers(1, 7))
def test_unit_rows_depend_on_their_own_row_alone(rows: int, cuts: int) -> None:
    raw = np.random.default_rng(rows).normal(size=(rows, 16)).astype(np.float32)
    parts = [unit_rows(raw[start : start + cuts], "x") for start in range(0, rows, cuts)]
    assert np.concatenate(parts).tobytes() == unit_rows(raw, "x").tobytes()


@given(count=st.integers(1, 200), size=st.integers(1, 60))
def test_shards_are_a_partition_in_order(count: int, size: int) -> None:
    keys = tuple(f"{number:04d}" for number in range(count))
    stage = Stage(Path("s"), "s", {}, keys, size)
    assert tuple(key for shard in range(stage.shard_count) for key in stage.shard_keys(shard)) == keys
