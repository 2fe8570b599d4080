# SPDX-License-Identifier: Apache-2.0
"""Detectors of one network: batches, sizes, suppression, compiled sizes; and the published weights on photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facepipe.backends.ort import OnnxRuntime
from facepipe.catalogue import model
from facepipe.datasets.images import read
from facepipe.detect import asked_settings, default_settings, open_detector, open_single_shot
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.detect.single_shot import (
    SingleShotDetector,
    SingleShotSettings,
    on_fixed_canvas,
    single_shot_settings,
    suppress,
)
from facepipe.errors import DataError
from facepipe.geometry.anchors import encode_boxes, priors
from facepipe.geometry.boxes import iou_matrix
from facepipe.geometry.fit import Inside, Original, Stretch
from facepipe.results import Detections
from facepipe.specs import ModelSpec, Suppression

NAMES = ("ultraface.slim-320", "ultraface.rfb-640", "retinaface.mobilenet0.25", "blazeface.front", "blazeface.back")


def _planted(spec: ModelSpec, box: tuple[float, float, float, float]) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """A network that finds one face at `box`, in fractions of its input, whatever it is shown."""
    shot = spec.single_shot
    assert shot is not None

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        count, _, height, width = images.shape
        anchors = priors(shot.priors, height, width)
        offsets = encode_boxes(np.tile(np.array([box], np.float32), (len(anchors), 1)), anchors, shot.code)
        width_of_logits = spec.outputs[-1].dims[2].low
        logits = np.full((len(anchors), width_of_logits), 0, np.float32)
        logits[:, -1] = -20
        best = np.argmin(np.abs(offsets).sum(axis=1))
        logits[best, -1] = 5
        parts = [offsets, logits]
        if shot.keypoints:
            parts.insert(1, np.zeros((len(anchors), 2 * shot.keypoints), np.float32))
        return tuple(np.broadcast_to(part, (count, *part.shape)).copy() for part in parts)

    return run


@pytest.mark.parametrize("name", ["ultraface.slim-320", "retinaface.mobilenet0.25"])
def test_a_face_is_found_where_it_was_planted_in_photographs_of_any_shape(name: str) -> None:
    spec = model(name)
    detector = SingleShotDetector(spec, _planted(spec, (0.25, 0.25, 0.5, 0.75)), single_shot_settings(spec))
    images = [np.zeros((height, width, 3), np.uint8) for height, width in ((480, 640), (96, 64), (480, 640), (33, 700))]
    assert detector.name == name
    for image, found in zip(images, detector.detect(images), strict=True):
        assert len(found) == 1
        height, width = image.shape[:2]
        if name.startswith("ultraface"):  # the whole photograph is stretched over the input
            expected = [0.25 * width, 0.25 * height, 0.5 * width, 0.75 * height]
            assert found.boxes[0] == pytest.approx(expected, abs=0.02)
        assert found.landmarks.shape == (1, detector.landmark_count, 2)


def test_as_many_candidates_and_faces_are_kept_as_in_the_published_evaluation() -> None:
    """biubug6/Pytorch_Retinaface, test_widerface.py: --top_k 5000 --keep_top_k 750."""
    settings = single_shot_settings(model("retinaface.mobilenet0.25"))
    assert (settings.candidates, settings.faces) == (5000, 750)


def test_the_filled_up_part_of_an_input_does_not_move_boxes() -> None:
    spec = model("retinaface.mobilenet0.25")
    detector = SingleShotDetector(spec, _planted(spec, (0.25, 0.25, 0.5, 0.5)), single_shot_settings(spec))
    (found,) = detector.detect([np.zeros((250, 250, 3), np.uint8)])  # filled up to 256
    assert found.boxes[0] == pytest.approx([64, 64, 128, 128], abs=0.02)


@pytest.mark.parametrize(("least", "faces"), [(0, 1), (64, 1), (127, 1), (129, 0)])
def test_the_least_face_is_that_of_its_boxs_longer_side_as_it_lies_in_the_photograph(least: int, faces: int) -> None:
    spec = model("retinaface.mobilenet0.25")
    settings = replace(single_shot_settings(spec), min_face_px=least)
    detector = SingleShotDetector(spec, _planted(spec, (0.25, 0.25, 0.5, 0.75)), settings)  # 64 x 128
    assert len(detector.detect([np.zeros((256, 256, 3), np.uint8)])[0]) == faces
    assert len(detector.detect([np.zeros((128, 128, 3), np.uint8)])[0]) == (least <= 64)  # half of that


@pytest.mark.parametrize("name", ["mtcnn", *NAMES])
def test_what_is_asked_of_a_detector_is_a_setting_of_it(name: str) -> None:
    plain = asked_settings(default_settings(name), batch=4)
    assert plain == replace(default_settings(name), batch=4)
    asked = asked_settings(default_settings(name), batch=4, min_face_px=33, least_score=0.25)
    assert asked.min_face_px == 33
    if isinstance(asked, MtcnnSettings):
        assert asked.thresholds == (0.6, 0.7, 0.25), "PNet and RNet let through what they did"
    else:
        assert asked.threshold == 0.25


def test_boxes_are_cut_to_the_photograph_and_those_outside_are_dropped() -> None:
    spec = model("retinaface.mobilenet0.25")
    settings = single_shot_settings(spec)
    over = SingleShotDetector(spec, _planted(spec, (-0.2, -0.1, 0.5, 0.5)), settings)
    assert over.detect([np.zeros((256, 256, 3), np.uint8)])[0].boxes[0] == pytest.approx([0, 0, 128, 128], abs=0.02)
    outside = SingleShotDetector(spec, _planted(spec, (0.99, 0.4, 1.0, 0.6)), settings)
    assert len(outside.detect([np.zeros((250, 250, 3), np.uint8)])[0]) == 0  # x from 253 on, of 250


def test_a_session_of_a_fixed_batch_is_given_that_batch_every_time() -> None:
    spec = model("ultraface.slim-320")
    seen: list[tuple[int, ...]] = []
    planted = _planted(spec, (0.25, 0.25, 0.5, 0.75))

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append(images.shape)
        return planted(images)

    detector = SingleShotDetector(spec, run, single_shot_settings(spec), fixed_batch=4)
    found = detector.detect([np.zeros((60, 80, 3), np.uint8)] * 5)
    assert [len(one) for one in found] == [1] * 5
    assert seen == [(4, 3, 240, 320)] * 2


def test_no_photographs_give_no_answers() -> None:
    spec = model("ultraface.slim-320")
    assert SingleShotDetector(spec, _planted(spec, (0, 0, 1, 1)), single_shot_settings(spec)).detect([]) == []


def test_a_compiled_model_gets_every_input_at_its_own_size() -> None:
    spec = model("retinaface.mobilenet0.25")
    settings = on_fixed_canvas(single_shot_settings(spec), spec)
    assert settings.canvas == (640, 640)
    detector = SingleShotDetector(spec, _planted(spec, (0.1, 0.1, 0.2, 0.2)), settings)
    (found,) = detector.detect([np.zeros((250, 250, 3), np.uint8)])
    assert found.boxes[0] == pytest.approx([64, 64, 128, 128], abs=0.05)


@pytest.mark.parametrize("fit", [Original(), Stretch(480, 640), Inside(1280, 1280, grow=True)])
def test_sizes_that_a_compiled_model_does_not_take_are_refused(fit: Original | Stretch | Inside) -> None:
    spec = model("ultraface.slim-320")
    with pytest.raises(DataError, match="the compiled model takes 240 x 320 alone"):
        on_fixed_canvas(replace(single_shot_settings(spec), fit=fit), spec)


def test_settings_of_another_kind_of_detector_are_refused() -> None:
    with (
        pytest.raises(DataError, match="the settings are the cascade's"),
        open_detector("ultraface.slim-320", OnnxRuntime(), Path("weights"), 1, MtcnnSettings()),
    ):
        pass
    with pytest.raises(DataError, match="detector mtcnn: it is a cascade"):
        settings = single_shot_settings(model("ultraface.slim-320"))
        with open_single_shot("mtcnn", OnnxRuntime(), Path("weights"), settings):
            pass
    assert isinstance(default_settings("mtcnn"), MtcnnSettings)
    assert isinstance(default_settings("blazeface.back"), SingleShotSettings)


def _crowd() -> Detections:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 200, (120, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 60, (120, 2))], axis=1).astype(np.float32)
    return Detections(boxes, rng.uniform(0.1, 1, 120).astype(np.float32), np.zeros((120, 5, 2), np.float32))


@pytest.mark.parametrize("method", ["hard", "soft", "blending"])
def test_every_suppression_answers_best_first_and_repeats_itself(method: str) -> None:
    suppression = Suppression(method=method, overlap=0.3)  # type: ignore[arg-type]
    found = suppress(_crowd(), suppression, 0.1)
    assert 0 < len(found) < 120
    assert (np.diff(found.scores) <= 0).all()
    again = suppress(_crowd(), suppression, 0.1)
    assert np.array_equal(found.boxes, again.boxes)
    if method == "hard":
        overlaps = iou_matrix(found.boxes, found.boxes)
        assert (overlaps[~np.eye(len(found), dtype=bool)] <= 0.3).all()


@pytest.mark.parametrize("method", ["hard", "soft", "blending"])
def test_every_suppression_bears_no_candidates(method: str) -> None:
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    assert len(suppress(nothing, Suppression(method=method, overlap=0.3), 0.1)) == 0  # type: ignore[arg-type]


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_depends_neither_on_the_batch_nor_on_the_other_photographs(
    name: str, album: Path, seeded: Callable[..., Path]
) -> None:
    group, portrait, weights = read(album / "group.jpg"), read(album / "stranger.jpg"), seeded(name)
    images = [group, portrait, portrait[40:, 30:], group[:250], group[:, ::-1]]
    # Seeded weights find boxes anywhere; with a threshold of nothing, rounding takes none away.
    settings = replace(single_shot_settings(model(name)), threshold=0.0)
    with (
        open_detector(name, OnnxRuntime(), weights, 1, settings) as one,
        open_detector(name, OnnxRuntime(), weights, 3, settings) as three,
    ):
        alone = [one.detect([image])[0] for image in images]
        together = three.detect(images)
    assert sum(map(len, alone)) > 3
    for a, b in zip(alone, together, strict=True):
        assert len(a) == len(b)
        assert np.allclose(a.boxes, b.boxes, atol=1e-2)
        assert np.allclose(a.scores, b.scores, atol=1e-4)
        assert np.allclose(a.landmarks, b.landmarks, atol=1e-2)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "file", "faces"),
    [
        ("blazeface.front", "1face.png", 1),
        ("blazeface.front", "3faces.png", 3),
        ("blazeface.back", "3faces.png", 3),
        ("blazeface.back", "multiface.jpg", 6),
        ("ultraface.slim-320", "4faces.png", 4),
        ("ultraface.rfb-640", "multiface.jpg", 6),
        ("retinaface.mobilenet0.25", "4faces.png", 4),
        ("retinaface.mobilenet0.25", "multiface.jpg", 6),
    ],
)
def test_the_faces_of_photographs_are_found(name: str, file: str, faces: int, assets: Path, weights_dir: Path) -> None:
    with open_detector(name, OnnxRuntime(), weights_dir, 1) as detector:
        (found,) = detector.detect([read(assets / "photos" / file)])
    assert len(found) == faces
    assert found.landmarks.shape == (faces, detector.landmark_count, 2)
    for box, points in zip(found.boxes, found.landmarks, strict=True):
        if len(points):
            left_eye, right_eye, nose, mouth = points[0], points[1], points[2], points[3]
            assert left_eye[0] < right_eye[0]  # as they lie in the picture
            assert max(left_eye[1], right_eye[1]) < mouth[1]
            assert box[0] <= nose[0] <= box[2]
            assert box[1] <= nose[1] <= box[3]


def test_rows_of_every_input_size_have_a_prior() -> None:
    shot = model("ultraface.slim-320").single_shot
    assert shot is not None
    for height in range(16, 150, 7):
        maps = zip(shot.priors.strides, shot.priors.sides, strict=True)
        expected = sum(-(-height // stride) * -(-97 // stride) * len(sides) for stride, sides in maps)
        assert len(priors(shot.priors, height, 97)) == expected
