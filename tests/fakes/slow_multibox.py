# SPDX-License-Identifier: Apache-2.0
"""The detectors' matching and losses written as the authors' sources read, prior by prior: to judge the fast ones.

`slow_match` is float32 scalar by scalar; `slow_losses` float64, with each author's own ranking of negatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facepipe.train.losses.matching import Targets


def slow_match(
    boxes: np.ndarray, priors: np.ndarray, *, threshold: float, least: float, added: float, dropped_claim: bool
) -> dict[int, int]:
    """Positive prior to its face."""
    table = np.array([[_iou(box, prior, np.float32(added)) for prior in priors] for box in boxes], np.float32)
    if not len(boxes):
        return {}
    claims = [int(row.argmax()) for row in table]
    kept = [face for face in range(len(boxes)) if table[face][claims[face]] >= np.float32(least)]
    best, owner = table.max(axis=0), table.argmax(axis=0)
    for face in kept:
        best[claims[face]] = 2
    for face in range(len(boxes)):
        if face in kept or dropped_claim:
            owner[claims[face]] = face
    return {prior: int(owner[prior]) for prior in range(len(priors)) if best[prior] >= np.float32(threshold)}


def _iou(box: np.ndarray, prior: np.ndarray, added: np.float32) -> np.float32:
    two, zero = np.float32(2), np.float32(0)
    low = [prior[axis] - prior[axis + 2] / two for axis in (0, 1)]
    high = [prior[axis] + prior[axis + 2] / two for axis in (0, 1)]
    shared = [max(min(box[axis + 2], high[axis]) - max(box[axis], low[axis]), zero) for axis in (0, 1)]
    area, own = (box[2] - box[0]) * (box[3] - box[1]), (high[0] - low[0]) * (high[1] - low[1])
    return np.float32(shared[0] * shared[1] / (area + own - shared[0] * shared[1] + added))


@dataclass(frozen=True, slots=True)
class Slow:
    """Losses and gradients of the total by each prediction, float64."""

    losses: list[float]
    total: float
    gradients: list[np.ndarray]


def slow_losses(
    boxes: np.ndarray,
    logits: np.ndarray,
    landmarks: np.ndarray | None,
    targets: list[Targets],
    *,
    ratio: int,
    author: str,
    faceless: int,
    weights: tuple[float, float, float],
) -> Slow:
    """`faceless` positives are what a picture without a face counts as when its negatives are chosen."""
    sums, divisors = [0.0, 0.0, 0.0], [0, 0]
    gradients = [np.zeros_like(boxes), np.zeros_like(logits)]
    gradients += [] if landmarks is None else [np.zeros_like(landmarks)]
    for picture in range(len(boxes)):
        target = targets[picture]
        mine = set(target.priors.tolist())
        for index, prior in enumerate(target.priors):
            divisors[0] += 1
            sums[0] += _smooth(boxes[picture, prior], target.boxes[index], gradients[0][picture, prior])
            if landmarks is not None and target.known[index]:
                divisors[1] += 1
                sums[2] += _smooth(landmarks[picture, prior], target.landmarks[index], gradients[2][picture, prior])
        asked = ratio * (len(mine) if target.faces else faceless)
        for prior in mine | _hardest(logits[picture], mine, asked, author):
            shares = np.exp(logits[picture, prior] - logits[picture, prior].max())
            shares /= shares.sum()
            right = int(prior in mine)
            sums[1] -= math.log(shares[right])
            gradients[1][picture, prior] = shares - np.eye(2)[right]
    by = [max(divisors[0], 1), max(divisors[0], 1), max(divisors[1], 1)]
    losses = [one / divisor for one, divisor in zip(sums, by, strict=True)]
    for index, gradient in enumerate(gradients):
        gradient *= weights[index] / by[index]
    return Slow(losses, sum(one * weight for one, weight in zip(losses, weights, strict=True)), gradients)


def _smooth(found: np.ndarray, expected: np.ndarray, gradient: np.ndarray) -> float:
    away = found - expected.astype(np.float64)
    gradient += np.clip(away, -1, 1)
    return float(np.where(np.abs(away) < 1, away**2 / 2, np.abs(away) - 0.5).sum())


def _hardest(logits: np.ndarray, mine: set[int], asked: int, author: str) -> set[int]:
    """UltraFace: positives at minus infinity. RetinaFace: at 0, and at most all but one are asked for.

    Neither asks for any where a picture has no positive: there is nothing to be literal about.
    """
    losses = np.logaddexp(logits[:, 0], logits[:, 1]) - logits[:, 0]
    losses[list(mine)] = -math.inf if author == "ultraface" else 0.0
    asked = min(asked, len(logits) - 1) if author == "retinaface" and mine else asked
    return set(np.argsort(-losses, kind="stable")[:asked].tolist()) - mine
