# SPDX-License-Identifier: Apache-2.0
"""Cuts, mirrors and shares: the published programs' answers for given cuts, and what holds for any box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepipe.train.detection.boxed import (
    Faces,
    as_shares,
    cropped,
    holds_a_face,
    mirrored,
    within,
    without_landmarks,
)

CLOSE = 3e-8  # the published programs keep some of these in float32


@pytest.fixture(scope="module")
def answers(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "training/augment.json").read_text(encoding="utf-8"))


def faces_of(picture: dict[str, Any]) -> Faces:
    points = np.array(picture["landmarks"]).reshape(-1, 5, 2)
    return Faces(np.array(picture["boxes"]), points, np.array(picture["has_landmarks"]))


def same(ours: np.ndarray, theirs: list[Any], close: float = CLOSE) -> None:
    np.testing.assert_allclose(ours.reshape(len(ours), -1), np.reshape(theirs, (len(ours), -1)), rtol=close, atol=close)


@pytest.mark.assets
@pytest.mark.parametrize("family", ["retinaface", "ultraface"])
def test_given_cuts_are_accepted_and_change_faces_as_in_the_published_programs(
    answers: dict[str, Any], family: str
) -> None:
    asked = answers[family]["given_crops"]
    assert len(asked) == {"retinaface": 15, "ultraface": 13}[family]
    for case in asked:
        faces, crop = faces_of(answers["pictures"][case["picture"]]), tuple(case["crop"])
        assert holds_a_face(faces.boxes, crop) == case["accepted"], case
        if not case["accepted"]:
            continue
        assert np.flatnonzero(within(faces.boxes, crop)).tolist() == case["kept"]
        width, height = crop[2] - crop[0], crop[3] - crop[1]
        seen = cropped(faces, crop)
        seen = mirrored(seen, width) if case["mirror"] else seen
        same(seen.boxes, case["boxes_pixels"])
        shares = as_shares(seen, width, height)
        same(shares.boxes, case["boxes"], 6e-8)
        if family == "retinaface":
            same(seen.landmarks, case["landmarks_pixels"])
            same(shares.landmarks, case["landmarks"])


@pytest.mark.assets
def test_a_padded_photograph_has_faces_in_shares_of_the_square(answers: dict[str, Any]) -> None:
    for case in answers["retinaface"]["padded"]:
        picture = answers["pictures"][case["picture"]]
        faces = faces_of(picture)
        side = max(picture["width"], picture["height"])
        assert side == case["side"]
        shares = as_shares(mirrored(faces, side) if case["mirror"] else faces, side, side)
        same(shares.boxes, case["boxes"])
        same(shares.landmarks, case["landmarks"])


numbers = st.floats(0, 400, allow_nan=False, width=32)


@st.composite
def any_faces(draw: st.DrawFn) -> Faces:
    rows = draw(st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=6))
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows]).reshape(-1, 4)
    points = np.array([draw(st.lists(numbers, min_size=10, max_size=10)) for _ in rows]).reshape(-1, 5, 2)
    return Faces(boxes, points, np.array([draw(st.booleans()) for _ in rows], bool))


@given(any_faces())
def test_two_mirrors_leave_a_face_as_it_is(faces: Faces) -> None:
    again = mirrored(mirrored(faces, 400), 400)
    np.testing.assert_allclose(again.boxes, faces.boxes, atol=1e-12)
    np.testing.assert_allclose(again.landmarks, faces.landmarks, atol=1e-12)


@given(any_faces(), st.tuples(*[st.integers(0, 399)] * 2), st.tuples(*[st.integers(1, 400)] * 2))
def test_what_is_kept_has_its_centre_in_the_cut_and_ends_at_its_edges(
    faces: Faces, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    crop = (*corner, corner[0] + size[0], corner[1] + size[1])
    seen = cropped(faces, crop)
    assert len(seen) == within(faces.boxes, crop).sum()
    assert (seen.boxes >= 0).all() and (seen.boxes <= [*size, *size]).all()
    assert (seen.boxes[:, 2:] >= seen.boxes[:, :2]).all()
    if holds_a_face(faces.boxes, crop):
        assert len(seen), "a face that lies wholly in a cut has its centre there"


def test_a_mirror_swaps_the_eyes_and_the_corners_of_the_mouth() -> None:
    points = np.array([[[10.0, 1], [20, 2], [15, 3], [11, 4], [19, 5]]])
    seen = mirrored(Faces(np.array([[5.0, 0, 30, 9]]), points, np.array([True])), 100)
    assert seen.boxes.tolist() == [[70, 0, 95, 9]]
    assert seen.landmarks.tolist() == [[[80, 2], [90, 1], [85, 3], [81, 5], [89, 4]]]


def test_a_photograph_without_a_face_stays_one() -> None:
    none = without_landmarks(np.empty((0, 4)))
    assert [len(change) for change in (cropped(none, (0, 0, 9, 9)), mirrored(none, 9), as_shares(none, 9, 9))] == [
        0
    ] * 3
    assert not holds_a_face(none.boxes, (0, 0, 9, 9))


def test_a_face_of_less_than_a_pixel_is_no_reason_for_a_cut() -> None:
    assert not holds_a_face(np.array([[4, 4, 4.9, 5.0]]), (0, 0, 9, 9))
    assert holds_a_face(np.array([[4, 4, 5.0, 5.0]]), (0, 0, 9, 9))
