# SPDX-License-Identifier: Apache-2.0
"""What a detector sees: pixels against OpenCV's own, plans of the published programs, draws that no process changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="training of detectors needs the extra [train]")

from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.train.detection.boxed import Faces, without_landmarks  # noqa: E402
from facepipe.train.detection.colours import Colours  # noqa: E402
from facepipe.train.detection.opencv import INTERPOLATIONS  # noqa: E402
from facepipe.train.detection.views import (  # noqa: E402
    RETINAFACE_SCALES,
    Example,
    Plan,
    retinaface_example,
    retinaface_plan,
    ultraface_example,
    ultraface_plan,
)
from facepipe.train.draws import generator  # noqa: E402

RETINAFACE = MODELS["retinaface.mobilenet0.25"].pixels
ULTRAFACE = MODELS["ultraface.slim-320"].pixels
PLAIN = Colours(contrast_first=False)
FACES = Faces(
    np.array([[20.0, 30, 60, 80], [120, 10, 124, 16], [90, 60, 150, 140]]),
    np.arange(30, dtype=float).reshape(3, 5, 2) + 40,
    np.array([True, False, True]),
)
# The published draws' words for OpenCV's flags, in their order.
FLAGS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LANCZOS4)


def noisy(height: int = 150, width: int = 200) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


def retinaface(picture: np.ndarray, plan: Plan, faces: Faces = FACES, side: int = 64) -> Example:
    return retinaface_example(picture, faces, side, RETINAFACE, plan)


def ultraface(picture: np.ndarray, plan: Plan, faces: Faces = FACES) -> Example:
    return ultraface_example(picture, faces, 64, 48, ULTRAFACE, plan)


@pytest.fixture(scope="module")
def answers(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "training/augment.json").read_text(encoding="utf-8"))


def faces_of(picture: dict[str, Any]) -> Faces:
    points = np.array(picture["landmarks"]).reshape(-1, 5, 2)
    return Faces(np.array(picture["boxes"]), points, np.array(picture["has_landmarks"]))


@pytest.mark.assets
def test_plans_that_pytorch_retinaface_drew_have_its_faces(answers: dict[str, Any]) -> None:
    assert len(answers["retinaface"]["draws"]) == 20
    for case in answers["retinaface"]["draws"]:
        told = answers["pictures"][case["picture"]]
        crop = tuple(case["crop"]) if case["crop_found"] else None
        plan = Plan(crop, PLAIN, case["mirror"], case["interpolation"].lower())
        seen = retinaface(np.zeros((told["height"], told["width"], 3), np.uint8), plan, faces_of(told))
        assert seen.rows.tolist() == case["kept"]
        np.testing.assert_allclose(seen.faces.boxes, case["boxes"], rtol=0, atol=3e-8)
        np.testing.assert_allclose(seen.faces.landmarks.reshape(-1, 10), case["landmarks"], rtol=0, atol=3e-8)


@pytest.mark.assets
def test_plans_that_ultraface_drew_have_its_faces(answers: dict[str, Any]) -> None:
    assert len(answers["ultraface"]["draws"]) == 20
    for case in answers["ultraface"]["draws"]:
        told = answers["pictures"][case["picture"]]
        assert not case["cropped"]
        picture = np.zeros((told["height"], told["width"], 3), np.uint8)
        seen = ultraface(picture, Plan(None, PLAIN, case["mirror"]), faces_of(told))
        assert seen.rows.tolist() == case["kept"]
        np.testing.assert_allclose(seen.faces.boxes, case["boxes"], rtol=0, atol=1e-7)


@pytest.mark.assets
def test_a_cut_is_drawn_where_pytorch_retinaface_finds_one_and_none_where_it_finds_none(
    answers: dict[str, Any],
) -> None:
    """The fourth picture's face is higher than every cut."""
    for number, told in enumerate(answers["pictures"]):
        found = {case["crop_found"] for case in answers["retinaface"]["draws"] if case["picture"] == number}
        plan = retinaface_plan(told["height"], told["width"], faces_of(told), generator(1, "augment", 0, number))
        assert {plan.crop is not None} == found


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("name, flag", list(zip(INTERPOLATIONS, FLAGS, strict=True)))
@pytest.mark.parametrize("side", [64, 301])
def test_retinafaces_pixels_are_opencvs_on_the_same_cut(name: Any, flag: int, side: int, mirror: bool) -> None:
    """In BGR, as the published program has it from `imread` to the mean."""
    picture, crop = noisy(), (7, 3, 127, 123)
    cut = picture[3:123, 7:127, ::-1]
    theirs = cv2.resize(cut[:, ::-1] if mirror else cut, (side, side), interpolation=flag).astype(np.float32)
    theirs -= (104, 117, 123)
    seen = retinaface(picture, Plan(crop, PLAIN, mirror, name), side=side)
    # Colours go to HSV and back in bytes, whatever is drawn: what that loses is compared below.
    through = cv2.cvtColor(cv2.cvtColor(np.ascontiguousarray(cut), cv2.COLOR_BGR2HSV), cv2.COLOR_HSV2BGR)
    through = np.ascontiguousarray(through[:, ::-1]) if mirror else through
    expected = cv2.resize(through, (side, side), interpolation=flag).astype(np.float32) - np.float32((104, 117, 123))
    np.testing.assert_array_equal(seen.picture, expected.transpose(2, 0, 1))
    assert np.abs(expected - theirs).mean() < 3


