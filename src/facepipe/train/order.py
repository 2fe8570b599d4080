# SPDX-License-Identifier: Apache-2.0
"""Which samples a step sees: a function of (seed, step), so that a run goes on in the middle of an epoch.

A batch is global: processes take equal slices of it in the order of their ranks, so that two see what one sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from facepipe.errors import DataError
from facepipe.train.draws import generator


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which the samples of a set are gone through.

    Attributes:
        seed: of the run.
        samples: of the set.
        batch: samples of one step, over all processes.
        wraps: whether the last batch of an epoch is filled up from the epoch's beginning; else what fills no batch is
            left for another epoch, which has another order.
    """

    seed: int
    samples: int
    batch: int
    wraps: bool = False

    def __post_init__(self) -> None:
        if self.steps_of_epoch == 0:
            raise DataError(
                f"train: the set has {self.samples} samples, expected at least one batch of {self.batch}.",
                "--set batch=N of a smaller N, or --set wraps=true to fill the batch from the beginning.",
            )

    @property
    def steps_of_epoch(self) -> int:
        """Steps until every sample was seen once; of one that does not wrap, all but fewer than a batch."""
        return -(-self.samples // self.batch) if self.wraps else self.samples // self.batch

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, that a step belongs to."""
        return step // self.steps_of_epoch

    def batch_of(self, step: int, rank: int = 0, world: int = 1) -> np.ndarray:
        """The samples of one process in one step, as int64 [batch / world].

        Example:
            >>> order = Order(seed=1, samples=10, batch=4)
            >>> len({*order.batch_of(0), *order.batch_of(1)})
            8
            >>> [*order.batch_of(3, 0, 2), *order.batch_of(3, 1, 2)] == [*order.batch_of(3)]
            True
        """
        epoch, place = divmod(step, self.steps_of_epoch)
        order = _permutation(self.seed, epoch, self.samples)
        positions = np.arange(place * self.batch, (place + 1) * self.batch) % self.samples
        share = self.batch // world
        return order[positions[rank * share : (rank + 1) * share]]

    def batches(self, first: int, steps: int, rank: int = 0, world: int = 1) -> Iterator[list[tuple[int, int]]]:
        """(epoch, sample) of each row of every step from `first` to before `steps`."""
        for step in range(first, steps):
            epoch = self.epoch_of(step)
            yield [(epoch, sample) for sample in self.batch_of(step, rank, world).tolist()]


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, samples: int) -> np.ndarray:
    """All samples in the order of one epoch, int64 [samples]."""
    return generator(seed, "order", epoch).permutation(samples)
