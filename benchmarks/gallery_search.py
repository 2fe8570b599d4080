# SPDX-License-Identifier: Apache-2.0
"""Search in a gallery of many rows: exact against approximate, by time and by what the approximate index misses.

The rows are random, which is the hardest case for an approximate index: there is nothing to learn from them. Two kinds
of probes: noisy copies of rows at a cosine of 0.6, as far as two photographs of one person are apart, and random ones,
whose nearest row is hardly nearer than the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from facepipe.gallery.search import Index, IndexKind, build_index

COSINE_OF_A_COPY = 0.6
CANDIDATES = 5
_KINDS: tuple[IndexKind, ...] = ("exact", "approximate")


def measure_gallery_search(
    rows: int, dimension: int, probes: int, progress: Callable[[str], None], *, seed: int = 0
) -> dict[str, Any]:
    """Build time, latency of one probe, throughput of a batch, and recall against the exact answer.

    Args:
        rows: of the gallery, random unit vectors.
        dimension: of each.
        probes: of each kind.
        progress: told of every measurement that ends.

    Returns:
        By index kind: `build_seconds`, `latency_ms` (median and 95th percentile of single probes), `per_second` (all
        probes in one call), and for "copies" and "random" `recall_at_1` and `recall_at_5`.

    Raises:
        BackendError: faiss is not installed.
    """
    rng = np.random.default_rng(seed)
    gallery = _unit(rng.standard_normal((rows, dimension), np.float32))
    asked = {
        "copies": noisy_copies(gallery, probes, rng),
        "random": _unit(rng.standard_normal((probes, dimension), np.float32)),
    }
    found: dict[str, Any] = {"rows": rows, "dimension": dimension, "probes": probes, "candidates": CANDIDATES}
    truth: dict[str, np.ndarray] = {}
    for kind in _KINDS:
        began = time.perf_counter()
        index = build_index(gallery, kind)
        built = time.perf_counter() - began
        answers = {name: index.search(some, CANDIDATES)[1] for name, some in asked.items()}
        truth = truth or answers
        entry = {"build_seconds": built, **_timed(index, asked["copies"])}
        entry |= {name: recall(answers[name], truth[name]) for name in asked}
        found[kind] = entry
        progress(
            f"{kind}: built in {built:.1f} s, {entry['latency_ms']['median']:.2f} ms for a probe, "
            f"{entry['per_second']:.0f} a second in a batch, recall of copies {entry['copies']['recall_at_1']:.4f}, "
            f"of random probes {entry['random']['recall_at_1']:.4f}"
        )
        del index
    return found


def noisy_copies(gallery: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors float32 [count, D], each at exactly COSINE_OF_A_COPY from a row drawn at random."""
    base = gallery[rng.integers(0, len(gallery), count)]
    noise = rng.standard_normal(base.shape, np.float32)
    across = _unit(noise - np.einsum("nd,nd->n", noise, base)[:, None] * base)
    return _unit(COSINE_OF_A_COPY * base + np.sqrt(1 - COSINE_OF_A_COPY**2) * across)


def recall(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The share of nearest rows, and of the nearest CANDIDATES, that were found: int [P, K] each."""
    shared = [
        len(set(one) & set(other)) / truth.shape[1] for one, other in zip(found.tolist(), truth.tolist(), strict=True)
    ]
    return {"recall_at_1": float((found[:, 0] == truth[:, 0]).mean()), "recall_at_5": float(np.mean(shared))}


def _timed(index: Index, probes: np.ndarray) -> dict[str, Any]:
    single = []
    for probe in probes[:200]:
        began = time.perf_counter()
        index.search(probe[None], CANDIDATES)
        single.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    index.search(probes, CANDIDATES)
    together = time.perf_counter() - began
    return {
        "latency_ms": {"median": float(np.median(single)), "p95": float(np.percentile(single, 95))},
        "per_second": len(probes) / together,
    }


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)
