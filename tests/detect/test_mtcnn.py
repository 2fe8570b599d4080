# SPDX-License-Identifier: Apache-2.0
"""The cascade against a peer's answers, and in the corners where the peer breaks."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.catalogue import model
from facepipe.datasets.images import read
from facepipe.detect import Detector, open_detector
from facepipe.detect import mtcnn as cascade
from facepipe.detect.mtcnn import MtcnnSettings, _pnet, photograph, propose
from facepipe.geometry.boxes import iou_matrix
from facepipe.geometry.kernels import compiled_kernels, numpy_kernels
from facepipe.geometry.mtcnn_boxes import Borders
from facepipe.results import Detections

ORDERS = 12  # of equal scores that are tried
SAMPLE = 100  # of the golden photographs; `make accept` looks at all of them


@pytest.fixture(scope="module")
def mtcnn(weights_dir: Path) -> Iterator[Detector]:
    with open_detector("mtcnn", backend_by_name("onnxruntime", RuntimeOptions()), weights_dir, 16) as detector:
        yield detector


@pytest.fixture(scope="module")
def as_the_peer(weights_dir: Path) -> Iterator[Detector]:
    """Boxes are cut at the photograph's edges, as facenet-pytorch does."""
    backend, settings = backend_by_name("onnxruntime", RuntimeOptions()), MtcnnSettings(borders="stretch")
    with open_detector("mtcnn", backend, weights_dir, 16, settings) as detector:
        yield detector


def by_area(found: Detections) -> Detections:
    width, height = found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1]
    return found.take(np.argsort(width * height)[::-1])


