# SPDX-License-Identifier: Apache-2.0
"""Matching against the authors' answers and against a slow program; labels that are wrong; boxes there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detector_loss_answers import FAMILIES, Published, read
from hypothesis import given
from hypothesis import strategies as st
from slow_multibox import slow_match

from facepipe.errors import DataError
from facepipe.geometry.anchors import decode_boxes, decode_landmarks, encode_boxes, encode_landmarks, priors
from facepipe.specs import BoxCode, PriorLayout
from facepipe.train.detection.boxed import Faces, without_landmarks
from facepipe.train.losses.matching import (
    REPAIRED,
    RETINAFACE,
    RETINAFACE_SEED,
    ULTRAFACE,
    Defects,
    Rule,
    defects_of,
    match,
)

CODE = BoxCode(centre=0.1, size=0.2)
PRIORS = priors(PriorLayout(strides=(8, 16), sides=((10, 16), (32,)), even=False, clipped=False), 64, 96)
"""A hundred or so, for slow programs."""
AWAY = 2e-6
"""What encoded targets may differ by."""


@pytest.fixture(scope="module", params=FAMILIES)
def published(request: pytest.FixtureRequest, golden: Path) -> Published:
    return read(golden, request.param)


@pytest.fixture(scope="module")
def retinaface(golden: Path) -> Published:
    return read(golden, "retinaface")


# What the authors answer


def test_the_priors_are_the_authors(published: Published) -> None:
    rows = published.answers["priors_first_last_index"]
    assert np.array_equal(published.priors[rows], published.answers["priors_first_last"])
    assert published.priors.sum(dtype=np.float64) == pytest.approx(float(published.answers["priors_sum"]), abs=1e-9)


def _assert_as_stored(published: Published, faces: str, stored: str, defects: Defects) -> None:
    found, answers = published.targets(faces, defects), published.answers
    assert np.array_equal(found.priors, answers[f"{stored}_positive_priors"])
    assert np.abs(found.boxes - answers[f"{stored}_boxes"]).max(initial=0) <= AWAY
    if published.family == "retinaface":
        assert np.array_equal(np.where(found.known, 1, -1), answers[f"{stored}_class"])
        away = (found.landmarks - answers[f"{stored}_landmarks"])[found.known]
        assert np.abs(away).max(initial=0) <= AWAY
        assert not found.landmarks[~found.known].any()


@pytest.mark.parametrize("seed", [True, False])
def test_pictures_have_the_authors_targets_with_their_defects_and_without(published: Published, seed: bool) -> None:
    """No dropped face of these pictures takes a prior from another."""
    pictures = 5 if published.family == "retinaface" else 4
    for number in range(pictures):
        defects = defects_of(published.family, seed=seed)
        _assert_as_stored(published, f"faces_{number}", f"target_{number}", defects)


def test_special_cases_are_the_authors_with_their_defects(published: Published) -> None:
    cases = [name.removesuffix("_faces") for name in published.answers if name.endswith("_faces")]
    cases = [name for name in cases if name.startswith("special_")]
    assert len(cases) == (4 if published.family == "retinaface" else 3)
    for case in cases:
        _assert_as_stored(published, f"{case}_faces", case, published.seed())
        if case != "special_small_face_overwrites":
            _assert_as_stored(published, f"{case}_faces", case, REPAIRED)


def test_repaired_a_dropped_face_takes_no_prior(retinaface: Published) -> None:
    """Prior 6156 is the 20-pixel face's, in both orders: as in `special_small_face_first`."""
    found = retinaface.targets("special_small_face_overwrites_faces", REPAIRED)
    assert found.priors.tolist() == [6156, 6157]
    assert np.abs(found.boxes - retinaface.answers["special_small_face_first_boxes"]).max() <= AWAY


# Against a slow program


_side = st.floats(0.5, 60, width=32)
_corner = st.floats(-10, 90, width=32)
_boxes = st.lists(st.tuples(_corner, _corner, _side, _side), max_size=6)


def _of_pixels(drawn: list[tuple[float, float, float, float]]) -> np.ndarray:
    pixels = np.array(drawn, np.float32).reshape(-1, 4)
    pixels[:, 2:] += pixels[:, :2]
    return pixels / np.array([96, 64, 96, 64], np.float32)


@given(_boxes, st.sampled_from([ULTRAFACE, RETINAFACE]), st.booleans())
def test_priors_are_those_of_the_slow_program(
    drawn: list[tuple[float, float, float, float]], rule: Rule, literal: bool
) -> None:
    boxes = _of_pixels(drawn)
    found = match(without_landmarks(boxes), PRIORS, CODE, rule, RETINAFACE_SEED if literal else REPAIRED)
    slow = slow_match(
        boxes, PRIORS, threshold=rule.threshold, least=rule.least, added=rule.added, dropped_claim=literal
    )
    assert found.priors.tolist() == sorted(slow)
    expected = boxes[[slow[prior] for prior in sorted(slow)]]
    assert np.array_equal(found.boxes, encode_boxes(expected, PRIORS[found.priors], CODE))
    assert found.faces == len(boxes)


