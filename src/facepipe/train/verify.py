# SPDX-License-Identifier: Apache-2.0
"""A network in training on verification sets of aligned faces, all processes together.

Each process embeds its share of the faces, the embeddings are gathered, and what is made of them is the arithmetic of
`runs.score_verification`: the figures are those that `facepipe verification` gives for the converted network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facepipe.backends.base import Run
from facepipe.datasets.face_sets import FaceSet, open_face_set
from facepipe.datasets.images import read_size
from facepipe.embed.embedder import Embedder
from facepipe.errors import DataError, FacepipeError
from facepipe.runs.score_verification import MirroredEmbeddings, embed_mirrored, keys_in_order, score
from facepipe.specs import ModelSpec
from facepipe.train.processes import ALONE, Processes


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What one set says of a network.

    Attributes:
        name: of the set.
        accuracy, deviation: over ten folds, of embedding plus embedding of the mirror image.
        threshold: on the squared distance, the mean of those that the folds were judged by.
        x_norm: mean length of the raw embeddings of both copies.
    """

    name: str
    accuracy: float
    deviation: float
    threshold: float
    x_norm: float


def open_verification(path: Path, spec: ModelSpec) -> FaceSet:
    """The verification set at `path`: insightface's `.bin`, or a folder of aligned faces with LFW's pairs.txt in it.

    Every face is decoded once, so that a set that would end a training at its first verification is refused before the
    training begins. Faces of a `.bin` that have another size are stretched, as insightface stretches them.

    Raises:
        DataError: there is no such set, a face is missing or no picture, or the folder's pictures are not of the size
            that the network takes: photographs, which have to be aligned first.
    """
    faces, side = open_face_set(path), spec.input.dims[2].high
    for key in keys_in_order(faces.pairs):
        if path.is_dir() and (size := read_size(path / key)) != (side, side):
            raise DataError(
                f"{path / key}: is {size[0]}x{size[1]}, expected a face that is aligned to {side}x{side}, as "
                f"{spec.name} takes it.",
                f"`facepipe train-data align {path} --out ALIGNED`, and ALIGNED with the pairs.txt in it.",
            )
        faces.load(key, side)
    return faces


def verify(
    network: nn.Module,
    sets: Sequence[FaceSet],
    spec: ModelSpec,
    processes: Processes = ALONE,
    batch: int = 64,
) -> tuple[Accuracy, ...]:
    """The accuracies of a network, one for each set and the same in every process.

    The network is judged in evaluation mode and put back as it was. Running statistics that the processes do not share
    are for the while those of the first one: it is its network that is saved.

    Args:
        network: on the processes' device, not wrapped for parallel training.
        spec: the model that it becomes: the order, mean and scale of its pixels, and the size of its input.
        batch: faces in one call; any number gives the same figures.

    Raises:
        DataError: a face cannot be read, in any of the processes: all of them raise then.
        TensorError: an embedding has no direction, such as that of a network that has diverged.
    """
    with _evaluating(network, processes):
        return tuple(_verified(network, faces, spec, processes, batch) for faces in sets)


def log_lines(found: Accuracy, step: int, highest: float) -> tuple[str, str, str]:
    """The lines of a training's log for one set, in arcface_torch's words.

    Args:
        highest: accuracy of this training on this set so far, this step's among them.

    Example:
        >>> log_lines(Accuracy("lfw", 0.59017, 0.02031, 1.2, 9.890562), 2000, 0.59017)[1]
        '[lfw][2000]Accuracy-Flip: 0.59017+-0.02031'
    """
    where = f"[{found.name}][{step}]"
    return (
        f"{where}XNorm: {found.x_norm:.6f}",
        f"{where}Accuracy-Flip: {found.accuracy:.5f}+-{found.deviation:.5f}",
        f"{where}Accuracy-Highest: {highest:.5f}",
    )


def _verified(network: nn.Module, faces: FaceSet, spec: ModelSpec, processes: Processes, batch: int) -> Accuracy:
    keys = keys_in_order(faces.pairs)
    share = -(-len(keys) // processes.world)
    # Every process brings equally many rows; where they do not come out even, the last ones do some of the first again.
    mine = [keys[(processes.rank * share + place) % len(keys)] for place in range(share)]
    size = spec.input.dims[2].high
    embedder = Embedder(spec, _run_of(network, processes.device), batch)
    refused: FacepipeError | None = None
    try:
        rows = embed_mirrored(mine, lambda key: faces.load(key, size), embedder)
    except FacepipeError as error:
        refused = error
    # Asked before the gathering, which would wait for a process that never comes.
    elsewhere = processes.any(refused is not None)
    if refused is not None:
        raise refused
    if elsewhere:
        raise DataError(f"{faces.pairs.name}: another process cannot read one of its faces, expected all to be read.")
    plain, mirrored = (_gathered(part, processes)[: len(keys)] for part in (rows.plain, rows.mirrored))
    figures = score(faces.pairs, MirroredEmbeddings(keys, plain, mirrored))
    flip, x_norm = figures["accuracy_flip"], figures["xnorm"]
    assert isinstance(flip, dict) and isinstance(x_norm, float)
    return Accuracy(faces.pairs.name, flip["mean"], flip["std"], float(np.mean(flip["thresholds"])), x_norm)


def _gathered(rows: np.ndarray, processes: Processes) -> np.ndarray:
    """float32 [B, D] of every process, in the order of ranks: [world * B, D]."""
    gathered: np.ndarray = processes.gather(torch.from_numpy(rows).to(processes.device)).cpu().numpy()
    return gathered


def _run_of(network: nn.Module, device: torch.device) -> Run:
    """The network as a back end runs it: float32 [N, 3, S, S] to one output, float32 [N, D]."""

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.inference_mode():
            embeddings: torch.Tensor = network(torch.from_numpy(images).to(device))
        return (embeddings.float().cpu().numpy(),)

    return run


@contextmanager
def _evaluating(network: nn.Module, processes: Processes) -> Iterator[None]:
    """The network in evaluation mode with the first process's statistics; afterwards as it was, module by module."""
    modes = [(module, module.training) for module in network.modules()]
    own = [(buffer, buffer.clone()) for buffer in network.buffers() if buffer.is_floating_point()]
    network.eval()
    try:
        for buffer, _ in own:
            if processes.rank != 0:
                buffer.zero_()
            processes.sum(buffer)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, was in own:
            buffer.copy_(was)
