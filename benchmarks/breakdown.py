# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run goes, step by step and network by network, beside what the processor could do."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.child import ask
from benchmarks.end_to_end import Configuration
from benchmarks.networks import limits_gflops
from facepipe.catalogue import model


def measure_profile(
    root: Path,
    keys: Sequence[str],
    weights: Path,
    configurations: Sequence[Configuration],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """One process with one thread over `keys`: milliseconds for each photograph, and each network's arithmetic.

    Returns:
        `limits_gflops`: by precision, the most that one thread can do. By configuration: `steps` (ms a photograph;
        of detection and embedding what is not inside a network) and `networks`: `ms`, `rows`, `gflop` for each
        photograph, and the `gflops` that come of it.

    Raises:
        BackendError: a back end failed.
    """
    from benchmarks.arithmetic import multiply_adds

    own = [sys.executable, "-m", "benchmarks.own"]
    found: dict[str, Any] = {"photographs": len(keys), "limits_gflops": limits_gflops(own, 1)}
    for configuration in configurations:
        alone = replace(configuration, workers=1, threads=1)
        question = {**asdict(alone), "measure": "profile", "root": str(root), "weights": str(weights)}
        answer = ask(own, {**question, "keys": list(keys), "shard_size": len(keys)}, threads=1)
        share = 1000 / answer["photographs"]  # seconds of all to milliseconds of one
        networks: dict[str, Any] = {}
        for name in dict.fromkeys(name for name, _, _ in answer["calls"]):
            shapes = Counter(tuple(shape) for seen, shape, _ in answer["calls"] if seen == name)
            seconds = sum(spent for seen, _, spent in answer["calls"] if seen == name)
            operations = sum(n * 2 * multiply_adds(model(name).final(weights), shape) for shape, n in shapes.items())
            networks[name] = {
                "ms": share * seconds,
                "rows": sum(shape[0] * n for shape, n in shapes.items()) / answer["photographs"],
                "gflop": operations / 1e9 / answer["photographs"],
                "gflops": operations / 1e9 / seconds,
            }
        steps = {name: share * spent for name, spent in answer["step_seconds"].items()}
        total = sum(steps.values())
        steps["detect"] -= sum(row["ms"] for name, row in networks.items() if model(name).task == "detect")
        steps["embed"] -= sum(row["ms"] for name, row in networks.items() if model(name).task == "embed")
        found[alone.key] = {"ms": total, "steps": steps, "networks": networks, "threads": 1}
        progress(f"profile {alone.key}: {total:.2f} core-milliseconds for each photograph")
    return found
