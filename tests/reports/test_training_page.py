# SPDX-License-Identifier: Apache-2.0
"""The page of a training: what was measured is on it, where it was measured, and nothing comes from outside."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_page import Page
from hypothesis import example, given
from hypothesis import strategies as st

from facepipe.reports.line_chart import MOST_POINTS, Line, line_chart, ticks
from facepipe.reports.training_page import training_page

HOSTILE = '<script>alert(1)</script> & "lfw"\u202e'
RECIPE = {"model": "mobilefacenet.paddle", "batch": 512, "marks": [8, 14], "loss": {"m2": 0.5}}


def step(number: int, **others: object) -> dict[str, object]:
    told = {"epoch": number // 100, "loss": 10.0, "rate": 0.1, "margin": 0.5, "samples_per_second": 100.0}
    return {"kind": "step", "step": number, **told, "waiting": 0.02, "seconds": number / 2, "left_out": 0, **others}


def verified(number: int, name: str, accuracy: float) -> dict[str, object]:
    entry = {"kind": "verification", "step": number, "name": name, "accuracy": accuracy, "best": accuracy}
    return {**entry, "deviation": 0.01, "x_norm": 9.890562}


class TrainingPage(Page):
    """A page with lines drawn; each piece of its text is a line."""

    @property
    def text(self) -> str:
        return "".join(f"{piece}\n" for piece in self.texts)

    def points(self) -> list[list[tuple[float, float]]]:
        """Of each line, in the drawing's units of 1,000."""
        drawn = [dict(attributes)["points"] or "" for tag, attributes in self.tags if tag == "polyline"]
        return [[(float(a), float(b)) for a, b in (pair.split(",") for pair in line.split())] for line in drawn]


def test_every_figure_is_where_it_was_measured() -> None:
    metrics = [
        {"kind": "begun", "step": 0, "world": 2, "steps": 1000, "versions": {"torch": "2.13.0"}},
        step(100, loss=40.0, rate=0.1),
        verified(100, "lfw", 0.6),
        step(200, loss=30.0, rate=0.1),
        {"kind": "saved", "step": 200, "folder": "step-00000200"},
        {"kind": "resumed", "step": 200, "world": 1},
        step(300, loss=20.0, rate=0.05, seconds=7.0, left_out=2),
        step(400, loss=0.0, rate=0.0, seconds=60.0, left_out=3),
        verified(400, "lfw", 0.8),
    ]
    content = training_page(metrics, RECIPE)
    page = TrainingPage(content)
    loss, accuracy, rate, speed, waiting = page.points()
    assert loss == [(250, 0), (500, 250), (750, 500), (1000, 1000)], "from 0 to 40, over steps 0 to 400"
    assert [x for x, _ in accuracy] == [250, 1000] and accuracy[0][1] > accuracy[1][1], "higher is better"
    assert rate[0][1] == 0 and rate[-1][1] == 1000, "from 0"
    assert len(speed) == len(waiting) == 4
    for told in (
        "400 of 1,000",
        "lfw 0.8000",
        "0.60000 ± 0.01000",
        "9.8906",
        "3 damaged samples left out",
        "versions.torch 2.13.0",
    ):
        assert told in page.text, told
    for told in ("Taken up again 1 time. Saved 1 time; the last is step-00000200.", "loss.m2", "8, 14", "2.7 min"):
        assert told in page.text, told
    # In four charts of five; the share of waiting has none, nor has a margin that stands still a chart.
    assert content.count('class="mark" d="M500.0 0V1000"') == 4
    assert "Margin" not in page.text
    assert "Margin" in training_page([*metrics, step(500, margin=0.4)], RECIPE)


def test_the_page_stands_alone_and_text_of_others_is_no_markup() -> None:
    content = training_page([step(1), verified(1, HOSTILE, 0.5)], {"model": HOSTILE, HOSTILE: HOSTILE})
    page = TrainingPage(content)
    assert {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags} == set()
    assert "http" not in content.replace("http-equiv", "") and "url(" not in content
    assert "default-src 'none'" in content
    assert page.text.count("<script>alert(1)</script>") >= 5 and "\u202e" not in content


def test_a_training_that_has_not_begun_has_a_page() -> None:
    page = TrainingPage(training_page([], RECIPE))
    assert page.points() == []
    assert page.text.count("Nothing was measured yet.") == 5


@pytest.mark.parametrize(("waiting", "is_told"), [(0.1, False), (0.3, True)])
def test_waiting_for_data_is_told_with_what_helps(waiting: float, is_told: bool) -> None:
    text = TrainingPage(training_page([step(1, waiting=waiting)], RECIPE)).text
    assert ("facepipe train-data pack" in text) == is_told


def test_what_is_not_finite_is_left_out_and_the_rest_drawn() -> None:
    metrics = [step(1, loss=2.0), step(2, loss=float("nan")), step(3, loss=float("inf")), step(4, loss=1.0)]
    assert [x for x, _ in TrainingPage(training_page(metrics, RECIPE)).points()[0]] == [250, 1000]


def test_a_long_line_is_drawn_by_means_in_a_band_of_all_that_was_seen() -> None:
    values = np.tile([0.0, 10.0], 10_000)
    page = TrainingPage(line_chart("Loss", [Line("loss", np.arange(20_000.0), values)], 20_000))
    (line,) = page.points()
    (band,) = [attributes["points"] or "" for tag, attributes in page.tags if tag == "polygon"]
    assert len(line) == MOST_POINTS and {y for _, y in line} == {500.0}
    assert {pair.split(",")[1] for pair in band.split()} == {"0.0", "1000.0"}


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
@example(0.0, 5e-324)
@example(69.0776, 0.0)
def test_ticks_are_round_and_enclose_what_they_are_for(low: float, spread: float) -> None:
    found = ticks(low, low + spread)
    apart = found[1] - found[0]
    assert found[0] <= low + 1e-6 * apart and found[-1] >= low + spread - 1e-6 * apart
    assert 3 <= len(found) <= 8
    assert np.allclose(np.diff(found), apart)
    digit = f"{apart:.0e}"[0] if apart else "0"
    assert digit in "125"


def test_labels_stand_at_their_lines() -> None:
    content = line_chart("A", [Line("a", np.array([0.0, 50.0]), np.array([0.0, 3.0]))], 50, told="{:.1f}".format)
    heights = dict(re.findall(r'<span style="top:([\d.]+)%">([\d.]+)</span>', content))
    lines = re.findall(r'class="grid" d="M0 ([\d.]+)H', content)
    assert [float(top) * 10 for top in heights] == pytest.approx([float(y) for y in lines], abs=0.6)
    assert heights["100.0"] == "0.0" and heights["0.0"] == "3.0"
