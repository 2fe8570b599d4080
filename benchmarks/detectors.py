# SPDX-License-Identifier: Apache-2.0
"""Detectors of one network: milliseconds of the network, and photographs per second with all that the host does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.child import ask
from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import model

# (height, width) of the inputs, the smallest first.
SIZES: dict[str, tuple[tuple[int, int], ...]] = {
    "ultraface.slim-320": ((240, 320),),
    "ultraface.rfb-320": ((240, 320),),
    "ultraface.slim-640": ((480, 640),),
    "ultraface.rfb-640": ((480, 640),),
    "retinaface.mobilenet0.25": ((320, 320), (640, 640)),
    "blazeface.front": ((128, 128),),
    "blazeface.back": ((256, 256),),
}
BATCH = 8  # photographs of one call, for the figure with the host's work


def measure_detectors(
    root: Path,
    keys: Sequence[str],
    weights: Path,
    backends: Sequence[str],
    threads: Sequence[int],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Every detector of one network that is converted, at its sizes, per back end, precision and number of threads.

    Args:
        root, keys: photographs; each is read, scaled to the input, searched, and its faces are suppressed.
        weights: the folder of converted models. Eight bits are measured where a quantised file lies in it.
        backends: names.
        threads: of the session, one measurement for each.
        progress: told of every measurement that ends.

    Returns:
        By back end and precision, then model, then size as "320x240", then threads: `latency_ms` of the network on one
        input, `per_second` of photographs in batches of BATCH.

    Raises:
        BackendError: a back end failed.
    """
    own = [sys.executable, "-m", "benchmarks.own"]
    found: dict[str, Any] = {"photographs": len(keys), "batch": BATCH}
    for backend, precision, name in _combinations(weights, backends):
        table: dict[str, Any] = found.setdefault(f"{backend}_{precision}", {})
        every = precision if precision == "f32" else f"{precision}-all"
        for height, width in SIZES[name]:
            rows: dict[str, Any] = table.setdefault(name, {}).setdefault(f"{width}x{height}", {})
            for count in threads:
                common = {"weights": str(weights), "backend": backend, "precision": every, "threads": count}
                network = {"measure": "network", "model": name, "shape": (1, 3, height, width), "hint": "latency"}
                whole = {
                    "measure": "detection",
                    "detector": name,
                    "size": (height, width),
                    "root": str(root),
                    "keys": list(keys),
                    "batch": BATCH,
                    "repeats": 3,
                }
                latency = ask(own, common | network)["latency_ms"]
                per_second = len(keys) / min(ask(own, common | whole)["seconds"])
                rows[str(count)] = {"latency_ms": latency, "per_second": per_second}
                progress(
                    f"{backend}_{precision} {name} {width}x{height}, {count} threads: {latency:.2f} ms, "
                    f"{per_second:.0f} photographs/s"
                )
    return found


def _combinations(weights: Path, backends: Sequence[str]) -> list[tuple[str, str, str]]:
    """(back end, precision, model) of everything that can run here."""
    combinations = []
    for backend in backends:
        for precision in ("f32", "int8"):
            options = RuntimeOptions(precision=precision if precision == "f32" else f"{precision}-all")
            if backend_by_name(backend, options).why_unavailable() is not None:
                continue
            for name in SIZES:
                spec = model(name)
                if (spec.final(weights) if precision == "f32" else spec.quantised(weights)).is_file():
                    combinations.append((backend, precision, name))
    return combinations