def test_faces_of_lfw_are_those_of_the_peer(as_the_peer: Detector, assets: Path, golden: Path) -> None:
    answers = json.loads((golden / "mtcnn_lfw.json").read_text())
    keys = sorted(answers)[:: len(answers) // SAMPLE][:SAMPLE]
    found = as_the_peer.detect([read(assets / "lfw" / "images" / key) for key in keys])
    differing = [key for key, mine in zip(keys, found, strict=True) if not same_faces(mine, answers[key])]
    assert len(differing) <= 1, differing  # a tie of scores may fall otherwise: three in four hundred


def same_faces(mine: Detections, answer: dict[str, list[float]]) -> bool:
    boxes = np.array(answer["boxes"], np.float32).reshape(-1, 4)
    if len(boxes) != len(mine):
        return False
    if len(boxes) == 0:
        return True
    mine = by_area(mine)
    return bool(
        np.abs(mine.boxes - boxes).max() < 0.1
        and np.abs(mine.landmarks - np.array(answer["landmarks"])).max() < 0.2
        and np.abs(mine.scores - np.array(answer["scores"])).max() < 1e-3
    )


def test_faces_of_scenes_are_those_of_the_peer(
    as_the_peer: Detector, assets: Path, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of two boxes with the same score stays is settled by NumPy's sort. Its order with AVX-512 is the golden
    file's; on another processor the peer itself gives other boxes, and a difference has to go with some order of equal
    scores: a face of the peer's is found in one, a face of ours that the peer has not is lost in one.
    """
    answers = json.loads((golden / "mtcnn_photos.json").read_text())
    wanted = matched = extra = 0
    for key, answer in answers.items():
        peers, image = np.array(answer["boxes"], np.float32).reshape(-1, 4), read(assets / "photos" / key)
        (mine,) = as_the_peer.detect([image])
        ious = iou_matrix(peers, mine.boxes)
        found, foreign = ious.max(axis=1, initial=0) >= 0.99, ious.max(axis=0, initial=0) < 0.99
        for seed in range(ORDERS if not sorts_with_avx512() and not found.all() else 0):
            with monkeypatch.context() as patch:
                patch.setattr(cascade, "_sure_best_first", functools.partial(sure_in_some_order, seed))
                (other,) = as_the_peer.detect([image])
            found |= iou_matrix(peers, other.boxes).max(axis=1, initial=0) >= 0.99
            foreign &= iou_matrix(mine.boxes, other.boxes).max(axis=1, initial=0) >= 0.99
        wanted, matched, extra = wanted + len(peers), matched + int(found.sum()), extra + int(foreign.sum())
    assert wanted > 500
    assert matched / wanted >= 0.995
    assert extra / wanted <= 0.005


def sorts_with_avx512() -> bool:
    from numpy._core import _multiarray_umath  # NumPy has no public word for what it found

    return bool(_multiarray_umath.__cpu_features__.get("AVX512_SKX", False))


def sure_in_some_order(seed: int, scores: np.ndarray, images: np.ndarray, threshold: float) -> np.ndarray:
    """As the cascade's own, with equal scores in an order of chance."""
    sure = np.flatnonzero(scores > np.float32(threshold))
    chance = np.random.default_rng(seed).random(len(sure))
    return sure[np.lexsort((chance, -scores[sure], images[sure]))]


EDGES = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}


def cut_through(image: np.ndarray, box: np.ndarray, edge: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The photograph without what lies beyond an edge that takes `share` of the face; and its new origin x, y."""
    (x1, y1, x2, y2), (across, down) = box, EDGES[edge]
    dx, dy = share * (x2 - x1), share * (y2 - y1)
    left, top = int(x1 + dx) if across < 0 else 0, int(y1 + dy) if down < 0 else 0
    right, bottom = int(x2 - dx) if across > 0 else image.shape[1], int(y2 - dy) if down > 0 else image.shape[0]
    return np.ascontiguousarray(image[top:bottom, left:right]), np.array([left, top])


def landmark_error(detector: Detector, image: np.ndarray, origin: np.ndarray, landmarks: np.ndarray) -> float:
    """Mean distance in pixels of the nearest face's landmarks from those of the whole photograph; inf: none found."""
    (found,) = detector.detect([image])
    off = np.linalg.norm(found.landmarks + origin - landmarks, axis=2).mean(axis=1)
    return float(off.min(initial=np.inf))


def largest_face(detector: Detector, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box and landmarks."""
    (found,) = detector.detect([image])
    best = by_area(found)
    return best.boxes[0], best.landmarks[0]


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    skimage = pytest.importorskip("skimage", reason="the portrait is one that scikit-image ships")
    image: np.ndarray = skimage.data.astronaut()
    return image


@pytest.mark.parametrize("edge", EDGES)
def test_landmarks_of_a_face_at_the_edge_are_those_of_the_whole_photograph(
    mtcnn: Detector, as_the_peer: Detector, portrait: np.ndarray, edge: str
) -> None:
    """A face 87 px wide, of which a tenth lies beyond each edge named: pad is off by 1 to 2 px, stretch by 1 to 31."""
    box, landmarks = largest_face(mtcnn, portrait)
    cut, origin = cut_through(portrait, box, edge, 0.1)
    padded, stretched = (landmark_error(d, cut, origin, landmarks) for d in (mtcnn, as_the_peer))
    assert padded < 2.5
    assert edge == "top" or stretched > 3 * padded  # PNet's box ends at the brows: nothing is beyond the upper edge


@pytest.mark.parametrize(("share", "most"), [(0.1, 0.03), (0.2, 0.07)])
def test_landmarks_at_the_edges_of_published_portraits(
    mtcnn: Detector, as_the_peer: Detector, assets: Path, share: float, most: float
) -> None:
    """Of three portraits, faces 57 to 254 px wide: errors in widths of the face; stretch also loses faces."""
    images = [
        np.asarray(Image.fromarray(read(assets / "photos" / name)).reduce(4))
        for name in ("kate_siegel.jpg", "paul_rudd.jpg", "angelina_jolie.jpg")
    ]
    for edge in EDGES:
        padded, stretched = list[float](), list[float]()
        for image in images:
            box, landmarks = largest_face(mtcnn, image)
            cut, origin = cut_through(image, box, edge, share)
            for errors, detector in ((padded, mtcnn), (stretched, as_the_peer)):
                errors.append(landmark_error(detector, cut, origin, landmarks) / float(box[2] - box[0]))
        assert max(padded) < most, edge
        assert sum(stretched) > 3 * sum(padded), edge


@pytest.mark.parametrize("edge", EDGES)
def test_half_a_face_is_right_or_not_found(mtcnn: Detector, portrait: np.ndarray, edge: str) -> None:
    """PNet sees no black beyond the photograph, as the authors', and mostly finds no half of a face."""
    box, landmarks = largest_face(mtcnn, portrait)
    error = landmark_error(mtcnn, *cut_through(portrait, box, edge, 0.5), landmarks)
    assert error == np.inf or error < 0.1 * (box[2] - box[0])


def test_a_face_that_fills_the_photograph_has_its_landmarks(
    mtcnn: Detector, as_the_peer: Detector, portrait: np.ndarray
) -> None:
    box, landmarks = largest_face(mtcnn, portrait)
    left, top, right, bottom = (int(corner) for corner in box)
    filled, origin = np.ascontiguousarray(portrait[top:bottom, left:right]), np.array([left, top])
    assert landmark_error(mtcnn, filled, origin, landmarks) < 2
    assert landmark_error(as_the_peer, filled, origin, landmarks) > 5


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (20, 4000), (300, 300)])
@pytest.mark.parametrize("level", [0, 200])
def test_a_photograph_of_one_colour_has_no_face(mtcnn: Detector, size: tuple[int, int], level: int) -> None:
    (found,) = mtcnn.detect([np.full((*size, 3), level, np.uint8)])
    assert len(found) == 0


@pytest.mark.parametrize("size", [(1, 1), (15, 15), (19, 300), (20, 20)])
def test_a_tiny_photograph_has_no_face_and_no_crash(mtcnn: Detector, size: tuple[int, int]) -> None:
    (found,) = mtcnn.detect([np.full((*size, 3), 128, np.uint8)])
    assert len(found) == 0
    assert found.landmarks.shape == (0, 5, 2)


def test_no_photographs_give_no_answers(mtcnn: Detector) -> None:
    assert mtcnn.detect([]) == []


def test_photographs_of_different_sizes_in_one_batch_do_not_touch_each_other(mtcnn: Detector, sample: Path) -> None:
    images = [read(path) for path in sorted(sample.rglob("*.png"))[:3] + sorted(sample.rglob("*.jpg"))[:3]]
    mixed = [images[0], images[1][:180], np.zeros((15, 15, 3), np.uint8), images[2], images[0][:, :201]]
    together = mtcnn.detect(mixed)
    for image, found in zip(mixed, together, strict=True):
        (alone,) = mtcnn.detect([image])
        assert len(alone) == len(found)
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-2)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)


