# SPDX-License-Identifier: Apache-2.0
"""What travels between functions: detections of an image, the face that was chosen, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The faces found in one image, in the detector's order.

    Args:
        boxes: float32 [N, 4], corners x1, y1, x2, y2 in pixels of the original image.
        scores: float32 [N], in [0, 1].
        landmarks: float32 [N, K, 2], x and y in pixels. K is 0 where the detector gives none; 5 means left eye,
            right eye, nose, left mouth corner, right mouth corner, as they lie in the picture; 6 (BlazeFace): left eye,
            right eye, nose, middle of the mouth, left ear, right ear.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: np.ndarray) -> Detections:
        """The detections at `rows` (int [M] or bool [N]), all three arrays alike."""
        return Detections(self.boxes[rows], self.scores[rows], self.landmarks[rows])

    def scaled(self, across: float, down: float) -> Detections:
        """The same faces in a copy of the image whose sides are so many times as long; the very same for 1 and 1."""
        by = np.array([across, down], np.float32)
        return Detections(self.boxes * np.tile(by, 2), self.scores, self.landmarks * by)


def no_detections(landmark_count: int = 0) -> Detections:
    """Zero faces, with arrays of the right rank."""
    return Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, landmark_count, 2), np.float32)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face of an image.

    Attributes:
        box: float32 [4], corners in pixels.
        score: the detector's.
        landmarks: float32 [K, 2].
        number: its place in the detector's order, from 0: the best score first.
        sharpness: of its crop (`geometry.align.sharpness`); None while it is not cut out.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray
    number: int = 0
    sharpness: float | None = None

    def scaled(self, across: float, down: float) -> Face:
        """The same face in a copy of the image whose sides are so many times as long."""
        by = np.array([across, down], np.float32)
        return replace(self, box=self.box * np.tile(by, 2), landmarks=self.landmarks * by)


@dataclass(frozen=True, slots=True, eq=False)
class UncutFace:
    """A face that was found and gives no crop, and why, in words for the user."""

    face: Face
    reason: str


@dataclass(frozen=True, slots=True)
class NoFace:
    """Why a photograph that was looked at has no face that goes on, in words for the user."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a photograph could not be looked at, in words for the user: nobody knows whether it has a face."""

    reason: str


@dataclass(frozen=True, slots=True)
class Killed:
    """How a photograph ended every process that looked at it: nobody knows what is on it.

    Attributes:
        how: in words that follow "the process": "ended with signal SIGSEGV".
    """

    how: str


Outcome = Face | UncutFace | NoFace | Unread | Killed
"""What became of one photograph, or of one of its faces where all go on."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedFace:
    """A face and its embedding, float32 [D] of length 1."""

    face: Face
    embedding: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class PictureFaces:
    """All faces of one picture, in the detector's order, and why some that were found could not be cut out."""

    faces: tuple[EmbeddedFace, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FaceLine:
    """One line of faces.jsonl: a face of a photograph, or why the photograph has none.

    Attributes:
        row: of embeddings.npy; None without an embedding, and before it is written.
        group: the person that the face was put to, where faces were grouped; None elsewhere.
        weak: why the face was not let link others to that person; None where it was.
    """

    key: str
    outcome: Outcome
    row: int | None = None
    group: str | None = None
    weak: str | None = None
