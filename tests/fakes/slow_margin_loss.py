# SPDX-License-Identifier: Apache-2.0
"""A margin loss over class centres, one number at a time, as the papers write it: slow, in float64, without torch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """The loss, and what it says of embeddings [N, D] and centres [C, D]; classes that took no part have 0."""

    loss: float
    embeddings: np.ndarray
    centres: np.ndarray


def slow_margin_loss(
    embeddings: np.ndarray,
    labels: np.ndarray,
    centres: np.ndarray,
    taken: np.ndarray,
    *,
    scale: float,
    m1: float,
    m2: float,
    m3: float,
    analytic: bool,
    inter_class: float | None = None,
    most: float = -math.log(1e-30),
) -> Answer:
    """Rows with the label -1 do not count; `taken` are the classes that take part; `most` bounds a row's loss."""
    counted = [row for row in range(len(labels)) if labels[row] >= 0]
    loss, by_embeddings, by_centres = 0.0, np.zeros(embeddings.shape), np.zeros(centres.shape)
    for row in counted:
        cosines, logits, slopes = {}, {}, {}
        for label in taken:
            lengths = math.sqrt(sum(embeddings[row] ** 2)) * math.sqrt(sum(centres[label] ** 2))
            cosine = sum(embeddings[row] * centres[label]) / lengths
            cosines[label] = cosine
            if label == labels[row]:
                angle = math.acos(cosine)
                logits[label] = scale * (math.cos(m1 * angle + m2) - m3)
                slopes[label] = m1 * math.sin(m1 * angle + m2) / math.sin(angle) if analytic else 1.0
            elif inter_class is not None and cosine > inter_class:
                logits[label] = slopes[label] = 0.0
            else:
                logits[label], slopes[label] = scale * cosine, 1.0
        largest = max(logits.values())
        total = sum(math.exp(logit - largest) for logit in logits.values())
        loss += min(math.log(total) + largest - logits[labels[row]], most) / len(counted)
        for label in taken:
            pull = math.exp(logits[label] - largest) / total - (label == labels[row])
            pull *= scale * slopes[label] / len(counted)
            length, other = math.sqrt(sum(embeddings[row] ** 2)), math.sqrt(sum(centres[label] ** 2))
            here, there = embeddings[row] / length, centres[label] / other
            by_embeddings[row] += pull * (there - cosines[label] * here) / length
            by_centres[label] += pull * (here - cosines[label] * there) / other
    return Answer(loss, by_embeddings, by_centres)
