# SPDX-License-Identifier: Apache-2.0
"""Names on faces: colours by person, plates that stay inside and apart, fonts that have the letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.errors import DataError
from facepipe.postprocess.fonts import find_font
from facepipe.postprocess.recognition_drawing import Label, colour_of, draw_names, font_for


def label(box: tuple[float, float, float, float], text: str = "Ana 0.71", person: str | None = "Ana") -> Label:
    return Label(np.array(box, np.float32), text, person)


def mask(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == np.array(colour, np.uint8)).all(axis=2)


def test_a_person_has_one_colour_and_nobody_is_grey() -> None:
    names = [f"Person {i}" for i in range(40)]
    assert [colour_of(name) for name in names] == [colour_of(name) for name in names]
    assert len({colour_of(name) for name in names}) > 30
    assert colour_of(None) == (150, 150, 150)
    assert all(max(colour_of(name)) - min(colour_of(name)) > 60 for name in names), "no name is as grey as nobody"


def test_the_box_is_drawn_where_the_face_is_and_the_plate_above() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    drawn = draw_names(image, [label((100, 120, 180, 220))], font_for(["Ana 0.71"]))
    rows, columns = np.nonzero(mask(drawn, colour_of("Ana")))
    assert (columns.min(), rows.max()) == (100, 220)
    assert 95 < rows.min() < 120, "the plate"
    assert (image == 255).all(), "the photograph itself is not changed"


@pytest.mark.parametrize("box", [(5, 0, 60, 50), (-30, -30, 50, 60), (350, 260, 420, 330), (0, 0, 400, 300)])
def test_a_plate_stays_inside_the_photograph(box: tuple[float, float, float, float]) -> None:
    bare = np.full((300, 400, 3), 255, np.uint8)
    wide = draw_names(np.pad(bare, ((200, 200), (300, 300), (0, 0)), constant_values=255), [], font_for(["x"]))
    drawn = draw_names(bare, [label(box)], font_for(["Ana 0.71"]))
    plate = mask(drawn, colour_of("Ana"))
    assert plate.sum() > 400, "enough of the plate is seen to hold a name"
    assert wide.shape == (700, 1000, 3)


def test_plates_of_neighbours_do_not_cover_each_other() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    labels = [label((100, 120, 180, 220), "Ana 0.71", "Ana"), label((120, 121, 200, 221), "Bea 0.66", "Bea")]
    font = font_for(["Ana Bea 0.716"])
    together = draw_names(image, labels, font)
    for one in labels:
        alone = mask(draw_names(image, [one], font), colour_of(one.person)).sum()
        assert mask(together, colour_of(one.person)).sum() > 0.75 * alone


def test_no_face_leaves_the_photograph_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    np.testing.assert_array_equal(draw_names(image, [], font_for([])), image)


@pytest.mark.parametrize("text", ["Ana Müller", "Łukasz Żak", "René"])
def test_names_of_europe_have_a_font_wherever_matplotlib_is(text: str) -> None:
    pytest.importorskip("matplotlib", reason="DejaVu Sans comes with it")
    assert find_font(text).lacking == ""


@pytest.mark.parametrize("text", ["Зоя", "Ελένη", "שלום"])
def test_dejavu_has_more_alphabets_than_pillows_own_font(text: str) -> None:
    pytest.importorskip("matplotlib", reason="DejaVu Sans comes with it")
    found = find_font(text)
    assert found.lacking == ""
    assert found.path is not None


def test_letters_that_no_font_has_are_told() -> None:
    assert find_font("Ana \U0010fffd").lacking == "\U0010fffd"


def test_chinese_names_are_drawn_where_a_font_has_them() -> None:
    font = find_font("瑞秋格林")
    if font.lacking:
        pytest.skip("no font here has Chinese letters; the extra [cjk] brings one")
    image = np.full((200, 300, 3), 255, np.uint8)
    one, other = (draw_names(image, [label((50, 80, 250, 180), text, "x")], font) for text in ("瑞秋", "莫妮"))
    assert (one != other).any(), "not the same box for every letter"


def test_a_given_font_comes_first_and_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "no.ttf").write_text("no font")
    with pytest.raises(DataError, match=r"no\.ttf: it is no font"):
        find_font("Ana", tmp_path / "no.ttf")
    shipped = find_font("Ana").path
    if shipped is None:
        pytest.skip("there is no font file here")
    assert find_font("Ana", shipped).path == shipped


def test_letters_are_no_higher_than_a_twelfth_of_the_photograph() -> None:
    drawn = draw_names(np.full((120, 600, 3), 255, np.uint8), [label((10, 30, 590, 110))], font_for(["Ana 0.71"]))
    rows = np.nonzero(mask(drawn, colour_of("Ana")).sum(axis=1) > 30)[0]
    assert Image.fromarray(drawn).size == (600, 120)
    assert rows.min() >= 10
