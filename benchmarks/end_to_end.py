# SPDX-License-Identifier: Apache-2.0
"""Photographs to embeddings: facepipe beside facenet-pytorch, same photographs, same machine, one run."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import ask


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run facepipe that is measured."""

    backend: str
    precision: str
    detector: str
    embedder: str
    batch: int
    workers: int
    threads: int

    @property
    def key(self) -> str:
        """Its name in bench.json; the embedder is in it where that is not the network the peer has too."""
        extra = "" if self.embedder.startswith("facenet.") else f"_{self.embedder}"
        return f"{self.backend}_{self.precision}{extra}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side: an interpreter that has facenet-pytorch, and the script it runs."""

    python: Path
    script: Path
    batch: int = 32


def measure_end_to_end(
    root: Path,
    keys: Sequence[str],
    weights: Path,
    configurations: Sequence[Configuration],
    peer: Peer | None,
    cores: int,
    repeats: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Medians over `repeats` rounds; in every round each side runs once, so that a slow minute hits all alike.

    Args:
        root: the folder of photographs.
        keys: which of them.
        weights: the folder of converted models.
        peer: None leaves out the comparison, and with it every ratio.
        cores: the threads that the peer may use.
        progress: told of every run that ends.

    Returns:
        For bench.json: `peer_per_second`, and for each configuration's key `per_second`, `ratio`, memory and settings.

    Raises:
        BackendError: a side failed.
    """
    rounds: dict[str, list[dict[str, Any]]] = {}
    for number in range(repeats):
        if peer is not None:
            rounds.setdefault("peer", []).append(_ask_peer(peer, root, keys, cores))
            progress(f"round {number + 1}: facenet-pytorch {rate(rounds['peer'][-1]):.1f} photographs/s")
        for configuration in configurations:
            answer = ask_own(configuration, root, keys, weights)
            rounds.setdefault(configuration.key, []).append(answer)
            progress(f"round {number + 1}: {configuration.key} {rate(answer):.1f} photographs/s")
    result: dict[str, Any] = {"photographs": len(keys), "repeats": repeats, "cores": cores}
    base = None
    if peer is not None:
        summary = _summary(rounds["peer"])
        base = summary["per_second"]
        result |= {"peer_per_second": base, "peer": {**summary, "batch": peer.batch, "threads": cores}}
    for configuration in configurations:
        summary = _summary(rounds[configuration.key])
        if base is not None:
            summary["ratio"] = summary["per_second"] / base
        result[configuration.key] = {**summary, **asdict(configuration)}
    return result


def spread(keys: Sequence[str], count: int) -> list[str]:
    """`count` keys at even distances, or all where there are no more."""
    if count >= len(keys):
        return list(keys)
    return [keys[index * len(keys) // count] for index in range(count)]


def _ask_peer(peer: Peer, root: Path, keys: Sequence[str], cores: int) -> dict[str, Any]:
    paths = [str(root / key) for key in keys]
    question = {"photographs": paths, "batch": peer.batch, "threads": cores, "repeats": 1}
    return ask([str(peer.python), str(peer.script)], question)


def ask_own(
    configuration: Configuration, root: Path, keys: Sequence[str], weights: Path, *, measure: str = "pipeline"
) -> dict[str, Any]:
    """facepipe's answer, from a process of its own; `measure` is "pipeline", or "detection" for every face."""
    # At most some 256, as in a run, as many for one worker as for the other, and whole batches.
    rounds = -(-len(keys) // (256 * configuration.workers))
    batches = -(-len(keys) // (rounds * configuration.workers * configuration.batch))
    size = batches * configuration.batch
    question = {
        **asdict(configuration),
        "measure": measure,
        "root": str(root),
        "keys": list(keys),
        "weights": str(weights),
        "shard_size": size,
        "repeats": 1,
    }
    return ask([sys.executable, "-m", "benchmarks.own"], question)


def rate(answer: dict[str, Any]) -> float:
    """Photographs per second, the median of the answer's repeats."""
    return float(answer["photographs"] / statistics.median(answer["seconds"]))


def _summary(answers: list[dict[str, Any]]) -> dict[str, Any]:
    rates = [rate(answer) for answer in answers]
    last = answers[-1]
    return {
        "per_second": statistics.median(rates),
        "per_second_each_round": rates,
        "faces": last["faces"],
        "peak_memory_bytes": max(answer["peak_memory_bytes"] for answer in answers),
        "versions": last["versions"],
        **({"step_seconds": last["step_seconds"]} if "step_seconds" in last else {}),
    }
