# SPDX-License-Identifier: Apache-2.0
"""Photographs to embeddings: facepipe beside facenet-pytorch, or beside another commit of itself, in turn."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.child import ask, environment
from benchmarks.paired import Estimate, Spent, paired, take_turns
from benchmarks.sides import ProcessSide, open_side
from facepipe.errors import BackendError

SHARD = 32  # photographs that are handed out together: the peer's batch, two of facepipe's
PEER = "facenet-pytorch"
OLD = "old "  # and the configuration's key: the name of a side that another checkout runs
Progress = Callable[[str], None]


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
    batch: int = SHARD


@dataclass(frozen=True, slots=True)
class Plan:
    """The photographs, and how they are gone through.

    Attributes:
        root, keys: the photographs; every side does them all, again and again.
        weights: the folder of converted models.
        cores: what a side may use.
        rounds: how many.
        each: photographs of a round.
    """

    root: Path
    keys: Sequence[str]
    weights: Path
    cores: int
    rounds: int
    each: int

    @property
    def shard_size(self) -> int:
        """Photographs of a shard: such that every core has one in a round."""
        return max(1, min(SHARD, -(-min(self.each, len(self.keys)) // self.cores)))

    def shards_by_round(self) -> list[list[int]]:
        """The shards of every round: one after the other, and from the first again after the last."""
        count = -(-len(self.keys) // self.shard_size)
        step = min(count, max(1, self.each // self.shard_size))
        return [[(number * step + one) % count for one in range(step)] for number in range(self.rounds)]

    def photographs_of(self, shards: Sequence[int]) -> int:
        """How many photographs the shards have together; the last shard may be short."""
        size = self.shard_size
        return sum(min(size, len(self.keys) - shard * size) for shard in shards)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the processor could do before, between and after the rounds: GFLOP/s of all cores, by precision."""

    threads: int
    progress: Progress
    gflops: dict[str, list[float]] = field(default_factory=dict)

    def measure(self) -> None:
        """Once; nothing where there is no compiler to measure with, which `progress` is told."""
        if importlib.util.find_spec("llvmlite") is None:
            self.progress("no llvmlite: what the processor can do at most is not measured beside the rounds")
            return
        from benchmarks.peak import peaks

        for precision, operations in peaks(self.threads).items():
            self.gflops.setdefault(precision, []).append(operations / 1e9)


def measure_end_to_end(
    plan: Plan, configurations: Sequence[Configuration], peer: Peer | None, progress: Progress
) -> dict[str, Any]:
    """Every configuration, and the peer unless there is none, in turn.

    Returns:
        For bench.json: the plan's figures, `limits_gflops` before, between and after the rounds, `peer`,
        `peer_per_second`, and for each configuration's key its own and, beside the peer, how many times as fast it is:
        `ratio` on the wall and `cpu_ratio` in processor time, each the median of the rounds, with `…_interval`.

    Raises:
        BackendError: a side failed.
    """
    opened: list[AbstractContextManager[ProcessSide]] = [_own(plan, one) for one in configurations]
    if peer is not None:
        opened.insert(0, _peer(plan, peer))
    found, spent = _measure(plan, opened, progress)
    if peer is not None:
        theirs = found[PEER]
        found |= {"peer_per_second": theirs["per_second"], "peer": {**theirs, "batch": peer.batch}}
        del found[PEER]
    for one in configurations:
        found[one.key] |= asdict(one)
        if peer is not None:
            found[one.key] |= _ratios(spent[PEER], spent[one.key], "ratio", "cpu_ratio")
    return found


def measure_against(
    plan: Plan, pairs: Sequence[tuple[Configuration, Configuration]], checkout: Path, progress: Progress
) -> dict[str, Any]:
    """Pairs of a configuration and the one of another checkout that it replaces, all in turn.

    Returns:
        For bench.json: as `measure_end_to_end`, with `checkout`, its `commit`, and for each new configuration's key
        `old`, and how many times the old one's time it takes: `cpu_time_ratio` in processor time and `time_ratio` on
        the wall, each the median of the rounds, with `…_interval`. The old sides stand under `old <key>`.

    Raises:
        BackendError: a side failed, or ran other sources than those of its checkout.
    """
    sources = checkout / "src"
    if not (sources / "facepipe").is_dir():
        raise BackendError(f"{checkout}: no src/facepipe, expected a checkout of facepipe.", "--against FOLDER")
    olds = list(dict.fromkeys(old for _, old in pairs))
    opened = [_own(plan, new) for new in dict.fromkeys(new for new, _ in pairs)]
    opened += [_own(plan, old, sources) for old in olds]
    found, spent = _measure(plan, opened, progress)
    found |= {"checkout": str(checkout), "commit": commit_of(checkout)}
    for old in olds:
        found[OLD + old.key] |= asdict(old)
    for new, old in pairs:
        ratios = _ratios(spent[new.key], spent[OLD + old.key], "time_ratio", "cpu_time_ratio")
        found[new.key] |= {**asdict(new), "old": OLD + old.key, **ratios}
    return found