def test_of_two_equal_faces_the_first_has_the_priors_and_the_later_the_claimed_one() -> None:
    boxes = _of_pixels([(20, 20, 16, 16), (20, 20, 16, 16)]).astype(np.float64)
    found = match(Faces(boxes, np.full((2, 5, 2), 0.3), np.array([True, False])), PRIORS, CODE, ULTRAFACE)
    assert len(found.priors) > 1
    assert (~found.known).sum() == 1


def test_a_dropped_face_takes_no_prior_that_another_overlaps_enough() -> None:
    """With the defect it does, wherever it stands in the list."""
    boxes = _of_pixels([(11, 11, 2, 2), (6, 6, 13, 13)]).astype(np.float64)  # the first: below .2 of a 10-pixel prior
    faces = Faces(boxes, np.full((2, 5, 2), 0.3), np.array([True, False]))
    repaired = match(faces, PRIORS, CODE, RETINAFACE)
    literal = match(faces, PRIORS, CODE, RETINAFACE, RETINAFACE_SEED)
    assert repaired.priors.tolist() == literal.priors.tolist()
    assert (repaired.known.sum(), literal.known.sum()) == (0, 1)


@given(_boxes.filter(len))
def test_every_face_that_is_not_dropped_is_found_unless_a_later_one_claims_its_prior(
    drawn: list[tuple[float, float, float, float]],
) -> None:
    found = match(without_landmarks(_of_pixels(drawn)), PRIORS, CODE, ULTRAFACE)
    assert len(found.priors) >= 1
    assert np.isfinite(found.boxes).all()


@given(_boxes, st.lists(st.floats(-2, 3, width=32), min_size=10, max_size=10))
def test_offsets_lead_back_to_boxes_and_landmarks(
    drawn: list[tuple[float, float, float, float]], points: list[float]
) -> None:
    boxes = _of_pixels(drawn)
    landmarks = np.tile(np.array(points, np.float32).reshape(1, 5, 2), (len(boxes), 1, 1))
    found = match(Faces(boxes, landmarks, np.ones(len(boxes), np.bool_)), PRIORS, CODE, RETINAFACE)
    own = PRIORS[found.priors]
    back = decode_boxes(found.boxes, own, CODE)
    assert all(np.abs(boxes - one).max(axis=1).min() <= 1e-5 for one in back)
    if len(own):
        assert np.abs(decode_landmarks(found.landmarks, own, CODE) - landmarks[0]).max() <= 1e-5
        assert np.array_equal(found.landmarks, encode_landmarks(landmarks[:1].repeat(len(own), 0), own, CODE))


# Bad input


def test_a_picture_without_a_face_has_no_positives() -> None:
    """UltraFace's own matcher ends with an IndexError there."""
    for rule in (ULTRAFACE, RETINAFACE):
        found = match(without_landmarks(np.zeros((0, 4), np.float32)), PRIORS, CODE, rule)
        assert (found.faces, len(found.priors), found.boxes.shape) == (0, 0, (0, 4))


def test_landmarks_of_some_faces_only_and_what_the_others_hold_does_not_matter() -> None:
    boxes = _of_pixels([(4, 4, 16, 16), (40, 30, 20, 20)])
    landmarks = np.full((2, 5, 2), 0.25, np.float32)
    landmarks[1] = np.nan
    found = match(Faces(boxes, landmarks, np.array([True, False])), PRIORS, CODE, RETINAFACE)
    assert 0 < found.known.sum() < len(found.known)
    assert not found.landmarks[~found.known].any()
    assert np.isfinite(found.landmarks).all()


@pytest.mark.parametrize(
    "box",
    [(0.5, 0.5, 0.5, 0.7), (0.5, 0.5, 0.7, 0.5), (0.7, 0.5, 0.5, 0.7), (0.1, 0.1, np.nan, 0.2), (0, 0, np.inf, 1)],
)
def test_a_box_without_an_area_never_becomes_a_target(box: tuple[float, ...]) -> None:
    """The authors' programs make a target of minus infinity of it, and a loss that is none."""
    with pytest.raises(DataError, match="expected x1 < x2 and y1 < y2"):
        match(without_landmarks(np.array([box])), PRIORS, CODE, ULTRAFACE)


def test_a_box_that_has_no_area_in_float32_never_becomes_a_target() -> None:
    with pytest.raises(DataError, match="expected x1 < x2 and y1 < y2"):
        match(without_landmarks(np.array([[0.5, 0.5, 0.5 + 1e-9, 0.7]])), PRIORS, CODE, ULTRAFACE)


def test_a_known_landmark_that_is_no_number_is_refused() -> None:
    faces = Faces(np.array([[0.1, 0.1, 0.3, 0.3]]), np.full((1, 5, 2), np.nan), np.ones(1, np.bool_))
    with pytest.raises(DataError, match="a known landmark is not finite"):
        match(faces, PRIORS, CODE, RETINAFACE)
