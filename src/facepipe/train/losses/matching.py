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
from facepipe.geometry.boxes import clip
from facepipe.specs import BoxCode

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
        dropped_claim: a face that is too small to claim a prior takes it all the same from a face that claimed it,
            where it stands later in the list: the prior is then trained to give the small face's box.
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
class Faces:
    """The faces of a picture as the network is shown it.

    Attributes:
        boxes: float32 [N, 4], corners in units of the input's sides; each has an area, parts may lie outside.
        landmarks: float32 [N, K, 2], in units of the input's sides; K is 0 where the family has none. Rows that are not
            `known` may hold anything.
        known: bool [N]: whose landmarks are known.

    Raises:
        DataError: another dtype or shape, a number that is none, a box without an area.
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    known: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.boxes)
        for name, array, dtype, fits in (
            ("boxes", self.boxes, np.float32, self.boxes.shape == (count, 4)),
            ("landmarks", self.landmarks, np.float32, self.landmarks.ndim == 3 and len(self.landmarks) == count),
            ("known", self.known, np.bool_, self.known.shape == (count,)),
        ):
            if array.dtype != dtype or not fits:
                expected = {"boxes": "float32 [N, 4]", "landmarks": "float32 [N, K, 2]", "known": "bool [N]"}[name]
                raise DataError(f"faces: {name} is {array.dtype} {list(array.shape)}, expected {expected}.")
        if not np.isfinite(self.landmarks[self.known]).all():
            raise DataError("faces: a known landmark is not finite, expected numbers.")
        bad = ~(np.isfinite(self.boxes).all(axis=1) & (self.boxes[:, 2:] > self.boxes[:, :2]).all(axis=1))
        if bad.any():
            raise DataError(f"faces: a box is {self.boxes[bad][0].tolist()}, expected x1 < x2 and y1 < y2.")


def boxes_only(boxes: np.ndarray) -> Faces:
    """Faces without landmarks, from float32 [N, 4]."""
    return Faces(boxes, np.zeros((len(boxes), 0, 2), np.float32), np.zeros(len(boxes), np.bool_))


def labelled_faces(
    boxes: np.ndarray, landmarks: np.ndarray, known: np.ndarray, height: int, width: int, where: str
) -> tuple[Faces, int]:
    """Faces as a label file has them, in pixels, to faces in units of the picture's sides; and how many were left out.

    A box that reaches beyond its picture is cut to it: what is outside cannot be seen. What has no area, then or from
    the beginning, is left out and counted: WIDER FACE's own labels have such boxes. A box of negative size, or a number
    that is none, is refused: there are none in WIDER FACE, and corners that were read as sizes look like that.

    Args:
        boxes: float32 [N, 4], corners.
        landmarks: float32 [N, K, 2].
        known: bool [N].
        height: of the picture.
        width: of the picture.
        where: the label file and line, or the picture, for the error.

    Raises:
        DataError: a box of negative size, a number that is not finite.
    """
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if bad.any():
        x1, y1, x2, y2 = boxes[bad][0].tolist()
        raise DataError(
            f"{where}: a box has the corners ({x1:g}, {y1:g}) and ({x2:g}, {y2:g}), expected x1 <= x2 and y1 <= y2.",
            "whether the labels hold corners or left, top, width and height.",
        )
    if not np.isfinite(landmarks[known]).all():
        raise DataError(f"{where}: a landmark is not finite, expected numbers, or a face marked as without.")
    sides = np.array([width, height], np.float32)
    cut = clip(boxes, height, width) / np.tile(sides, 2)
    seen = (cut[:, 2:] > cut[:, :2]).all(axis=1)
    return Faces(cut[seen], landmarks[seen] / sides, known[seen]), int((~seen).sum())


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
        faces: of the picture, in units of the input's sides.
        priors: float32 [P, 4], of `geometry.anchors.priors`.
        code: how offsets move a prior.
        rule: the family's.
        defects: of the published trainers, that shall be as there.

    Returns:
        The positives in the priors' order. A picture without a face has none.
    """
    best, face, claims = _best(faces.boxes, priors, rule)
    claiming = claims.overlaps >= np.float32(rule.least)
    best[claims.priors[claiming]] = _CLAIMED
    for number in range(len(faces.boxes)):
        if claiming[number] or defects.dropped_claim:
            face[claims.priors[number]] = number
    positives = np.flatnonzero(best >= np.float32(rule.threshold))
    of_face, own = face[positives], priors[positives]
    known = faces.known[of_face]
    landmarks = np.where(known[:, None, None], faces.landmarks[of_face], own[:, None, :2])  # an offset of 0
    return Targets(
        faces=len(faces.boxes),
        priors=positives,
        boxes=encode_boxes(faces.boxes[of_face], own, code),
        landmarks=encode_landmarks(landmarks, own, code),
        known=known,
    )


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
