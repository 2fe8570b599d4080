# SPDX-License-Identifier: Apache-2.0
"""One composition for everybody: true batches, faces that cannot be cut, and one answer behind every door."""

from __future__ import annotations

import numpy as np
import pytest
from squares import Squares, mean_colour, picture

from facepipe.catalogue import model
from facepipe.embed import Embedder
from facepipe.errors import DataError
from facepipe.faces.pipeline import (
    FacePipeline,
    alignment_note,
    alignment_of,
    crop_of,
    open_pipeline,
    require_alignment,
)
from facepipe.results import EmbeddedFace, Face, NoFace
from facepipe.specs import FivePoint, MarginCrop

FACENET = model("facenet.seeded")  # takes a margin crop
ARCFACE = model("mobilefacenet.paddle")  # takes five landmarks


def squares(detector: Squares | None = None) -> FacePipeline:
    alignment = alignment_of("ultraface.rfb-320", FACENET.name)
    return FacePipeline(detector or Squares(), Embedder(FACENET, mean_colour, 4), alignment, "largest")


def whole() -> FacePipeline:
    return FacePipeline(None, Embedder(FACENET, mean_colour, 4), alignment_of(None, FACENET.name))


def test_faces_of_several_pictures_come_back_to_their_own_pictures() -> None:
    images = [picture((10, 10, 40), (100, 20, 50)), picture(), picture((30, 60, 80)), picture((5, 5, 30), size=77)]
    detector = Squares()
    together = squares(detector).all_faces(images)
    assert detector.calls == [4], "one call for all pictures"
    assert [len(found.faces) for found in together] == [2, 0, 1, 1]
    for image, found in zip(images, together, strict=True):
        (alone,) = squares().all_faces([image])
        for a, b in zip(found.faces, alone.faces, strict=True):
            np.testing.assert_array_equal(a.face.box, b.face.box)
            np.testing.assert_allclose(a.embedding, b.embedding, rtol=1e-5)


def test_a_face_beside_its_picture_is_left_out_with_a_reason_and_moves_no_other() -> None:
    images = [picture((10, 10, 40), marked=True), picture((10, 10, 40))]
    first, second = squares().all_faces(images)
    assert len(first.faces) == len(second.faces) == 1
    assert "covers no pixel" in first.left_out[0]
    np.testing.assert_allclose(first.faces[0].embedding, second.faces[0].embedding, atol=1e-3)


def test_the_main_face_or_the_reason_why_there_is_none() -> None:
    images = [picture((10, 10, 40), (60, 60, 90)), picture(), picture(marked=True)]
    main, nobody, beside = squares().main_faces(images)
    assert isinstance(main, EmbeddedFace)
    assert main.face.box.tolist() == [60, 60, 150, 150]
    assert nobody == NoFace("no face found")
    assert isinstance(beside, NoFace)
    assert "covers no pixel" in beside.reason


def test_without_a_detector_the_whole_picture_is_the_face() -> None:
    (found,) = whole().all_faces([picture((0, 0, 160), size=160)])
    assert found.faces[0].face.box.tolist() == [0, 0, 160, 160]
    crops = picture((0, 0, 160), size=160)[None]
    np.testing.assert_allclose(found.faces[0].embedding, Embedder(FACENET, mean_colour, 1).embed(crops)[0])


def test_a_detector_without_landmarks_gives_a_margin_crop_and_says_so() -> None:
    assert isinstance(alignment_of("mtcnn", ARCFACE.name), FivePoint)
    cut = alignment_of("ultraface.rfb-320", ARCFACE.name)
    assert isinstance(cut, MarginCrop) and cut.size == 112
    note = alignment_note("ultraface.rfb-320", ARCFACE.name)
    assert note is not None and "gives no landmarks: mobilefacenet.paddle, which wants five-point alignment" in note
    for detector, embedder in (("mtcnn", ARCFACE.name), ("ultraface.rfb-320", FACENET.name), (None, ARCFACE.name)):
        assert alignment_note(detector, embedder) is None


def test_a_pair_that_is_much_less_accurate_is_refused_until_the_user_says_so() -> None:
    poor = ("ultraface.rfb-320", ARCFACE.name)
    with pytest.raises(DataError) as refused:
        require_alignment(*poor, False, "--allow-margin-crop")
    assert str(refused.value) == (
        "ultraface.rfb-320: it gives no landmarks, and mobilefacenet.paddle wants five; with a margin crop in their "
        "place it is much less accurate. Try: detector ultraface.rfb-320+onet, or --allow-margin-crop."
    )
    require_alignment(*poor, True, "--allow-margin-crop")
    for detector, embedder in (("mtcnn", ARCFACE.name), ("ultraface.rfb-320", FACENET.name), (None, ARCFACE.name)):
        for allowed in (False, True):
            require_alignment(detector, embedder, allowed, "--allow-margin-crop")


def test_the_crop_of_a_recorded_face_is_the_runs() -> None:
    image = picture((10, 10, 40))
    face = Face(np.array([10, 10, 50, 50], np.float32), 0.9, np.zeros((0, 2), np.float32))
    recorded = crop_of(image, face, ARCFACE)
    poor = FacePipeline(None, None, alignment_of("ultraface.rfb-320", ARCFACE.name))
    np.testing.assert_array_equal(recorded, poor.crop(image, face))
    beside = Face(np.array([-50, -50, -40, -40], np.float32), 0.9, np.zeros((0, 2), np.float32))
    assert isinstance(crop_of(image, beside, ARCFACE), NoFace)


def test_no_pictures_and_no_faces_are_no_special_case() -> None:
    assert squares().main_faces([]) == [] and squares().all_faces([]) == []
    (nothing,) = squares().all_faces([picture()])
    assert nothing.faces == () and nothing.left_out == ()


def test_a_selection_that_is_not_known_is_refused_before_anything_is_opened(tmp_path) -> None:
    backend = object()
    with (
        pytest.raises(DataError, match="selection 'nearest' is not known, expected one of center_weighted_size"),
        open_pipeline("mtcnn", FACENET.name, backend, tmp_path, 1, selection="nearest"),  # type: ignore[arg-type]
    ):
        pass
