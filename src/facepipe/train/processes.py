# SPDX-License-Identifier: Apache-2.0
"""The processes that train together, as torchrun starts them: who one is, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from facepipe.errors import BackendError, DataError

_PATIENCE = timedelta(minutes=30)  # how long a process waits for the others before it gives up
TOLD_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Processes:
    """One of the processes of a training.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        device: where it computes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [B, ...] of every process, in the order of ranks: [world * B, ...]. No gradient goes through.

        Every process must bring the same shape and dtype.
        """
        if self.world == 1:
            return rows.detach()
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        distributed.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def max(self, tensor: torch.Tensor) -> torch.Tensor:
        """The largest over the processes, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor

    def any(self, happened: bool) -> bool:
        """Whether it happened in one of them; all learn the same."""
        return (
            bool(self.max(torch.tensor([float(happened)], device=self.device)).item()) if self.world > 1 else happened
        )

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            distributed.barrier()


ALONE = Processes()


@contextmanager
def joined(*, device: str = "auto", threads: int | None = None) -> Iterator[Processes]:
    """The processes that torchrun started, this one among them; alone where torchrun started none.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where torch has a device.
        threads: that torch computes with in this process; None: its choice.

    Raises:
        BackendError: CUDA was asked for and is not there.
        DataError: torchrun's words are incomplete.
    """
    told = os.environ
    if threads is not None:
        torch.set_num_threads(threads)
    here = _device(device, int(told.get("LOCAL_RANK", "0")))
    if "WORLD_SIZE" not in told or int(told["WORLD_SIZE"]) == 1:
        yield Processes(device=here)
        return
    absent = [name for name in TOLD_BY_TORCHRUN if name not in told]
    if absent:
        raise DataError(
            f"train: WORLD_SIZE is {told['WORLD_SIZE']} and {absent[0]} is not set, expected all that torchrun sets.",
            "torchrun --nproc_per_node N -m facepipe train ...",
        )
    if here.type == "cuda":
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), here)
    finally:
        distributed.destroy_process_group()


def _device(asked: str, local_rank: int) -> torch.device:
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BackendError("train: torch finds no CUDA device, expected one for --device cuda.", "--device cpu.")
    return torch.device("cuda", local_rank)
