# SPDX-License-Identifier: Apache-2.0
"""Landmarks of MTCNN's last network on another detector's boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import DETECTORS, detector_models, landmark_count
from facepipe.datasets.images import read
from facepipe.detect import Detector, open_detector
from facepipe.detect.marked import MarkedDetector
from facepipe.detect.mtcnn import MtcnnSettings, mark, photograph
from facepipe.geometry.boxes import iou_matrix
from facepipe.geometry.kernels import kernels_by_name
from facepipe.results import Detections, no_detections

NAME = "ultraface.rfb-320+onet"


@pytest.fixture(scope="module")
def detectors(assets: Path, weights_dir: Path) -> Iterator[tuple[Detector, Detector, Detector]]:
    """With the landmarks, without, and MTCNN; UltraFace's weights come from the mirror."""
    backend = backend_by_name("onnxruntime", RuntimeOptions())
    with (
        open_detector(NAME, backend, weights_dir, 4) as marked,
        open_detector("ultraface.rfb-320", backend, weights_dir, 4) as plain,
        open_detector("mtcnn", backend, weights_dir, 4) as mtcnn,
    ):
        yield marked, plain, mtcnn


def _equal(mine: Detections, other: Detections) -> None:
    np.testing.assert_array_equal(mine.boxes, other.boxes)
    np.testing.assert_array_equal(mine.scores, other.scores)


def test_the_catalogue_tells_both_models_and_five_landmarks() -> None:
    assert [spec.name for spec in detector_models(NAME)] == ["ultraface.rfb-320", "onet"]
    assert landmark_count(NAME) == 5
    assert sorted(name for name, parts in DETECTORS.items() if parts[1:] == ("onet",)) == [
        f"ultraface.{version}-{width}+onet" for version in ("rfb", "slim") for width in (320, 640)
    ]


@pytest.mark.weights
def test_boxes_stay_and_landmarks_are_where_mtcnn_has_them(
    detectors: tuple[Detector, Detector, Detector], assets: Path
) -> None:
    marked, plain, mtcnn = detectors
    photographs = [read(assets / "photos" / name) for name in ("multiface.jpg", "kate_siegel.jpg", "paul_rudd.jpg")]
    assert marked.name == NAME
    distances = []
    answers = zip(marked.detect(photographs), plain.detect(photographs), mtcnn.detect(photographs), strict=True)
    for mine, boxes, peer in answers:
        _equal(mine, boxes)
        assert mine.landmarks.shape == (len(mine), 5, 2)
        best = iou_matrix(mine.boxes, peer.boxes).argmax(axis=1)
        apart = np.abs(mine.landmarks - peer.landmarks[best]).max(axis=(1, 2))
        distances += (apart / (peer.boxes[best, 2] - peer.boxes[best, 0])).tolist()
    assert len(distances) == 8
    assert np.median(distances) < 0.03 and max(distances) < 0.08, "shares of a face's width"


@pytest.mark.weights
def test_a_photograph_alone_has_the_landmarks_that_it_has_among_others(
    sample: Path, detectors: tuple[Detector, Detector, Detector]
) -> None:
    marked, *_ = detectors
    images = [read(path) for path in sorted((sample / "images").rglob("*.jpg"))[:12]]
    assert sum(map(len, marked.detect(images))) > 3
    for together, image in zip(marked.detect(images), images, strict=True):
        np.testing.assert_allclose(together.landmarks, marked.detect([image])[0].landmarks, atol=1e-2)


def _network(offsets: float):
    """An ONet of constant answers: box offsets all alike, landmarks in the middle."""

    def run(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        count = len(crops)
        moved = np.tile(np.array([[offsets, offsets, -offsets, -offsets]], np.float32), (count, 1))
        return moved, np.full((count, 10), 0.5, np.float32), np.zeros((count, 2), np.float32)

    return run


@pytest.mark.parametrize("offsets", [0, 0.4, 5, -5])
def test_whatever_the_network_says_every_face_keeps_its_place(offsets: float) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    boxes = np.array([[0, 0, 1, 1], [59.6, 39.8, 60, 40], [10, 5, 30, 35], [0, 0, 60, 40]], np.float32)
    faces = Detections(boxes, np.linspace(1, 0.7, 4, dtype=np.float32), np.zeros((4, 0, 2), np.float32))
    seen = photograph(image, kernels_by_name("numpy"))
    none, found = mark([seen, seen], [no_detections(), faces], _network(offsets), MtcnnSettings(kernels="numpy"))
    assert none.landmarks.shape == (0, 5, 2)
    _equal(found, faces)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(found.landmarks, np.repeat(middles[:, None], 5, axis=1), atol=1)
    assert mark([], [], _network(0), MtcnnSettings()) == []


def test_landmarks_of_a_copy_are_in_the_photographs_pixels() -> None:
    class Boxes:
        def detect_scaled(self, images: list[np.ndarray], sizes: list[tuple[int, int]]) -> list[Detections]:
            assert [image.shape[:2] for image in images] == [(200, 150)] and sizes == [(400, 600)]
            box = np.array([[100, 40, 220, 180]], np.float32)
            return [Detections(box, np.ones(1, np.float32), np.zeros((1, 0, 2), np.float32))]

    marked = MarkedDetector("x", Boxes(), _network(0), MtcnnSettings(kernels="numpy"))  # type: ignore[arg-type]
    (found,) = marked.detect_scaled([np.zeros((200, 150, 3), np.uint8)], [(400, 600)])
    assert found.boxes.tolist() == [[100, 40, 220, 180]]
    np.testing.assert_allclose(found.landmarks[0], np.tile([160, 110], (5, 1)), atol=4)
