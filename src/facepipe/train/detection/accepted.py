# SPDX-License-Identifier: Apache-2.0
"""Which of a photograph's labelled faces a detector is trained on: what is cut, what is left out, what is refused."""

from __future__ import annotations

import numpy as np

from facepipe.errors import DataError
from facepipe.geometry.boxes import clip
from facepipe.train.detection.boxed import Faces


def accepted(faces: Faces, height: int, width: int, where: str) -> tuple[Faces, int]:
    """Faces as a label file has them to faces that can be trained on, in pixels; and how many were left out.

    A box that reaches beyond its photograph is cut to it: what is outside cannot be seen. What has no area, from the
    beginning or then, is left out and counted: WIDER FACE's own labels have such boxes. A box of negative size, or a
    number that is none, is refused: corners that were read as sizes look like that.

    Args:
        faces: in pixels of the photograph.
        height: of the photograph.
        width: of the photograph.
        where: the label file and line, or the photograph, for the error.

    Raises:
        DataError: a box of negative size, a number that is not finite.
    """
    boxes = faces.boxes
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if bad.any():
        x1, y1, x2, y2 = boxes[bad][0].tolist()
        raise DataError(
            f"{where}: a box has the corners ({x1:g}, {y1:g}) and ({x2:g}, {y2:g}), expected x1 <= x2 and y1 <= y2.",
            "whether the labels hold corners or left, top, width and height.",
        )
    if not np.isfinite(faces.landmarks[faces.known]).all():
        raise DataError(f"{where}: a landmark is not finite, expected numbers, or a face marked as without.")
    cut = clip(boxes, height, width)
    seen = (cut[:, 2:] > cut[:, :2]).all(axis=1)
    return Faces(cut[seen], faces.landmarks[seen], faces.known[seen]), int((~seen).sum())
