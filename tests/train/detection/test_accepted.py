# SPDX-License-Identifier: Apache-2.0
"""Labels that are wrong: cut, left out and counted, or refused with their place."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.errors import DataError
from facepipe.train.detection.accepted import accepted
from facepipe.train.detection.boxed import Faces


def _accepted(*boxes: tuple[float, ...], points: float = 32, known: bool = True) -> tuple[Faces, int]:
    """Of a photograph of 128 x 64 pixels."""
    count = len(boxes)
    faces = Faces(np.array(boxes).reshape(count, 4), np.full((count, 5, 2), points), np.full(count, known))
    return accepted(faces, 64, 128, "label.txt, line 7")


def test_boxes_are_cut_to_their_photograph_and_what_has_no_area_is_left_out() -> None:
    faces, left_out = _accepted((-10, 8, 64, 90), (130, 0, 140, 10), (5, 5, 5, 9), (0, 0, 128, 64), (-4, 0, 0, 9))
    assert faces.boxes.tolist() == [[0, 8, 64, 64], [0, 0, 128, 64]]
    assert faces.landmarks.shape == (2, 5, 2)
    assert faces.known.tolist() == [True, True]
    assert left_out == 3


def test_a_photograph_without_a_face_stays_one() -> None:
    faces, left_out = _accepted()
    assert (len(faces.boxes), left_out) == (0, 0)


@pytest.mark.parametrize("box", [(10, 5, 9, 9), (10, 5, 12, 4), (1, 1, np.nan, 9), (1, 1, np.inf, 9)])
def test_a_box_of_negative_size_is_refused_with_its_place(box: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match=r"^label\.txt, line 7: a box has the corners .*Try: whether the labels hold"):
        _accepted((0, 0, 5, 5), box)


def test_a_landmark_that_is_no_number_is_refused_where_it_is_known() -> None:
    with pytest.raises(DataError, match=r"^label\.txt, line 7: a landmark is not finite"):
        _accepted((0, 0, 5, 5), points=np.inf)
    assert _accepted((0, 0, 5, 5), points=np.inf, known=False)[1] == 0
