# SPDX-License-Identifier: Apache-2.0
"""Names on faces: colours by person, plates that stay inside and apart, fonts that have the letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.errors import DataError
from facepipe.reports.fonts import find_font
from facepipe.reports.recognition_drawing import Label, colours_of, draw_names, font_for

COLOURS = colours_of(["Ana", "Bea", "x"])
GREY = (150, 150, 150)


def label(box: tuple[float, float, float, float], text: str = "Ana 0.71", person: str | None = "Ana") -> Label:
    return Label(np.array(box, np.float32), text, person)


def mask(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == np.array(colour, np.uint8)).all(axis=2)


def test_few_people_have_colours_far_apart_and_nobody_is_as_grey_as_a_stranger() -> None:
    for count in (2, 3, 5, 8):
        found = list(colours_of(f"Person {i}" for i in range(count)).values())
        apart = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(found) for b in found[:i]]
        assert min(apart) > 80, f"{count} people"
    many = colours_of(f"Person {i}" for i in range(60))
    assert len(set(many.values())) == 60
    assert all(max(colour) - min(colour) > 60 for colour in many.values())
    assert colours_of(["b", "a", "b"]) == colours_of(["a", "b"])


def test_the_box_is_drawn_where_the_face_is_and_the_plate_above() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    drawn = draw_names(image, [label((100, 120, 180, 220))], font_for(["Ana 0.71"]), COLOURS)
    rows, columns = np.nonzero(mask(drawn, COLOURS["Ana"]))
    assert (columns.min(), rows.max()) == (100, 220)
    assert 95 < rows.min() < 120, "the plate"
    assert (image == 255).all(), "the photograph itself is not changed"


@pytest.mark.parametrize("box", [(5, 0, 60, 50), (-30, -30, 50, 60), (350, 260, 420, 330), (0, 0, 400, 300)])
def test_a_plate_stays_inside_the_photograph(box: tuple[float, float, float, float]) -> None:
    bare = np.full((300, 400, 3), 255, np.uint8)
    wide = draw_names(np.pad(bare, ((200, 200), (300, 300), (0, 0)), constant_values=255), [], font_for(["x"]), COLOURS)
    drawn = draw_names(bare, [label(box)], font_for(["Ana 0.71"]), COLOURS)
    plate = mask(drawn, COLOURS["Ana"])
    assert plate.sum() > 400, "enough of the plate is seen to hold a name"
    assert wide.shape == (700, 1000, 3)


def test_plates_of_neighbours_do_not_cover_each_other() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    labels = [label((100, 120, 180, 220), "Ana 0.71", "Ana"), label((120, 121, 200, 221), "Bea 0.66", "Bea")]
    font = font_for(["Ana Bea 0.716"])
    together = draw_names(image, labels, font, COLOURS)
    for one in labels:
        alone = mask(draw_names(image, [one], font, COLOURS), COLOURS[one.person or ""]).sum()
        assert mask(together, COLOURS[one.person or ""]).sum() > 0.75 * alone


def test_no_face_leaves_the_photograph_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    np.testing.assert_array_equal(draw_names(image, [], font_for([]), COLOURS), image)


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
    one, other = (draw_names(image, [label((50, 80, 250, 180), text, "x")], font, COLOURS) for text in ("瑞秋", "莫妮"))
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
    drawn = draw_names(
        np.full((120, 600, 3), 255, np.uint8), [label((10, 30, 590, 110))], font_for(["Ana 0.71"]), COLOURS
    )
    rows = np.nonzero(mask(drawn, COLOURS["Ana"]).sum(axis=1) > 30)[0]
    assert Image.fromarray(drawn).size == (600, 120)
    assert rows.min() >= 10


def test_a_name_covers_no_other_face_where_there_is_a_place() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    behind, front = label((90, 20, 190, 119), "Bea 0.66", "Bea"), label((100, 120, 180, 220))
    drawn = draw_names(image, [behind, front], font_for(["Ana Bea 0.716"]), COLOURS)
    rows, columns = np.nonzero(mask(drawn, COLOURS["Ana"]))
    inside = (rows > 23) & (rows < 116) & (columns > 93) & (columns < 187)
    assert not inside.any()
    assert rows.max() > 224, "the plate stands below"


def test_strangers_of_a_crowd_have_a_box_and_no_plate_but_a_name_is_always_there() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    font = font_for(["unknown Ana 0.71"])
    small = (100, 120, 122, 148)
    alone = mask(draw_names(image, [label(small, "unknown", None)], font, COLOURS), GREY)
    assert alone.sum() < 2 * 2 * (22 + 28) + 20, "lines alone"
    named = mask(draw_names(image, [label(small)], font, COLOURS), COLOURS["Ana"])
    assert named.sum() > 600
    large = mask(draw_names(image, [label((100, 120, 180, 220), "unknown", None)], font, COLOURS), GREY)
    assert large.sum() > 2 * 2 * 180 + 400, "a stranger with room has a plate"