def test_without_a_cut_retinaface_pads_to_the_right_or_below_in_the_means_colour() -> None:
    for height, width in ((150, 200), (200, 150)):
        seen = retinaface(np.zeros((height, width, 3), np.uint8), Plan(None, PLAIN, False, "nearest"), side=200)
        assert (seen.picture[:, height:] == 0).all() and (seen.picture[:, :, width:] == 0).all()
        assert (seen.picture[:, :height, :width] == -np.array([104, 117, 123.0])[:, None, None]).all()
        np.testing.assert_allclose(seen.faces.boxes, FACES.boxes / 200)
        assert seen.rows.tolist() == [0, 1, 2]


def test_ultraface_stretches_floats_linearly() -> None:
    picture = noisy()
    theirs = cv2.cvtColor(cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2HSV), cv2.COLOR_HSV2RGB)
    theirs = (cv2.resize(theirs, (64, 48)) - 127) / 128
    seen = ultraface(picture, Plan(None, PLAIN, False))
    np.testing.assert_array_equal(seen.picture, theirs.transpose(2, 0, 1).astype(np.float32))
    np.testing.assert_allclose(seen.faces.boxes, FACES.boxes / [200, 150, 200, 150])


Planner = Callable[..., Plan]
FAMILIES = [
    pytest.param(retinaface_plan, retinaface, id="retinaface"),
    pytest.param(ultraface_plan, ultraface, id="ultraface"),
]


@pytest.mark.parametrize("plan, example", FAMILIES)
def test_the_same_draws_give_the_same_bits_and_what_is_given_stays(
    plan: Planner, example: Callable[..., Example]
) -> None:
    picture, boxes, points = noisy(), FACES.boxes.copy(), FACES.landmarks.copy()
    before, plans = picture.copy(), set()
    for sample in range(12):
        drawn = [plan(150, 200, FACES, generator(1, "augment", 0, sample)) for _ in range(2)]
        one, two = (example(picture, each) for each in drawn)
        assert drawn[0] == drawn[1]
        assert one.picture.tobytes() == two.picture.tobytes()
        assert one.picture.dtype == np.float32 and one.picture.flags.c_contiguous
        plans.add(drawn[0])
    assert len(plans) == 12
    assert (picture == before).all() and (boxes == FACES.boxes).all() and (points == FACES.landmarks).all()


def test_retinafaces_cuts_are_squares_of_the_five_sizes_that_reach_every_edge() -> None:
    crops = [retinaface_plan(100, 150, FACES_SMALL, generator(1, "augment", 0, n)).crop for n in range(4000)]
    assert None not in crops
    left, top, right, bottom = np.array(crops).T
    assert ((right - left) == (bottom - top)).all()
    assert set((right - left).tolist()) == {int(scale * 100) for scale in RETINAFACE_SCALES}
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, 150, 100)


FACES_SMALL = without_landmarks(np.array([[10.0, 10, 14, 14], [70, 50, 75, 56], [140, 90, 148, 98]]))


def test_ultrafaces_cuts_are_of_the_asked_shape_and_the_published_ones_never_are() -> None:
    for aspect in (1.0, 4 / 3):
        crops = [ultraface_plan(150, 200, FACES, generator(1, "c", n), aspect=aspect).crop for n in range(500)]
        cut = np.array([crop for crop in crops if crop])
        assert 0.75 < len(cut) / 500 < 0.85, "four of five"
        wide, high = cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1]
        assert (np.abs(wide - aspect * high) <= 1 + aspect).all()
        assert (high >= 44).all() and (cut >= 0).all() and (cut[:, 2] <= 200).all() and (cut[:, 3] <= 150).all()
    assert not any(ultraface_plan(150, 200, FACES, generator(1, "c", n), crops=False).crop for n in range(100))


@pytest.mark.parametrize("crops", [True, False])
def test_a_cut_that_is_switched_off_leaves_the_other_draws(crops: bool) -> None:
    one = ultraface_plan(150, 200, FACES, generator(1, "c", 3), crops=crops)
    two = ultraface_plan(150, 200, without_landmarks(np.empty((0, 4))), generator(1, "c", 3))
    assert (one.colours, one.mirror, one.interpolation) == (two.colours, two.mirror, two.interpolation)


@pytest.mark.parametrize("plan, example", FAMILIES)
def test_a_photograph_without_a_face_is_cut_and_seen_too(plan: Planner, example: Callable[..., Example]) -> None:
    none = without_landmarks(np.empty((0, 4)))
    plans = [plan(150, 200, none, generator(1, "c", n)) for n in range(20)]
    assert any(one.crop for one in plans)
    assert [len(example(noisy(), one, none).faces) for one in plans] == [0] * 20


@pytest.mark.parametrize("plan, example", FAMILIES)
@pytest.mark.parametrize("height, width", [(1, 1), (1, 300), (300, 2), (3, 3)])
def test_the_smallest_photographs_are_seen(
    plan: Planner, example: Callable[..., Example], height: int, width: int
) -> None:
    faces = without_landmarks(np.array([[0.0, 0, width, height]]))
    for sample in range(20):
        seen = example(noisy(height, width), plan(height, width, faces, generator(2, "c", sample)), faces)
        assert np.isfinite(seen.picture).all()
        assert (seen.faces.boxes >= 0).all() and (seen.faces.boxes <= 1).all()


@pytest.mark.parametrize("plan, example", FAMILIES)
def test_opencvs_threads_are_as_they_were(plan: Planner, example: Callable[..., Example]) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        example(noisy(), plan(150, 200, FACES, generator(1, "c", 0)))
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
