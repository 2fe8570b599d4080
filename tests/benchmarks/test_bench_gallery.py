# SPDX-License-Identifier: Apache-2.0
"""The search benchmark measures what it says: copies at their cosine, recall by its definition, every figure there."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("faiss", reason="gallery search needs the extra [gallery]")

from benchmarks.gallery_search import measure_gallery_search, noisy_copies, recall


def test_copies_are_at_their_cosine_from_a_row() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    copies = noisy_copies(rows, 20, rng)
    np.testing.assert_allclose((copies @ rows.T).max(axis=1), 0.6, atol=0.2)
    assert np.isclose(copies @ rows.T, 0.6, atol=1e-5).any(axis=1).all()
    np.testing.assert_allclose(np.linalg.norm(copies, axis=1), 1, atol=1e-5)


def test_recall_is_its_definition() -> None:
    truth = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    found = np.array([[1, 5, 3, 90, 91], [7, 6, 8, 9, -1]])
    assert recall(found, truth) == {"recall_at_1": 0.5, "recall_at_5": pytest.approx((3 + 4) / 10)}
    assert recall(truth, truth) == {"recall_at_1": 1.0, "recall_at_5": 1.0}


def test_every_figure_is_measured() -> None:
    said: list[str] = []
    found = measure_gallery_search(12_000, 64, 50, said.append)
    assert [line.partition(":")[0] for line in said] == ["exact", "approximate"]
    assert found["exact"]["random"] == {"recall_at_1": 1.0, "recall_at_5": 1.0}
    assert found["approximate"]["copies"]["recall_at_1"] >= 0.9
    for kind in ("exact", "approximate"):
        assert 0 < found[kind]["latency_ms"]["median"] <= found[kind]["latency_ms"]["p95"]
        assert found[kind]["per_second"] > 0
