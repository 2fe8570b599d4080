# SPDX-License-Identifier: Apache-2.0
"""Every network at the fourteen shapes of the vendor's speed table, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.child import ask
from benchmarks.end_to_end import Peer
from facepipe.catalogue import model

# Model to the input shapes that the vendor's table lists; the smallest first.
SHAPES: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "pnet": tuple((batch, 3, 1500, 1500) for batch in (1, 4, 8)),
    "rnet": tuple((batch, 3, 24, 24) for batch in (100, 800, 1600)),
    "onet": tuple((batch, 3, 48, 48) for batch in (50, 400, 800)),
    "facenet.seeded": tuple((batch, 3, 160, 160) for batch in (1, 4, 8, 16, 32)),
}

PEER_MODEL = "facenet.seeded"  # what the peer runs too, with the same weights
LARGEST = "x".join(map(str, SHAPES[PEER_MODEL][-1]))


def measure_networks(
    weights: Path,
    backends: Sequence[tuple[str, str]],
    threads: int,
    peer: Peer | None,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Latency, rows per second and operations per second of each network, shape, back end and precision.

    A precision is asked of each network itself: detectors in bf16 are measured too, though a run at "bf16" keeps them
    in f32. Eight bits are the recogniser's alone.

    Args:
        weights: the folder of converted models.
        backends: (back end, precision) pairs.
        threads: of each session, and of the peer.
        peer: facenet-pytorch, whose recogniser is measured alone; None leaves out the comparison.
        progress: told of every measurement that ends.

    Returns:
        `limits_gflops`: by precision, what as many threads can do at most. By back end and precision, then model, then
        shape as "8x3x1500x1500": `latency_ms`, `calls`, `per_second`, `gflops`, and `ratio` of the rows per second to
        the peer's, where it has the network. `peer`: the same of the peer.

    Raises:
        BackendError: a back end failed.
    """
    from benchmarks.arithmetic import multiply_adds

    own = [sys.executable, "-m", "benchmarks.own"]
    limits = limits_gflops(own, threads)
    progress(f"limits, {threads} threads: {', '.join(f'{name} {limit:.0f} GFLOP/s' for name, limit in limits.items())}")
    found: dict[str, Any] = {"limits_gflops": limits}
    theirs = _peer_rows(peer, threads) if peer is not None else {}
    if theirs:
        found["peer"] = {"threads": threads, PEER_MODEL: theirs}
        progress(f"facenet-pytorch: {theirs[LARGEST]['per_second']:.1f} crops/s in batches of 32")
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
                    "hint": "throughput" if backend.endswith("openvino") and shape[0] >= threads > 1 else "latency",
                }
                answer = ask(own, question)
                seconds = answer["latency_ms"] / 1000
                operations = 2 * multiply_adds(model(name).final(weights), shape)
                row = {**answer, "per_second": shape[0] / seconds, "gflops": operations / seconds / 1e9}
                size = "x".join(map(str, shape))
                if name == PEER_MODEL and size in theirs:
                    row["ratio"] = row["per_second"] / theirs[size]["per_second"]
                table.setdefault(name, {})[size] = row
                progress(
                    f"{backend}_{precision} {name} {size}: {answer['latency_ms']:.1f} ms, {row['per_second']:.0f}/s, "
                    f"{row['gflops']:.0f} GFLOP/s"
                )
    return found


def limits_gflops(own: Sequence[str], threads: int) -> dict[str, float]:
    """What the processor can do at most, by precision; those that cannot be measured are left out."""
    answer = ask(own, {"measure": "limits", "threads": threads})
    return {precision: operations / 1e9 for precision, operations in answer.items()}


def _peer_rows(peer: Peer, threads: int) -> dict[str, dict[str, float]]:
    """Shape to the peer's `latency_ms` and `per_second`."""
    counts = [shape[0] for shape in SHAPES[PEER_MODEL]]
    answer = ask([str(peer.python), str(peer.script)], {"crops": counts, "threads": threads})
    spent = [answer["latency_ms"][str(count)] for count in counts]
    return {
        "x".join(map(str, shape)): {"latency_ms": ms, "per_second": 1000 * shape[0] / ms}
        for shape, ms in zip(SHAPES[PEER_MODEL], spent, strict=True)
    }
