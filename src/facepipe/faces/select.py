# SPDX-License-Identifier: Apache-2.0
"""Which face of a photograph goes on, when several were found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facepipe.errors import DataError
from facepipe.geometry.boxes import area
from facepipe.results import Detections, Face, NoFace

SURE = 0.9  # `largest_over_threshold` considers faces above this score

NO_FACE = NoFace("no face found")

Preference = Callable[[Detections, int, int], np.ndarray]


def center_weighted_size(detections: Detections, height: int, width: int) -> np.ndarray:
    """Area minus twice the squared distance from the centre of the photograph, in square pixels.

    Source:
        davidsandberg/facenet `align_dataset_mtcnn.py`; with it LFW's accuracy is 99.3 % where the largest face
        alone gives 96.3 % (facenet-pytorch, issues 120 and 122).
    """
    centre = np.array([width / 2, height / 2], np.float32)
    middle = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / np.float32(2)
    return area(detections.boxes) - np.float32(2) * ((middle - centre) ** 2).sum(axis=1)


def largest(detections: Detections, height: int, width: int) -> np.ndarray:
    """Area in square pixels."""
    return area(detections.boxes)


def probability(detections: Detections, height: int, width: int) -> np.ndarray:
    """The detector's score."""
    return detections.scores


def largest_over_threshold(detections: Detections, height: int, width: int) -> np.ndarray:
    """Area in square pixels; minus infinity for faces that are not sure."""
    return np.where(detections.scores > SURE, area(detections.boxes), np.float32(-np.inf))


SELECTIONS: dict[str, Preference] = {
    "center_weighted_size": center_weighted_size,
    "largest": largest,
    "probability": probability,
    "largest_over_threshold": largest_over_threshold,
}


def choose(detections: Detections, height: int, width: int, method: str = "center_weighted_size") -> Face | NoFace:
    """The face that `method` prefers, with its own score and landmarks; the first of equals.

    Args:
        detections: of one photograph of height x width pixels.
        method: a name of `SELECTIONS`.

    Raises:
        DataError: the method is not known.
    """
    if method not in SELECTIONS:
        raise DataError(f"selection '{method}' is not known, expected one of {', '.join(SELECTIONS)}.")
    if len(detections) == 0:
        return NO_FACE
    preference = SELECTIONS[method](detections, height, width)
    best = int(np.argmax(preference))
    if preference[best] == -np.inf:
        return NoFace(f"no face with a score above {SURE}")
    return Face(detections.boxes[best], float(detections.scores[best]), detections.landmarks[best], best)
