# SPDX-License-Identifier: Apache-2.0
"""Photographs of people, every one with every other: distances, verdicts, and the drawing of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.errors import DataError
from facepipe.faces.pipeline import FacePipeline
from facepipe.reports.comparison_drawing import draw_comparison
from facepipe.results import EmbeddedFace, Face, NoFace
from facepipe.runs.compare import compare

ANGLE = {"red": 0.0, "pink": 0.2, "blue": 1.2}
"""Where on the unit circle the stand-in puts a photograph of that colour."""
PIXELS = {"red": (250, 0, 0), "pink": (250, 100, 100), "blue": (0, 0, 250), "black": (0, 0, 0)}


class Colours(FacePipeline):
    """A pipeline that knows people by the colour of the photograph; black shows nobody."""

    def main_faces(self, images):  # type: ignore[no-untyped-def]
        return [self._face(tuple(image[5, 5])) for image in images]

    def _face(self, pixel: tuple[int, ...]) -> EmbeddedFace | NoFace:
        name = next(name for name, colour in PIXELS.items() if colour == pixel)
        if name == "black":
            return NoFace("no face found")
        face = Face(np.array([-4, 2, 20, 30], np.float32), 0.9, np.full((5, 2), 8, np.float32))
        return EmbeddedFace(face, np.array([np.cos(ANGLE[name]), np.sin(ANGLE[name])], np.float32))


def album(folder: Path, **photographs: str) -> Path:
    folder.mkdir(exist_ok=True)
    for key, colour in photographs.items():
        path = folder / f"{key.replace('__', '/')}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), PIXELS[colour]).save(path)
    return folder


PIPELINE = Colours(None, None, None)


def test_every_pair_is_judged_by_the_threshold_and_held_against_the_folders(tmp_path: Path) -> None:
    root = album(tmp_path, a__one="red", a__two="pink", b__one="blue")
    found = compare(root, PIPELINE, 0.75)
    expected = [2 - 2 * np.cos(angle) for angle in (0.2, 1.2, 1.0)]
    assert [pair.distance for pair in found.pairs] == pytest.approx(expected, abs=1e-6)
    assert [(pair.same, pair.judged, pair.is_right) for pair in found.pairs] == [
        (True, True, True),
        (False, False, True),
        (False, False, True),
    ]
    assert found.summary() == (
        "3 of 3 pairs told right; one person's pairs are at most 0.040 apart, two people's at least 0.919; "
        "the same person below 0.500 (cosine above 0.7500)"
    )
    assert next(found.lines()) == "0.040  a/one.png  a/two.png  the same person"


def test_a_pair_that_is_told_wrongly_says_so_in_words_and_in_red(tmp_path: Path) -> None:
    root = album(tmp_path, a__one="red", a__two="pink", b__one="blue")
    wrong, right = compare(root, PIPELINE, 0.99), compare(root, PIPELINE, 0.75)
    assert next(wrong.lines()).endswith("different people  WRONG") and "2 of 3 pairs" in wrong.summary()
    red = np.array([230, 60, 50])
    drawn, clean = (draw_comparison(one, "title") for one in (wrong, right))
    assert drawn.shape == clean.shape and drawn.dtype == np.uint8
    assert (drawn == red).all(axis=2).sum() > 1000 and not (clean == red).all(axis=2).any()


def test_without_a_threshold_nothing_is_judged(tmp_path: Path) -> None:
    found = compare(album(tmp_path, a__one="red", b__one="blue"), PIPELINE, None)
    assert list(found.lines()) == ["1.275  a/one.png  b/one.png"]
    assert found.summary().endswith("at least 1.275; without a threshold nothing is judged")
    assert all(pair.is_right and pair.judged is None for pair in found.pairs)
    assert draw_comparison(found, "title").shape[2] == 3


def test_a_cosine_at_the_threshold_is_not_above_it(tmp_path: Path) -> None:
    root = album(tmp_path, a__one="red", a__two="pink")
    cosine = float(np.float32(np.cos(0.2)))
    found = [compare(root, PIPELINE, at).pairs[0].judged for at in (cosine, float(np.nextafter(np.float32(cosine), 0)))]
    assert found == [False, True]


def test_a_photograph_without_a_face_or_too_few_of_them_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a/two\.png: no face found, expected a face"):
        compare(album(tmp_path / "x", a__one="red", a__two="black"), PIPELINE, 0.75)
    with pytest.raises(DataError, match="has 1 photographs, expected two or more"):
        compare(album(tmp_path / "y", a__one="red"), PIPELINE, 0.75)
