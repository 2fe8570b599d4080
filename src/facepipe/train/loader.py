# SPDX-License-Identifier: Apache-2.0
"""Faces on their way to the network: read, augmented and stacked, by other processes where there are any.

What a row holds depends on (seed, epoch, sample) alone, so that any number of loader processes gives the same bytes.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from facepipe.errors import DataError
from facepipe.train.data.augment import Augmentation, augmented
from facepipe.train.data.face_set import FaceSet
from facepipe.train.draws import generator
from facepipe.train.order import Order


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's slice of a step.

    Attributes:
        pictures: uint8 [b, side, side, 3], RGB; without the damaged ones, so that b may be less than the slice.
        labels: int64 [b].
        samples: of the set, int64 [b].
        damaged: a line for each that could not be read, which names it.
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    samples: torch.Tensor
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One sample as a loader process gives it."""

    picture: np.ndarray | None  # None: damaged
    sample: int
    label: int
    reason: str


class Augmented(Dataset[Row]):
    """The set, each sample as the epoch's augmentation has it."""

    def __init__(self, faces: FaceSet, seed: int, augmentation: Augmentation) -> None:
        self._faces, self._seed, self._augmentation = faces, seed, augmentation

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, asked: tuple[int, int]) -> Row:
        epoch, sample = asked
        label = int(self._faces.labels[sample])
        try:
            picture = self._faces.picture(sample)
        except DataError as error:
            return Row(None, sample, label, str(error))
        draws = generator(self._seed, "augment", epoch, sample)
        return Row(augmented(picture, self._augmentation, draws), sample, label, "")


def batches(
    faces: FaceSet,
    order: Order,
    augmentation: Augmentation,
    first: int,
    steps: int,
    *,
    rank: int = 0,
    world: int = 1,
    loaders: int = 0,
) -> Iterator[Batch]:
    """The slices of one process from step `first` to before `steps`.

    Args:
        loaders: processes that read and augment; 0: the caller's own.
    """
    with warnings.catch_warnings():  # more of them than cores is the caller's choice
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader: DataLoader[Row] = DataLoader(
            Augmented(faces, order.seed, augmentation),
            batch_sampler=_Steps(order, first, steps, rank, world),
            num_workers=loaders,
            collate_fn=_stacked,
            multiprocessing_context=_context() if loaders else None,
            prefetch_factor=4 if loaders else None,
        )
        return iter(loader)


def _context() -> BaseContext:
    """A fork of a process that has threads can end it or wait for ever; so loaders come from a server without any."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["facepipe.train.loader"])
    return context


class _Steps(Sampler[list[tuple[int, int]]]):  # type: ignore[type-arg]
    """(epoch, sample) of each row, step by step."""

    def __init__(self, order: Order, first: int, steps: int, rank: int, world: int) -> None:
        self._order, self._first, self._steps, self._rank, self._world = order, first, steps, rank, world

    def __len__(self) -> int:
        return self._steps - self._first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self._order.batches(self._first, self._steps, self._rank, self._world)


def _stacked(rows: Sequence[Row]) -> Batch:
    good = [row for row in rows if row.picture is not None]
    pictures = np.stack([row.picture for row in good if row.picture is not None]) if good else np.empty((0, 1, 1, 3))
    return Batch(
        torch.from_numpy(pictures.astype(np.uint8, copy=False)),
        torch.tensor([row.label for row in good], dtype=torch.int64),
        torch.tensor([row.sample for row in good], dtype=torch.int64),
        tuple(row.reason for row in rows if row.picture is None),
    )
