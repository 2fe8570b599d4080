# SPDX-License-Identifier: Apache-2.0
"""What a detector is trained to make small: boxes and landmarks of the priors that belong to faces, and all classes.

SSD's loss (Liu et al. 2016, sections 2.2.3 and 2.2.4), with landmarks as RetinaFace's authors add them:

    predictions of a picture, its targets --hardest negatives--> three sums --over all processes--> divided by counts

What divides are the positives of the whole batch, over all processes; negatives are chosen picture by picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from facepipe.errors import DataError
from facepipe.train.losses.matching import REPAIRED, Defects, Targets
from facepipe.train.processes import ALONE, Processes


@dataclass(frozen=True, slots=True)
class MultiBox:
    """A family's loss.

    Attributes:
        negatives: for each positive of a picture.
        faceless: a picture without a face has as many negatives as one with so many positives. Pictures whose faces
            are all too small to be trained on have none: the hardest there are those faces.
        boxes: weight of the boxes in the total; that of the classes is 1.
        landmarks: weight of the landmarks; 0 where the network has none.
    """

    negatives: int
    faceless: int = 1
    boxes: float = 1.0
    landmarks: float = 0.0


ULTRAFACE = MultiBox(negatives=3)
"""vision/nn/multibox_loss.py; train.py adds the two."""
RETINAFACE = MultiBox(negatives=7, boxes=2.0, landmarks=1.0)
"""layers/modules/multibox_loss.py; loc_weight of data/config.py is 2."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Of the batch of all processes, the same on each. The gradient goes back from `total`.

    Attributes:
        boxes, classes, landmarks: float [], each already divided, not yet weighted.
        total: float [].
        positives: priors that belong to faces.
    """

    boxes: torch.Tensor
    classes: torch.Tensor
    landmarks: torch.Tensor
    total: torch.Tensor
    positives: int


def losses_of(
    boxes: torch.Tensor,
    logits: torch.Tensor,
    landmarks: torch.Tensor | None,
    targets: Sequence[Targets],
    loss: MultiBox,
    defects: Defects = REPAIRED,
    processes: Processes = ALONE,
) -> Losses:
    """The losses of a batch.

        found = losses_of(boxes, logits, None, targets, ULTRAFACE)
        found.total.backward()

    Args:
        boxes: float [B, P, 4], what the network says.
        logits: float [B, P, 2]: no face, face.
        landmarks: float [B, P, 2 K]; None where the network has none.
        targets: of the B pictures.
        loss: the family's.
        defects: of the published trainers, that shall be as there.
        processes: who trains together. B may differ between them. The gradient that the predictions get is `world`
            times that of the loss, since DistributedDataParallel takes the mean over the processes.

    Returns:
        In float32, under autocast too; float64 stays. A batch without positives has boxes and landmarks of 0.

    Source:
        boxes and landmarks: smooth L1 with beta 1 over the priors that belong to faces, landmarks where they are known;
        classes: cross-entropy over those and the hardest negatives. The sums are divided by the number of positives,
        the landmarks' by that of positives with landmarks, each at least 1.

    Raises:
        DataError: other shapes than these; targets of other priors.
    """
    _check(boxes, logits, landmarks, targets, loss)
    device, (pictures, priors, _) = boxes.device, boxes.shape
    positives = np.concatenate([number * priors + target.priors for number, target in enumerate(targets)])
    rows = torch.from_numpy(positives).to(device)
    known = np.concatenate([target.known for target in targets])
    known_rows = torch.from_numpy(positives[known]).to(device)
    with torch.autocast(device.type, enabled=False):
        boxes, logits = _wide(boxes).flatten(0, 1), _wide(logits).flatten(0, 1)  # [B * P, ...]
        classes = torch.zeros(pictures * priors, dtype=torch.int64, device=device)
        classes[rows] = 1
        asked = [_negatives(target, loss, defects) for target in targets]
        taken = hardest(logits.detach().view(pictures, priors, 2), classes.view(pictures, priors) > 0, asked)
        taken = taken.flatten() | (classes > 0)
        sums = [
            _smooth(boxes[rows], [target.boxes for target in targets]),
            functional.cross_entropy(logits[taken], classes[taken], reduction="sum"),
            boxes.new_zeros(())
            if landmarks is None
            else _smooth(
                _wide(landmarks).flatten(0, 1)[known_rows], [target.landmarks[target.known] for target in targets]
            ),
        ]
        whole: torch.Tensor = _OverAll.apply(torch.stack(sums), processes)  # type: ignore[no-untyped-call]
    counts = processes.sum(torch.tensor([len(rows), len(known_rows)], device=device))
    divisors = counts[[0, 0, 1]].to(whole.dtype)
    divisors = divisors if defects.none_is_nan else divisors.clamp_min(1)
    if landmarks is None:
        divisors[2] = 1
    of_boxes, of_classes, of_landmarks = (whole / divisors).unbind()
    total = loss.boxes * of_boxes + of_classes
    if landmarks is not None:
        total = total + loss.landmarks * of_landmarks
    return Losses(of_boxes, of_classes, of_landmarks, total, int(counts[0]))


def hardest(logits: torch.Tensor, positives: torch.Tensor, asked: Sequence[int]) -> torch.Tensor:
    """The negatives that are learned from: those that look most like a face.

    Args:
        logits: float [B, P, 2].
        positives: bool [B, P].
        asked: how many of each picture; where it has fewer, all are taken.

    Returns:
        bool [B, P].

    Source:
        Ranked by -log p(no face) = log(1 + exp(face - no face)); of equal ones the first prior is first. UltraFace has
        positives at minus infinity, RetinaFace at 0, where the rank ends: the negatives that both take are these.
    """
    loss = functional.softplus(logits[..., 1] - logits[..., 0]).masked_fill(positives, -torch.inf)
    order = loss.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(loss.shape[1], device=loss.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    return (rank < torch.tensor(asked, device=loss.device)[:, None]) & ~positives


def _negatives(target: Targets, loss: MultiBox, defects: Defects) -> int:
    if target.faces == 0 and not defects.faceless_silent:
        return loss.negatives * loss.faceless
    return loss.negatives * len(target.priors)


def _smooth(found: torch.Tensor, expected: list[np.ndarray]) -> torch.Tensor:
    """The sum of smooth L1 (beta 1)."""
    right = torch.from_numpy(np.concatenate(expected)).to(found)
    return functional.smooth_l1_loss(found, right, reduction="sum")


def _wide(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def _check(
    boxes: torch.Tensor,
    logits: torch.Tensor,
    landmarks: torch.Tensor | None,
    targets: Sequence[Targets],
    loss: MultiBox,
) -> None:
    expected = (len(targets), boxes.shape[1] if boxes.ndim == 3 else 0)
    width = targets[0].landmarks.shape[1] if targets else 0
    outputs = [("boxes", boxes, 4), ("logits", logits, 2)]
    if landmarks is not None:
        outputs.append(("landmarks", landmarks, width))
    for name, tensor, numbers in outputs:
        if tuple(tensor.shape) != (*expected, numbers):
            raise DataError(
                f"loss: {name} of the network are {list(tensor.shape)}, expected {[*expected, numbers]} "
                f"for the targets of {len(targets)} pictures."
            )
    if not targets:
        raise DataError("loss: a batch of 0 pictures, expected one at least.")
    if landmarks is None and loss.landmarks:
        raise DataError(f"loss: landmarks weigh {loss.landmarks:g} and the network has none, expected a weight of 0.")
    last = max((int(target.priors[-1]) for target in targets if len(target.priors)), default=-1)
    if last >= expected[1]:
        raise DataError(f"loss: a target is for prior {last}, expected one of the network's {expected[1]}.")


class _OverAll(torch.autograd.Function):
    """Sums over all processes; back goes, to each, what its own share gets, times their number."""

    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor, processes: Processes) -> torch.Tensor:
        ctx.world = processes.world
        return processes.sum(sums.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.world, None
