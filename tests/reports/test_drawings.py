# SPDX-License-Identifier: Apache-2.0
"""Drawings show what they are given, change nothing, and bear odd input; report plots are written whole."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facepipe.datasets.lfw import Pair, VerificationSet
from facepipe.errors import DataError
from facepipe.reports.drawings import contact_sheet, draw_detections, drawing_names, write_drawing
from facepipe.results import Detections, Face, FaceLine, NoFace, no_detections
from facepipe.runs.score import Policies, Provenance, score_run
from facepipe.store.owned import claim
from facepipe.store.photograph_digests import PHOTOGRAPHS_FILE, write_digests
from facepipe.store.run_faces import write_embeddings, write_faces
from facepipe.store.run_record import ACCURACY_FILE, adding, write_run

GREY = np.full((200, 300, 3), 128, np.uint8)


def _found(*boxes: list[float]) -> Detections:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.stack([np.linspace(box[:2], box[2:], 7)[1:-1] for box in corners]).astype(np.float32)
    return Detections(corners, np.linspace(0.8, 0.99, len(corners), dtype=np.float32), points)


def test_box_and_landmarks_are_where_they_are_said_to_be():
    drawn = draw_detections(GREY, _found([100, 50, 180, 150]))
    changed = (drawn != GREY).any(axis=2)
    assert changed[50:151, 100].all() and changed[150, 100:181].all()
    for x, y in _found([100, 50, 180, 150]).landmarks[0]:
        assert changed[round(float(y)), round(float(x))]
    assert not changed[160:, :].any() and not changed[:, 185:].any()


def test_the_photograph_itself_is_not_changed():
    image = GREY.copy()
    draw_detections(image, _found([10, 10, 90, 90]))
    np.testing.assert_array_equal(image, GREY)


def test_no_face_leaves_the_photograph_as_it_is():
    np.testing.assert_array_equal(draw_detections(GREY, no_detections(5)), GREY)


@pytest.mark.parametrize("shape", [(1, 1, 3), (15, 15, 3), (30, 4000, 3)])
def test_any_size_and_boxes_beyond_the_edge_are_drawn(shape):
    image = np.zeros(shape, np.uint8)
    found = _found([-50, -50, 20, 20], [shape[1] - 5, -10, shape[1] + 60, 80], [5, 5, 5, 5], [9, 9, 3, 3])
    assert draw_detections(image, found).shape == shape


def test_a_detector_without_landmarks_can_be_drawn():
    found = Detections(
        np.array([[10, 10, 50, 50]], np.float32), np.ones(1, np.float32), np.zeros((1, 0, 2), np.float32)
    )
    assert (draw_detections(GREY, found) != GREY).any()


def test_a_contact_sheet_shows_every_picture_whole():
    pictures = [np.full((40, 50, 3), 10 * i + 5, np.uint8) for i in range(7)]
    sheet = contact_sheet(pictures, [f"ein sehr langer Name 猫 {i}" for i in range(7)], columns=3)
    for i in range(7):
        assert (sheet == 10 * i + 5).all(axis=2).sum() >= 40 * 50
    assert sheet.shape[1] == 3 * 54 + 4


def test_a_contact_sheet_of_nothing_or_of_mixed_sizes_is_refused():
    with pytest.raises(DataError, match="0 pictures of 0 sizes"):
        contact_sheet([], [])
    with pytest.raises(DataError, match="2 pictures of 2 sizes"):
        contact_sheet([GREY, GREY[:100]], ["a", "b"])
    with pytest.raises(DataError, match="with 1 labels"):
        contact_sheet([GREY, GREY], ["a"])


def test_drawings_are_written_in_the_format_of_their_suffix(tmp_path):
    kinds = {"a.png": "PNG", "b.jpg": "JPEG", "c.JPEG": "JPEG", "d.webp": "WEBP", "e.tif": "TIFF", "f.bmp": "BMP"}
    for name, kind in kinds.items():
        write_drawing(tmp_path / "new" / name, GREY)
        with Image.open(tmp_path / "new" / name) as image:
            assert image.size == (300, 200) and image.format == kind


@pytest.mark.parametrize("name", ["x.gif", "x.docx", "x.heic", "x"])
def test_a_format_that_holds_no_drawing_is_refused(tmp_path, name):
    suffix = name[1:]
    with pytest.raises(DataError, match=rf"no drawing is written as '{suffix}', expected one of \.jpg \.jpeg \.png"):
        write_drawing(tmp_path / name, GREY)
    assert list(tmp_path.iterdir()) == []


def test_a_jpeg_has_all_of_its_colour_and_a_png_every_bit(tmp_path):
    drawn = draw_detections(GREY, _found([100, 50, 180, 150]))
    for name in ("a.jpg", "a.png"):
        write_drawing(tmp_path / name, drawn)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), drawn)
    with Image.open(tmp_path / "a.jpg") as image:
        jpeg = np.asarray(image).astype(int)
    assert abs(jpeg - drawn).mean() < 0.5
    assert jpeg[60:140, 100, 1].min() > jpeg[60:140, 100, 0].max() + 150, "a line of one pixel keeps its green"


def test_a_drawing_has_its_photographs_name_and_format_where_that_holds_one():
    keys = ["a/IMG.jpg", "b/IMG.JPG", "x.PNG", "x.gif", "x.pgm", "y.heic", "z.AVIF", "w.webp", "t.tiff"]
    names = drawing_names(keys)
    assert list(names.values()) == [
        "a/IMG.jpg", "b/IMG.JPG", "x.PNG", "x.gif.png", "x.pgm.png", "y.heic.jpg", "z.AVIF.jpg", "w.webp", "t.tiff",
    ]  # fmt: skip


def test_two_photographs_of_one_drawing_are_refused():
    with pytest.raises(DataError, match=r"x\.gif\.png: would be the drawing of x\.gif and of x\.gif\.png"):
        drawing_names(["x.gif", "x.gif.png"])
    with pytest.raises(DataError, match=r"a\.jpg: was given twice"):
        drawing_names(["a.jpg", "b.jpg", "a.jpg"])


def _crowd(count, score):
    """Boxes in rows, with gaps of a few pixels, on a photograph of 800 x 600."""
    corners = [
        [10 + 75 * (i % 10), 30 + 95 * (i // 10), 80 + 75 * (i % 10), 120 + 95 * (i // 10)] for i in range(count)
    ]
    boxes = np.array(corners, np.float32)
    return Detections(boxes, np.full(count, score, np.float32), np.zeros((count, 0, 2), np.float32))


def _plates(found):
    """Where a drawing on 800 x 600 differs by its scores: bool [600, 800]."""
    image = np.full((600, 800, 3), 128, np.uint8)
    without = draw_detections(image, Detections(found.boxes, np.ones_like(found.scores), found.landmarks))
    return (draw_detections(image, found) != without).any(axis=2)


def test_a_score_that_says_nothing_is_not_drawn():
    image = np.full((600, 800, 3), 128, np.uint8)
    sure, surer = _crowd(1, 0.996), _crowd(1, 1.0)
    np.testing.assert_array_equal(draw_detections(image, sure), draw_detections(image, surer))
    assert _plates(_crowd(1, 0.98)).any()


def test_a_crowd_has_no_scores():
    assert _plates(_crowd(20, 0.8)).any()
    assert not _plates(_crowd(21, 0.8)).any()


def test_a_score_covers_no_neighbours_face():
    upper, lower = [100, 100, 180, 200], [100, 202, 180, 300]
    none = np.zeros((2, 0, 2), np.float32)
    plates = _plates(Detections(np.array([upper, lower], np.float32), np.array([1, 0.8], np.float32), none))
    assert not plates[:301].any(), "above it, where it stands elsewhere, it would lie on the upper face"
    assert plates[301:330, 100:180].any()


@pytest.fixture(params=["different", "skip"])
def scored(tmp_path, request):
    """A small run that was scored: folder, pairs and accuracy."""
    claim(tmp_path)
    rng = np.random.default_rng(0)
    keys = [f"P_{p}/P_{p}_{n:04d}.jpg" for p in range(6) for n in range(1, 5)]
    face = Face(np.zeros(4, np.float32), 0.9, np.zeros((5, 2), np.float32))
    written = write_faces(
        tmp_path / "faces.jsonl", [FaceLine(k, NoFace("dark") if k == keys[5] else face) for k in keys]
    )
    points = np.eye(6)[[int(k[2]) for k in keys if k != keys[5]]] + rng.normal(0, 0.3, (23, 6))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    write_embeddings(tmp_path / "embeddings.npy", 23, 6, [points])
    pairs = []
    for fold in range(2):
        for p in range(6):
            one, other = keys[4 * p : 4 * p + 4], keys[4 * ((p + 1) % 6) : 4 * ((p + 1) % 6) + 4]
            pairs += [Pair(one[fold], one[fold + 1], True, fold), Pair(one[fold], other[fold], False, fold)]
    verification_set = VerificationSet("pairs", tuple(pairs), 2)
    provenance = Provenance("mtcnn", "facenet.seeded", "onnxruntime", 16, {}, {}, for_accuracy=False)
    write_digests(tmp_path / PHOTOGRAPHS_FILE, [(key, "") for key in keys])
    write_run(tmp_path, {}, written)
    with adding(tmp_path, [ACCURACY_FILE]):
        accuracy = score_run(tmp_path, verification_set, Policies(request.param), provenance)
    return tmp_path, verification_set, accuracy


def test_a_report_is_two_pictures_and_leaves_matplotlib_as_it_was(scored):
    matplotlib = pytest.importorskip("matplotlib")
    from facepipe.reports.report_plots import write_report

    run, pairs, accuracy = scored
    settings = dict(matplotlib.rcParams)
    paths = write_report(run, pairs, accuracy)
    assert [path.name for path in paths] == ["roc.png", "distances.png"]
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[0] > 500 and pixels.shape[1] > 700
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20  # something was drawn
    assert dict(matplotlib.rcParams) == settings
    assert pytest.importorskip("matplotlib.pyplot").get_fignums() == []
