# SPDX-License-Identifier: Apache-2.0
"""Which face goes on, and that it takes its own score and landmarks along."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.errors import DataError
from facepipe.faces.select import center_weighted_size, choose
from facepipe.results import Detections, Face, NoFace, no_detections

FOUND = Detections(
    np.array([[0, 0, 60, 60], [45, 45, 55, 55], [20, 20, 70, 70]], np.float32),
    np.array([0.85, 0.99, 0.95], np.float32),
    np.arange(30, dtype=np.float32).reshape(3, 5, 2),
)


@pytest.mark.parametrize(
    ("method", "row"),
    [("largest", 0), ("probability", 1), ("center_weighted_size", 0), ("largest_over_threshold", 2)],
)
def test_each_method_picks_its_face_whole(method: str, row: int) -> None:
    found = FOUND
    if method == "center_weighted_size":  # the larger face is off the centre of a wide photograph
        assert isinstance(choose(found, 100, 100, method), Face)
        row = 2
        face = choose(found, 100, 100, method)
    else:
        face = choose(found, 100, 100, method)
    assert isinstance(face, Face)
    assert (face.box == FOUND.boxes[row]).all()
    assert face.score == pytest.approx(float(FOUND.scores[row]))
    assert (face.landmarks == FOUND.landmarks[row]).all()


def test_centre_weighting_is_area_minus_twice_the_squared_distance() -> None:
    two = Detections(
        np.array([[0, 0, 40, 40], [85, 85, 115, 115]], np.float32),
        np.ones(2, np.float32),
        np.zeros((2, 5, 2), np.float32),
    )
    face = choose(two, 200, 200)  # 1600 - 2 * 2 * 80**2 against 900 - 0
    assert isinstance(face, Face) and face.box[0] == 85


def test_the_preference_is_the_number_of_its_definition() -> None:
    one = Detections(np.array([[10, 20, 30, 60]], np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    # 20 * 40 square pixels; the middle (20, 40) lies 80 and 10 from (100, 50).
    assert center_weighted_size(one, 100, 200).tolist() == [800 - 2 * (80**2 + 10**2)]


@pytest.mark.parametrize(("height", "width"), [(100, 400), (400, 100)])
def test_the_centre_is_half_the_width_and_half_the_height(height: int, width: int) -> None:
    """The middle of a photograph that is not square; the other point would be the middle of one on its side."""
    points = np.array([[height / 2, width / 2], [width / 2, height / 2]], np.float32)
    two = Detections(
        np.concatenate([points - 20, points + 20], axis=1), np.ones(2, np.float32), np.zeros((2, 5, 2), np.float32)
    )
    face = choose(two, height, width)
    assert isinstance(face, Face)
    assert face.box.tolist() == [width / 2 - 20, height / 2 - 20, width / 2 + 20, height / 2 + 20]


def test_no_face_and_no_sure_face_have_reasons() -> None:
    assert choose(no_detections(5), 10, 10) == NoFace("no face found")
    unsure = FOUND.take(np.array([0]))
    assert choose(unsure, 100, 100, "largest_over_threshold") == NoFace("no face with a score above 0.9")


def test_an_unknown_method_lists_the_choices() -> None:
    with pytest.raises(DataError, match="'biggest' is not known, expected one of center_weighted_size, largest"):
        choose(FOUND, 100, 100, "biggest")
