# SPDX-License-Identifier: Apache-2.0
"""Crops to unit embeddings: full batches, padded batches, and networks that go wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facepipe.backends import backend_by_name
from facepipe.catalogue import embedder
from facepipe.embed import Embedder, open_embedder
from facepipe.embed.embedder import unit_rows
from facepipe.errors import TensorError

SPEC = embedder("mobilefacenet.ms1m")


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), np.uint8)


def test_batch_size_does_not_change_embeddings(seeded: Callable[..., Path]) -> None:
    weights_dir = seeded(SPEC.name)
    answers = []
    for batch in (1, 3, 16):
        with open_embedder(SPEC, backend_by_name("onnxruntime"), weights_dir, batch) as recogniser:
            answers.append(recogniser.embed(crops(7)))
    for other in answers[1:]:
        np.testing.assert_allclose(answers[0], other, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(answers[0], axis=1), 1, atol=1e-6)


def test_a_fixed_batch_is_padded_in_its_dtype_and_cut_again() -> None:
    seen: list[tuple[int, str]] = []

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append((len(images), str(images.dtype)))
        return (np.arange(len(images) * 128, dtype=np.float32).reshape(-1, 128) + 1,)

    rows = Embedder(SPEC, run, batch=16, fixed_batch=4).embed(crops(6))
    assert seen == [(4, "float32"), (4, "float32")]
    assert rows.shape == (6, 128) and rows.dtype == np.float32


def test_no_crops_give_no_rows() -> None:
    rows = Embedder(SPEC, lambda images: (images,), batch=4).embed(np.zeros((0, 112, 112, 3), np.uint8))
    assert rows.shape == (0, 128)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_an_embedding_without_direction_is_an_error(value: float) -> None:
    raw = np.ones((3, 4), np.float32)
    raw[1] = value
    with pytest.raises(TensorError, match="the embedding of row 1 has length"):
        unit_rows(raw, "facenet")