def commit_of(checkout: Path) -> str | None:
    """The commit of a checkout; None where git does not know one."""
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def _measure(
    plan: Plan, opened: Sequence[AbstractContextManager[ProcessSide]], progress: Progress
) -> tuple[dict[str, Any], dict[str, list[Spent]]]:
    """All sides loaded and warm, then the rounds: what is told of each side alone, and what each round took."""
    rounds, limits = plan.shards_by_round(), Limits(plan.cores, progress)
    counts = [plan.photographs_of(shards) for shards in rounds]
    with ExitStack() as stack:
        sides = list[ProcessSide]()
        for one in opened:
            sides.append(stack.enter_context(one))
            sides[-1].warm_up(rounds[0][:1])
            progress(f"{sides[-1].name}: loaded and warm")
        spent = take_turns(sides, rounds, limits.measure, progress)
        by_round = {
            name: {
                "per_second": [count / row.seconds for count, row in zip(counts, rows, strict=True)],
                "cpu_ms": [1000 * row.cpu_seconds / count for count, row in zip(counts, rows, strict=True)],
            }
            for name, rows in spent.items()
        }
        found: dict[str, Any] = {
            "photographs": len(plan.keys),
            "rounds": plan.rounds,
            "photographs_each_round": counts[0],
            "cores": plan.cores,
            "limits_gflops": limits.gflops,
        }
        for side in sides:
            figures = by_round[side.name]
            found[side.name] = {
                **{name: statistics.median(values) for name, values in figures.items()},
                **{f"{name}_each_round": values for name, values in figures.items()},
                "faces_each": sum(side.faces.values()) / plan.photographs_of(list(side.faces)),
                "peak_memory_bytes": side.peak_memory(),
                "versions": side.workers[0].ready["versions"],
            }
    return found, spent


def _ratios(one: Sequence[Spent], other: Sequence[Spent], wall: str, processor: str) -> dict[str, Any]:
    """How many times the other's time the one took, on the wall and of the processor, each with its interval."""
    of_wall = paired([row.seconds for row in one], [row.seconds for row in other])
    of_processor = paired([row.cpu_seconds for row in one], [row.cpu_seconds for row in other])
    return {**_told(wall, of_wall), **_told(processor, of_processor)}


def _told(name: str, ratio: Estimate) -> dict[str, Any]:
    return {name: ratio.median, f"{name}_interval": [ratio.low, ratio.high]}


def _own(plan: Plan, one: Configuration, sources: Path | None = None) -> AbstractContextManager[ProcessSide]:
    """facepipe's side; `sources` are another checkout's."""
    common = {
        **asdict(one),
        "root": str(plan.root.resolve()),
        "keys": list(plan.keys),
        "weights": str(plan.weights.resolve()),
        "shard_size": plan.shard_size,
        "sources": None if sources is None else str((sources / "facepipe").resolve()),
    }
    settings = [{**common, "worker": number} for number in range(one.workers)]
    command = [sys.executable, "-m", "benchmarks.side_facepipe"]
    name = one.key if sources is None else OLD + one.key
    return open_side(name, command, settings, environment(sources=sources))


def _peer(plan: Plan, peer: Peer) -> AbstractContextManager[ProcessSide]:
    settings: Mapping[str, Any] = {
        "photographs": [str((plan.root / key).resolve()) for key in plan.keys],
        "shard_size": plan.shard_size,
        "batch": peer.batch,
        "threads": plan.cores,
    }
    return open_side(PEER, [str(peer.python), str(peer.script)], [settings], environment())


def spread(keys: Sequence[str], count: int) -> list[str]:
    """`count` keys at even distances, or all where there are no more."""
    if count >= len(keys):
        return list(keys)
    return [keys[index * len(keys) // count] for index in range(count)]


def ask_own(
    configuration: Configuration, root: Path, keys: Sequence[str], weights: Path, *, measure: str = "pipeline"
) -> dict[str, Any]:
    """A whole run of facepipe in processes of its own; `measure` is "pipeline", or "detection" for every face."""
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
