# SPDX-License-Identifier: Apache-2.0
"""Every network at the fourteen shapes of the vendor's speed table, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facepipe.bench.child import ask
from facepipe.catalogue import model

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
    """Latency, rows per second and operations per second of each network, shape, back end and precision.

    A precision is asked of each network itself: detectors in bf16 are measured too, though a run at "bf16" keeps them
    in f32. Eight bits are the recogniser's alone.

    Args:
        weights: the folder of converted models.
        backends: (back end, precision) pairs.
        threads: of each session.
        progress: told of every measurement that ends.

    Returns:
        `limit_gflops`: of a large f32 matrix product with as many threads. By back end and precision, then model, then
        shape as "8x3x1500x1500": `latency_ms`, `calls`, `per_second`, `gflops`.

    Raises:
        BackendError: a back end failed.
    """
    from facepipe.convert.arithmetic import multiply_adds

    own = [sys.executable, "-m", "facepipe.bench.own"]
    limit = ask(own, {"measure": "product"}, threads=threads)["operations_per_second"] / 1e9
    progress(f"matrix product in f32, {threads} threads: {limit:.0f} GFLOP/s")
    found: dict[str, Any] = {"limit_gflops": limit}
    for backend, precision in backends:
        table: dict[str, Any] = found.setdefault(f"{backend}_{precision}", {"threads": threads})
        for name, shapes in SHAPES.items():
            if precision == "int8" and model(name).task != "embed":
                continue
            for shape in shapes:
                question = {
                    "measure": "network",
                    "model": name,
                    "shape": shape,
                    "weights": str(weights),
                    "backend": backend,
                    "precision": f"{precision}-all" if precision == "bf16" else precision,
                    "threads": threads,
                    # Rows enough for every thread: each takes a share of them instead of a share of each layer.
                    "hint": "throughput" if backend == "openvino" and shape[0] >= threads > 1 else "latency",
                }
                answer = ask(own, question)
                seconds = answer["latency_ms"] / 1000
                operations = 2 * multiply_adds(model(name).final(weights), shape)
                row = {**answer, "per_second": shape[0] / seconds, "gflops": operations / seconds / 1e9}
                size = "x".join(map(str, shape))
                table.setdefault(name, {})[size] = row
                progress(
                    f"{backend}_{precision} {name} {size}: {answer['latency_ms']:.1f} ms, {row['per_second']:.0f}/s, "
                    f"{row['gflops']:.0f} GFLOP/s"
                )
    return found
