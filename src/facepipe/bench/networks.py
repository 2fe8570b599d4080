# SPDX-License-Identifier: Apache-2.0
"""Every network at the fourteen shapes of the vendor's speed table, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facepipe.bench.child import ask

# Model to the input shapes that the vendor's table lists; the smallest first.
SHAPES: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "pnet": tuple((batch, 3, 1500, 1500) for batch in (1, 4, 8)),
    "rnet": tuple((batch, 3, 24, 24) for batch in (100, 800, 1600)),
    "onet": tuple((batch, 3, 48, 48) for batch in (50, 400, 800)),
    "facenet.seeded": tuple((batch, 3, 160, 160) for batch in (1, 4, 8, 16, 32)),
}


def measure_networks(
    weights: Path, backends: Sequence[tuple[str, str]], threads: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Latency and rows per second of each network, shape, back end and precision.

    Args:
        weights: the folder of converted models.
        backends: (back end, precision) pairs.
        threads: of each session.
        progress: told of every measurement that ends.

    Returns:
        By back end and precision, then model, then shape as "8x3x1500x1500".

    Raises:
        BackendError: a back end failed.
    """
    found: dict[str, Any] = {}
    for backend, precision in backends:
        table: dict[str, Any] = found.setdefault(f"{backend}_{precision}", {"threads": threads})
        for name, shapes in SHAPES.items():
            for shape in shapes:
                question = {
                    "measure": "network",
                    "model": name,
                    "shape": shape,
                    "weights": str(weights),
                    "backend": backend,
                    "precision": precision,
                    "threads": threads,
                }
                answer = ask([sys.executable, "-m", "facepipe.bench.own"], question)
                per_second = 1000 * shape[0] / answer["latency_ms"]
                size = "x".join(map(str, shape))
                table.setdefault(name, {})[size] = {**answer, "per_second": per_second}
                progress(f"{backend}_{precision} {name} {size}: {answer['latency_ms']:.1f} ms, {per_second:.0f}/s")
    return found
