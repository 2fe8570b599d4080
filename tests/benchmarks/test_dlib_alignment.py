# SPDX-License-Identifier: Apache-2.0
"""The fit of dlib.resnet's template: from points that are known, the template that made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.dlib_alignment import PADDING, PLACES, SIDE, cut_places, frontal, mean_place

from facepipe.catalogue import MODELS
from facepipe.specs import FivePoint


def test_turned_scaled_and_moved_faces_give_the_template_back() -> None:
    alignment = MODELS["dlib.resnet"].alignment
    assert isinstance(alignment, FivePoint)
    template, cut = np.array(alignment.template), (PADDING + PLACES) / (2 * PADDING + 1) * SIDE
    rng = np.random.default_rng(0)
    places = []
    for number in range(40):
        angle, scale, shift = rng.uniform(-1, 1), rng.uniform(0.3, 4), rng.uniform(-300, 300, 2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        seen = template + rng.normal(0, 1, (5, 2)) + (40 if number == 7 else 0)  # one looked at something else
        places.append(cut_places(seen @ turn.T + shift, cut @ turn.T + shift))
    found, kept = mean_place(np.stack(places))
    assert found == pytest.approx(template, abs=0.6) and kept.tolist() == [number != 7 for number in range(40)]


def test_nobody_of_the_test_set_is_used(tmp_path: Path) -> None:
    cfp, names = tmp_path / "cfp", tmp_path / "lfw"
    for number in (1, 2, 3):
        folder = cfp / "Data" / "Images" / f"{number:03d}" / "frontal"
        folder.mkdir(parents=True)
        (folder / "01.jpg").touch()
        (folder / "02.jpg").touch()
    (cfp / "Data" / "list_name.txt").write_text("Ann Lee\nJohn Doe\nMia\n")
    (names / "John_Doe").mkdir(parents=True)
    found = [path.relative_to(cfp / "Data" / "Images").as_posix() for path in frontal(cfp, names)]
    assert found == ["001/frontal/01.jpg", "003/frontal/01.jpg"]
