# SPDX-License-Identifier: Apache-2.0
"""The faces of one photograph, and what becomes of them when it is cut, mirrored or brought to another size.

Sources of the rules: Pytorch_Retinaface, `data/data_augment.py`; Ultra-Light-Fast-Generic-Face-Detector-1MB,
`vision/transforms/transforms.py`. Both keep a face whose centre is strictly within the cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Left and right eye, nose, left and right corner of the mouth: in a mirror, left is right.
_MIRRORED = (1, 0, 2, 4, 3)

Crop = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; the last two are outside."""


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Faces of one photograph, in its pixels.

    Attributes:
        boxes: float64 [N, 4], x1 y1 x2 y2.
        landmarks: float64 [N, 5, 2], left eye, right eye, nose, left and right corner of the mouth, x y.
        known: bool [N]: whether the face has landmarks. Where not, its row of `landmarks` means nothing.
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    known: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def at(self, rows: np.ndarray) -> Faces:
        """Those that a mask or indices name."""
        return Faces(self.boxes[rows], self.landmarks[rows], self.known[rows])


def without_landmarks(boxes: np.ndarray) -> Faces:
    """Faces of which the boxes alone are known.

    Example:
        >>> len(without_landmarks(np.zeros((3, 4))))
        3
    """
    count = len(boxes)
    return Faces(np.asarray(boxes, np.float64), np.full((count, 5, 2), -1.0), np.zeros(count, bool))


def holds_a_face(boxes: np.ndarray, crop: Crop) -> bool:
    """Whether one box of at least a square pixel lies wholly within the cut."""
    within = (boxes[:, :2] >= crop[:2]) & (boxes[:, 2:] <= crop[2:])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return bool((within.all(axis=1) & (areas >= 1)).any())


def within(boxes: np.ndarray, crop: Crop) -> np.ndarray:
    """Whether each box's centre is strictly within the cut, bool [N]."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((centres > crop[:2]) & (centres < crop[2:])).all(axis=1)


def cropped(faces: Faces, crop: Crop) -> Faces:
    """Those whose centres are within, in pixels of the cut; boxes and points end at its edges."""
    kept = faces.at(within(faces.boxes, crop))
    corner, size = np.array(crop[:2]), np.subtract(crop[2:], crop[:2])
    boxes = np.clip(kept.boxes.reshape(-1, 2, 2) - corner, 0, size).reshape(-1, 4)
    return Faces(boxes, np.clip(kept.landmarks - corner, 0, size), kept.known)


def mirrored(faces: Faces, width: float) -> Faces:
    """Faces in the mirror of a picture of that width; left eye and left corner of the mouth are still the left ones."""
    boxes, landmarks = faces.boxes.copy(), faces.landmarks[:, _MIRRORED].copy()
    boxes[:, [0, 2]] = width - faces.boxes[:, [2, 0]]
    landmarks[:, :, 0] = width - landmarks[:, :, 0]
    return Faces(boxes, landmarks, faces.known)


def as_shares(faces: Faces, width: float, height: float) -> Faces:
    """Faces in shares of a picture's sides, 0..1: what a stretch to any size leaves as it is."""
    size = np.array([width, height], np.float64)
    boxes = (faces.boxes.reshape(-1, 2, 2) / size).reshape(-1, 4)
    return Faces(boxes, faces.landmarks / size, faces.known)
