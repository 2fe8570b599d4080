# SPDX-License-Identifier: Apache-2.0
"""Pictures to embeddings: true batches, faces that cannot be cut out, pictures that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.catalogue import model
from facepipe.embed import Embedder
from facepipe.errors import DataError
from facepipe.gallery.faces import EmbeddedFace, Recogniser, enrol, photographs_of, read_pictures
from facepipe.results import Detections, NoFace
from facepipe.specs import MarginCrop

FACENET = model("facenet.seeded")  # takes a margin crop
ARCFACE = model("mobilefacenet.paddle")  # takes five landmarks


class Squares:
    """Finds every plain white square of a black picture, by its rows; a detector of tests."""

    name = "squares"
    landmark_count = 0
    calls: list[int]

    def __init__(self) -> None:
        self.calls = []

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.calls.append(len(images))
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Detections:
        boxes = []
        white = (image[..., 0] > 128).any(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], white.astype(int), [0]])))
        for top, bottom in zip(edges[::2], edges[1::2], strict=True):
            columns = np.flatnonzero(image[top, :, 0] > 128)
            boxes.append([columns[0], top, columns[-1] + 1, bottom])
        if image[0, 0, 2] == 7:  # a mark: one more box, beside the picture
            boxes.append([-50, -50, -40, -40])
        array = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(
            array, np.linspace(0.9, 0.5, len(array), dtype=np.float32), np.zeros((len(array), 0, 2), np.float32)
        )


def _mean_colour(images: np.ndarray) -> tuple[np.ndarray]:
    """A network: 512 numbers that depend on the crop alone."""
    rng = np.random.default_rng(0)
    return ((images.mean(axis=(2, 3)) @ rng.normal(size=(3, 512)) + rng.normal(size=512)).astype(np.float32),)


def picture(*squares: tuple[int, int, int], size: int = 200, marked: bool = False) -> np.ndarray:
    image = np.zeros((size, size, 3), np.uint8)
    for number, (top, left, side) in enumerate(squares):
        image[top : top + side, left : left + side] = (255, 40 * number, 255 - 60 * number)
    if marked:
        image[0, 0, 2] = 7
    return image


def recogniser(detector: Squares | None, least_score: float = 0.0) -> Recogniser:
    return Recogniser(detector, Embedder(FACENET, _mean_colour, 4), "00", least_score)


def test_faces_of_several_pictures_come_back_to_their_own_pictures() -> None:
    images = [picture((10, 10, 40), (100, 20, 50)), picture(), picture((30, 60, 80)), picture((5, 5, 30), size=77)]
    detector = Squares()
    together = recogniser(detector).all_faces(images)
    assert detector.calls == [4], "one call for all pictures"
    assert [len(found.faces) for found in together] == [2, 0, 1, 1]
    for image, found in zip(images, together, strict=True):
        (alone,) = recogniser(Squares()).all_faces([image])
        for a, b in zip(found.faces, alone.faces, strict=True):
            np.testing.assert_array_equal(a.face.box, b.face.box)
            np.testing.assert_allclose(a.embedding, b.embedding, rtol=1e-5)


def test_a_face_beside_its_picture_is_left_out_with_a_reason_and_moves_no_other() -> None:
    images = [picture((10, 10, 40), marked=True), picture((10, 10, 40))]
    first, second = recogniser(Squares()).all_faces(images)
    assert len(first.faces) == len(second.faces) == 1
    assert "covers no pixel" in first.left_out[0]
    np.testing.assert_allclose(first.faces[0].embedding, second.faces[0].embedding, atol=1e-3)


def test_unsure_faces_are_passed_over() -> None:
    (found,) = recogniser(Squares(), least_score=0.8).all_faces([picture((10, 10, 40), (100, 20, 50))])
    assert [round(face.face.score, 1) for face in found.faces] == [0.9]


def test_the_main_face_or_the_reason_why_there_is_none() -> None:
    images = [picture((10, 10, 40), (60, 60, 90)), picture(), picture(marked=True)]
    main, nobody, beside = recogniser(Squares()).main_faces(images, "largest")
    assert isinstance(main, EmbeddedFace)
    assert main.face.box.tolist() == [60, 60, 150, 150]
    assert nobody == NoFace("no face found")
    assert isinstance(beside, NoFace)
    assert "covers no pixel" in beside.reason


def test_without_a_detector_the_whole_picture_is_the_face() -> None:
    (found,) = recogniser(None).all_faces([picture((0, 0, 160), size=160)])
    assert found.faces[0].face.box.tolist() == [0, 0, 160, 160]
    crops = picture((0, 0, 160), size=160)[None]
    np.testing.assert_allclose(found.faces[0].embedding, Embedder(FACENET, _mean_colour, 1).embed(crops)[0])


def test_a_detector_without_landmarks_gives_a_margin_crop_and_says_so() -> None:
    poor = Recogniser(Squares(), Embedder(ARCFACE, _mean_colour, 4), "00")
    assert isinstance(poor.alignment, MarginCrop)
    assert "squares gives no landmarks: mobilefacenet.paddle, which wants five-point alignment" in (poor.note or "")
    assert recogniser(Squares()).note is None
    assert recogniser(None).note is None


def _folder(root: Path) -> list[str]:
    keys = []
    for i in range(7):
        Image.fromarray(picture((10 + i, 10, 40)) if i != 2 else picture()).save(root / f"{i}.png")
        keys.append(f"{i}.png")
    (root / "3.png").write_bytes(b"no picture")
    return [*keys, "absent.png"]


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_every_picture_is_enrolled_or_has_a_reason(tmp_path: Path, batch: int) -> None:
    keys, told = _folder(tmp_path), []
    found = enrol(tmp_path, keys, recogniser(Squares()), batch=batch, progress=told.append)
    assert found.keys == ("0.png", "1.png", "4.png", "5.png", "6.png")
    assert found.embeddings.shape == (5, 512)
    reasons = dict(found.without)
    assert set(reasons) == {"2.png", "3.png", "absent.png"}
    assert reasons["2.png"] == "no face found"
    assert "is no picture" in reasons["3.png"]
    assert sum(told) == len(keys)


def test_pictures_come_in_bounded_batches(tmp_path: Path) -> None:
    keys = _folder(tmp_path)
    batches = list(read_pictures(tmp_path, keys, 2))
    assert [len(members) for members, _ in batches] == [2, 2, 2]
    assert [key for _, unread in batches for key, _ in unread] == ["3.png", "absent.png"]


def test_results_of_an_earlier_call_within_the_folder_are_no_photographs(tmp_path: Path) -> None:
    for key in ("a.jpg", "named/a.jpg", "named/deep/b.jpg", "named too/c.jpg"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"")
    everything = ["a.jpg", "named too/c.jpg", "named/a.jpg", "named/deep/b.jpg"]
    assert photographs_of(tmp_path, tmp_path / "named") == ["a.jpg", "named too/c.jpg"]
    for elsewhere in (tmp_path.parent / "out", tmp_path, tmp_path / "named" / ".." / "absent"):
        assert photographs_of(tmp_path, elsewhere) == everything
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "named too" / "c.jpg").unlink()
    with pytest.raises(DataError, match="no photograph in it beside"):
        photographs_of(tmp_path, tmp_path / "named")
