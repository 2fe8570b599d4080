# SPDX-License-Identifier: Apache-2.0
"""Several ranks on one machine: threads that play processes, in milliseconds, and processes that really talk by gloo.

Threads stand in for `facepipe.train.processes.Processes` where a test tries many cases; what they show is shown once
more by processes.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from facepipe.train.processes import ALONE, Processes

PATIENCE = 300
"""Seconds that a rank waits for the others before its test fails."""


@dataclass
class _Table:
    """Where threads lay what they tell the others."""

    world: int
    barrier: threading.Barrier = field(init=False)
    places: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier, self.places = threading.Barrier(self.world, timeout=PATIENCE), [None] * self.world

    def all_of(self, rank: int, tensor: torch.Tensor) -> list[torch.Tensor]:
        self.places[rank] = tensor.detach().clone()
        self.barrier.wait()
        told = list(self.places)
        self.barrier.wait()
        assert len({(part.shape, part.dtype) for part in told}) == 1, "ranks brought other shapes"
        return told


@dataclass
class ThreadAsRank:
    """Plays `Processes`; sums and maxima are over the ranks in their order, so all get the same bits."""

    rank: int
    world: int
    table: _Table
    device: torch.device = torch.device("cpu")

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.table.all_of(self.rank, rows))

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.copy_(torch.stack(self.table.all_of(self.rank, tensor)).sum(0))

    def max(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.copy_(torch.stack(self.table.all_of(self.rank, tensor)).amax(0))


def by_threads(world: int, work: Callable[[Any], Any]) -> list[Any]:
    """What `work(processes)` answers on each rank, where each is a thread of this process."""
    table = _Table(world)

    def one(rank: int) -> Any:
        try:
            return work(ThreadAsRank(rank, world, table))
        except BaseException:
            table.barrier.abort()  # the others need not wait
            raise

    with ThreadPoolExecutor(world) as threads:
        futures = [threads.submit(one, rank) for rank in range(world)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    own = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    for error in own or errors:
        raise error
    return [future.result() for future in futures]


def three_processes() -> Executor:
    """Processes for `by_processes`. What is slow to import is imported once, by the server that forks them.

    torch.nn.parallel imports torch._dynamo when it is first used.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo"])
    return ProcessPoolExecutor(3, context)


def by_processes(executor: Executor, world: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(processes, *arguments)` answers on each rank, where each is a process of the executor, with gloo.

    `work` is a function of a module, and answers what pickles: NumPy's arrays, not torch's tensors.
    """
    if world == 1:
        return [executor.submit(_as_one, work, arguments).result(PATIENCE)]
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        futures = [executor.submit(_as_rank, rank, world, meeting, work, arguments) for rank in range(world)]
        return [future.result(PATIENCE) for future in futures]


def _as_one(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    return work(ALONE, *arguments)


def _as_rank(rank: int, world: int, meeting: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=timedelta(seconds=PATIENCE)
    )
    try:
        return work(Processes(rank, world), *arguments)
    finally:
        distributed.destroy_process_group()