def test_both_kernels_give_the_same_bits(mtcnn: Detector, sample: Path, weights_dir: Path) -> None:
    backend = backend_by_name("onnxruntime", RuntimeOptions())
    images = [read(path) for path in sorted(sample.rglob("*_0001.*"))[:4]]
    answers = []
    for name in ("numpy", "compiled"):
        with open_detector("mtcnn", backend, weights_dir, 16, MtcnnSettings(kernels=name)) as detector:
            answers.append(detector.detect(images))
    assert sum(map(len, answers[0])) > 0
    for one, other in zip(*answers, strict=True):
        assert (one.boxes == other.boxes).all() and (one.landmarks == other.landmarks).all()


def test_a_candidate_without_pixels_goes_with_its_scores(weights_dir: Path) -> None:
    """Where the peer keeps the box and loses the crop, so that all later scores shift."""
    from facepipe.detect.mtcnn import refine

    item = photograph(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8), numpy_kernels())
    outside = np.array([[100, 100, 140, 140], [1, 1, 40, 40], [-50, -50, -10, -10], [10, 10, 50, 50]], np.float32)
    proposals = Detections(outside, np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.zeros((4, 0, 2), np.float32))
    seen: list[int] = []

    def run(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append(len(crops))
        logits = np.tile(np.array([[0, 9]], np.float32), (len(crops), 1))
        return np.zeros((len(crops), 4), np.float32), logits

    (kept,) = refine([item], [proposals], run, MtcnnSettings(crop_step=1))
    assert seen == [2]
    assert len(kept) == 2
    np.testing.assert_allclose(kept.boxes, [[1, 1, 40, 40], [10, 10, 50, 50]])


@pytest.mark.parametrize(("borders", "seen"), [("pad", 50.0), ("stretch", 200.0)])
def test_what_lies_beyond_the_photograph_is_black_or_the_rest_is_stretched(borders: Borders, seen: float) -> None:
    """Both corners of the box count: 1-based -19..20 are 40 pixels, of which half lie left of and half above."""
    item = photograph(np.full((60, 60, 3), 200, np.uint8), numpy_kernels())
    boxes = np.array([[-19, -19, 20, 20]], np.float32)
    proposals = Detections(boxes, np.ones(1, np.float32), np.zeros((1, 0, 2), np.float32))
    crops: list[np.ndarray] = []

    def run(crop: np.ndarray) -> tuple[np.ndarray, ...]:
        crops.append(crop)
        return np.zeros((1, 4), np.float32), np.zeros((1, 2), np.float32)

    cascade.refine([item], [proposals], run, MtcnnSettings(crop_step=1, borders=borders))
    assert (crops[0] / np.float32(model("rnet").pixels.scale[0]) + 127.5).mean() == pytest.approx(seen)


def test_candidates_go_through_in_chunks(weights_dir: Path) -> None:
    from facepipe.detect.mtcnn import refine

    item = photograph(np.zeros((60, 60, 3), np.uint8), compiled_kernels())
    boxes = np.tile(np.array([[1, 1, 20, 20]], np.float32), (1300, 1))
    proposals = Detections(boxes, np.ones(1300, np.float32), np.zeros((1300, 0, 2), np.float32))
    seen: list[int] = []

    def run(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append(len(crops))
        return np.zeros((len(crops), 4), np.float32), np.zeros((len(crops), 2), np.float32)

    (kept,) = refine([item], [proposals], run, MtcnnSettings(crops=512, crop_step=1))
    assert seen == [512, 512, 276]
    seen.clear()
    refine([item], [proposals], run, MtcnnSettings(crops=512, crop_step=64))
    assert seen == [512, 512, 320]  # the next multiple, whose last answers are cut off
    assert len(kept) == 0  # probability one half is not above 0.7


def test_propose_without_a_photograph_that_is_large_enough_never_calls_the_network() -> None:
    def run(_: np.ndarray) -> tuple[np.ndarray, ...]:
        raise AssertionError("called")

    tiny = photograph(np.zeros((15, 15, 3), np.uint8), numpy_kernels())
    assert [len(found) for found in propose([tiny, tiny], run, MtcnnSettings())] == [0, 0]


@pytest.mark.parametrize("height", [12, 13, 23, 24, 47, 48, 101])
@pytest.mark.parametrize("rows", [1, 2, 5, 12, 31])
def test_pnet_in_strips_gives_every_cell_of_the_whole_level(weights_dir: Path, height: int, rows: int) -> None:
    level = np.random.default_rng(height).normal(size=(2, 3, height, 40)).astype(np.float32)
    with open_session(
        backend_by_name("onnxruntime", RuntimeOptions()), model("pnet"), model("pnet").final(weights_dir)
    ) as s:
        whole, strips = (_pnet(level, s.run, MtcnnSettings(strip_pixels=pixels)) for pixels in (0, 40 * rows))
    for a, b in zip(whole, strips, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("stage", "place"), [("refine", 1), ("locate", 2)])
def test_every_stage_has_a_threshold_of_its_own(stage: str, place: int) -> None:
    """A face of probability 0.8 passes a stage whose threshold is 0.75, whatever the others' are."""
    item = photograph(np.zeros((60, 60, 3), np.uint8), numpy_kernels())
    proposals = Detections(
        np.array([[5, 5, 40, 40]], np.float32), np.ones(1, np.float32), np.zeros((1, 0, 2), np.float32)
    )
    logits = np.log(np.array([[0.2, 0.8]], np.float32))

    def run(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        count = len(crops)
        points = (np.zeros((count, 10), np.float32),) if stage == "locate" else ()
        return np.zeros((count, 4), np.float32), *points, np.repeat(logits, count, axis=0)

    look = {"refine": cascade.refine, "locate": cascade.locate}[stage]
    for others, own, found in ((0.95, 0.75, 1), (0.1, 0.85, 0)):
        thresholds = tuple(own if i == place else others for i in range(3))
        (faces,) = look([item], [proposals], run, MtcnnSettings(thresholds=thresholds, crop_step=1))
        assert len(faces) == found


def test_the_first_threshold_is_pnets() -> None:
    item = photograph(np.zeros((20, 20, 3), np.uint8), numpy_kernels())
    logits = np.log(np.array([0.2, 0.8], np.float32)).reshape(1, 2, 1, 1)

    def run(scaled: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.zeros((1, 4, 1, 1), np.float32), logits

    for first, others, found in ((0.75, 0.95, 1), (0.85, 0.1, 0)):
        (faces,) = propose([item], run, MtcnnSettings(thresholds=(first, others, others)))
        assert len(faces) == found


def test_no_call_of_pnet_is_much_larger_than_a_strip_and_a_small_level_is_one_call() -> None:
    heights: list[int] = []

    def run(scaled: np.ndarray) -> tuple[np.ndarray, ...]:
        heights.append(scaled.shape[2])
        rows, columns = ((side - 10) // 2 for side in scaled.shape[2:])
        return np.zeros((1, 4, rows, columns), np.float32), np.zeros((1, 2, rows, columns), np.float32)

    for height in (100, 101, 400):
        offsets, _ = _pnet(np.zeros((1, 3, height, 40), np.float32), run, MtcnnSettings(strip_pixels=40 * 100))
        assert offsets.shape[2] == (height - 10) // 2
    # A strip brings ten rows of the next, and the last takes what is too little for a cell.
    assert heights == [100, 101, 110, 110, 110, 100]
