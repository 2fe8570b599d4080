# SPDX-License-Identifier: Apache-2.0
"""What arcface_torch answers on fixed inputs, beside what Partial FC answers: partial_fc.npz of the golden answers.

Distances are the largest difference as a share of the golden array's largest entry.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ranks import by_processes

from facepipe.train.losses.margin import ARCFACE, COSFACE, Margin
from facepipe.train.losses.partial_fc import PartialFC, shard_of
from facepipe.train.processes import Processes

MARGINS = {"arcface": ARCFACE, "cosface": COSFACE}
ARRAYS = ("loss", "embeddings_gradient", "centres_gradient")


def read_published(golden: Path) -> dict[str, np.ndarray]:
    """The arrays by name, from the folder of golden answers."""
    with np.load(golden / "training" / "partial_fc.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def distance(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest expected entry."""
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def answers(head: PartialFC, embeddings: Any, labels: Any, margin: Margin, step: int = 0) -> tuple[float, Any, Any]:
    """The loss, the embeddings' gradient as it comes, and the centres'."""
    x = torch.tensor(embeddings, requires_grad=True)
    loss = head(x, torch.tensor(labels), margin, step)
    loss.backward()
    return loss.item(), x.grad.numpy(), head.gradient().numpy()


def one_process(published: dict[str, np.ndarray]) -> dict[str, float]:
    """Distances for both margins: all classes, the filter, and the stored samples of two rates."""
    found = {}
    for name in (f"one_{margin}_{case}" for margin in MARGINS for case in ("full", "filter04", "rate03", "rate005")):
        options: dict[str, Any] = {"inter_class": 0.4} if name.endswith("filter04") else {}
        if "rate" in name:
            lot = _always(published[f"{name}_sampled"])
            options = {"rate": 0.3 if name.endswith("rate03") else 0.05, "draw": lot}
        head = _head(published["centres"], **options)
        answer = answers(head, published["embeddings"], published["labels"], MARGINS[name.split("_")[1]])
        for array, value in zip(ARRAYS, answer, strict=True):
            found[f"{name}_{array}"] = distance(value, published[f"{name}_{array}"])
    return found


def analytic(published: dict[str, np.ndarray]) -> dict[str, float]:
    """Distances of the analytic gradient, which the stored program computed itself, in float64."""
    head = _head(published["centres"])
    _, *gradients = answers(head, published["embeddings"], published["labels"], Margin(gradient="analytic"))
    names = [f"analytic_arcface_{array}" for array in ARRAYS[1:]]
    return {name: distance(value, published[name]) for name, value in zip(names, gradients, strict=True)}


def two_processes(published: dict[str, np.ndarray], executor: Executor) -> dict[str, float]:
    """Distances for two processes, each with half of the batch and half of the classes.

    The embeddings' gradient is compared as it is stored, twice the true one: ours too is for the mean over processes.
    At rate 1 the half of it is what one process has.
    """
    found = {}
    for margin, case, rate in ((m, c, r) for m in MARGINS for c, r in (("full", 1.0), ("rate03", 0.3))):
        first, second = by_processes(executor, 2, _half, published, margin, rate)
        name = f"two_{margin}_{case}"
        assert first[0] == second[0], "ranks were told other losses"
        answer = first[0], np.concatenate([first[1], second[1]]), np.concatenate([first[2], second[2]])
        for array, value in zip(ARRAYS, answer, strict=True):
            found[f"{name}_{array}"] = distance(value, published[f"{name}_{array}"])
        if rate == 1:
            found[f"{name}_halved"] = distance(answer[1] / 2, published[f"one_{margin}_full_embeddings_gradient"])
    return found


def _half(processes: Processes, published: dict[str, np.ndarray], margin: str, rate: float) -> tuple[float, Any, Any]:
    options: dict[str, Any] = {"rate": rate, "processes": processes}
    if rate < 1:
        sampled = published[f"two_{margin}_rate03_sampled"].reshape(2, -1)[processes.rank]
        options["draw"] = _always(sampled - shard_of(500, processes.rank, 2)[0])
    half = slice(32 * processes.rank, 32 * processes.rank + 32)
    head = _head(published["centres"], **options)
    return answers(head, published["embeddings"][half], published["labels"][half], MARGINS[margin])


def _always(classes: np.ndarray) -> Callable[..., np.ndarray]:
    """A lot that always falls on the same classes."""
    return lambda *_: classes


def _head(centres: np.ndarray, **options: Any) -> PartialFC:
    """A head that has its share of the centres."""
    head = PartialFC(*centres.shape, 0, **options)
    own = centres[head.first : head.first + head.rows]
    head.load_rows({"weight": torch.tensor(own), "momentum": torch.zeros(own.shape)})
    return head
