# SPDX-License-Identifier: Apache-2.0
"""Which priors of a detector shall find which face of a picture, and what numbers they shall give for it.

SSD's matching (Liu et al. 2016, section 2.2) as UltraFace's and RetinaFace's authors train it: a prior belongs to the
face that it overlaps most, where that is enough; and every face claims the prior that overlaps it most.

All of it is float32 in a fixed order of operations, which is part of the rule: many small faces lie wholly inside
several priors of one size, and which of those is best is then decided by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from facepipe.errors import DataError
from facepipe.geometry.anchors import encode_boxes, encode_landmarks
from facepipe.specs import BoxCode
from facepipe.train.detection.boxed import Faces

_CLAIMED = np.float32(2)
"""In place of the IoU of a prior that a face claims: above any, as both authors write it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a prior belongs to a face.

    Attributes:
        threshold: IoU from which on it does.
        least: a face whose best IoU is below it claims no prior: too small to be found.
        added: to the area of the union, in areas of the input.
    """

    threshold: float = 0.35
    least: float = 0.0
    added: float = 0.0


ULTRAFACE = Rule(added=1e-5)
"""vision/utils/box_utils.py::assign_priors and iou_of."""
RETINAFACE = Rule(least=0.2)
"""utils/box_utils.py::match and jaccard of Pytorch_Retinaface."""


@dataclass(frozen=True, slots=True)
class Defects:
    """What the published trainers do wrong, by name. All are repaired where nothing else is said.

    Attributes:
        dropped_claim: a face that is too small to claim a prior takes it all the same from the face that it belongs to
            (from one that claimed it, where it stands later in the list): the prior then learns the small face's box.
        none_is_nan: a batch without a positive prior has the loss 0 / 0.
        faceless_silent: of a picture without a face nothing is learned.
    """

    dropped_claim: bool = False
    none_is_nan: bool = False
    faceless_silent: bool = False


REPAIRED = Defects()
ULTRAFACE_SEED = Defects(none_is_nan=True, faceless_silent=True)
RETINAFACE_SEED = Defects(dropped_claim=True, faceless_silent=True)


def defects_of(family: Literal["ultraface", "retinaface"], *, seed: bool) -> Defects:
    """With `seed` what the family's published trainer does, to the letter; else nothing of it.

    Example:
        >>> defects_of("ultraface", seed=True).none_is_nan
        True
    """
    if not seed:
        return REPAIRED
    return ULTRAFACE_SEED if family == "ultraface" else RETINAFACE_SEED


@dataclass(frozen=True, slots=True)
class Targets:
    """What the network shall answer for a picture; all other priors shall say "no face".

    Attributes:
        faces: of the picture, whether a prior belongs to them or not.
        priors: int64 [n], ascending: those that belong to a face, the positives.
        boxes: float32 [n, 4], the offsets that they shall give.
        landmarks: float32 [n, 2 K], likewise; 0 where they are not known.
        known: bool [n]: whose landmarks are.
    """

    faces: int
    priors: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray
    known: np.ndarray


def match(faces: Faces, priors: np.ndarray, code: BoxCode, rule: Rule, defects: Defects = REPAIRED) -> Targets:
    """The targets of a picture.

    Of two faces that claim one prior the later has it. On a tie the first prior, and the first face, is best.

    Args:
        faces: in units of the input's sides (`as_shares`); they are rounded to float32. Each box has an area, parts of
            it may lie outside. Landmarks that are not known may be anything.
        priors: float32 [P, 4], of `geometry.anchors.priors`.
        code: how offsets move a prior.
        rule: the family's.
        defects: of the published trainers, that shall be as there.

    Returns:
        The positives in the priors' order. A picture without a face has none.

    Raises:
        DataError: a box without an area, of which offsets would be infinite; a number that is not finite.
    """
    boxes = _checked(faces)
    best, face, claims = _best(boxes, priors, rule)
    claiming = claims.overlaps >= np.float32(rule.least)
    best[claims.priors[claiming]] = _CLAIMED
    for number in range(len(boxes)):
        if claiming[number] or defects.dropped_claim:
            face[claims.priors[number]] = number
    positives = np.flatnonzero(best >= np.float32(rule.threshold))
    of_face, own = face[positives], priors[positives]
    known = faces.known[of_face]
    points = faces.landmarks[of_face].astype(np.float32)
    landmarks = np.where(known[:, None, None], points, own[:, None, :2])  # an offset of 0
    return Targets(
        faces=len(boxes),
        priors=positives,
        boxes=encode_boxes(boxes[of_face], own, code),
        landmarks=encode_landmarks(landmarks, own, code),
        known=known,
    )


def _checked(faces: Faces) -> np.ndarray:
    """The boxes, float32 [N, 4]."""
    boxes = faces.boxes.astype(np.float32)
    bad = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    if bad.any():
        raise DataError(f"faces: a box is {boxes[bad][0].tolist()}, expected x1 < x2 and y1 < y2.")
    if not np.isfinite(faces.landmarks[faces.known]).all():
        raise DataError("faces: a known landmark is not finite, expected numbers.")
    return boxes


@dataclass(frozen=True, slots=True)
class _Claims:
    """Of each face the prior that overlaps it most: priors int64 [N], overlaps float32 [N]."""

    priors: np.ndarray
    overlaps: np.ndarray


def _best(boxes: np.ndarray, priors: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray, _Claims]:
    """Of each prior the largest IoU float32 [P] and whose it is int64 [P]; of each face its claim.

    Face by face: a table of 2,000 faces and 16,800 priors would be 134 MB.

    Source:
        Areas and intersections are products of differences; the union is face + prior - intersection (+ added).
    """
    half = priors[:, 2:] / np.float32(2)
    # Columns of their own, so that each operation goes through memory in order.
    left, top = np.ascontiguousarray((priors[:, :2] - half).T)
    right, bottom = np.ascontiguousarray((priors[:, :2] + half).T)
    areas = (right - left) * (bottom - top)
    best, face = np.zeros(len(priors), np.float32), np.zeros(len(priors), np.int64)
    claims = _Claims(np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.float32))
    zero, added = np.float32(0), np.float32(rule.added)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        width = np.maximum(np.minimum(x2, right) - np.maximum(x1, left), zero)
        height = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), zero)
        intersection = width * height
        overlap = intersection / ((x2 - x1) * (y2 - y1) + areas - intersection + added)
        claims.priors[number] = overlap.argmax()
        claims.overlaps[number] = overlap[claims.priors[number]]
        better = np.flatnonzero(overlap > best)  # few
        best[better], face[better] = overlap[better], number
    return best, face, claims
