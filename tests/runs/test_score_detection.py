# SPDX-License-Identifier: Apache-2.0
"""Predictions to wider.json, and curves as pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.datasets.widerface import Prediction, WiderPhotograph, WiderTruth
from facepipe.reports.detection_curves import curve_files, draw_precision_recall
from facepipe.runs.score_detection import score_predictions, wider_content

FACES = np.array([[10, 10, 40, 50], [100, 100, 30, 30]], np.float64)


def _truth(photographs: int) -> WiderTruth:
    counted = {
        "easy": np.array([False, False]),
        "medium": np.array([True, False]),
        "hard": np.array([True, True]),
    }
    return WiderTruth(tuple(WiderPhotograph(f"event/{n}", FACES, counted) for n in range(photographs)))


def _prediction(key: str, rows: list[int], scores: list[float]) -> Prediction:
    return Prediction(key, np.column_stack([FACES[rows], scores]))


def test_a_subset_is_scored_against_its_own_ground_truth_and_says_how_many_it_saw() -> None:
    truth = _truth(5)
    scores = score_predictions([_prediction("event/3", [0, 1], [0.9, 0.2])], truth)
    content = wider_content({"single": scores}, truth, "a label", {"detector": "x"})
    assert content["ap"] == {"easy": None, "medium": 1.0, "hard": 1.0}
    assert content["images_scored"] == 1
    assert content["images_total"] == 5
    assert content["is_subset"] is True
    assert content["faces"] == {"easy": 0, "medium": 1, "hard": 2}
    assert content["protocol"] == "a label"
    json.dumps(content, allow_nan=False)


def test_several_passes_are_averaged_and_each_is_listed() -> None:
    truth = _truth(1)
    good = score_predictions([_prediction("event/0", [0, 1], [0.9, 0.8])], truth)
    half = score_predictions([_prediction("event/0", [0], [0.9])], truth)
    content = wider_content({"500": good, "800": half}, truth, "mean", {})
    assert content["ap"] == {"easy": None, "medium": 1.0, "hard": 0.75}
    assert content["ap_by_pass"] == {
        "500": {"easy": None, "medium": 1.0, "hard": 1.0},
        "800": {"easy": None, "medium": 1.0, "hard": 0.5},
    }


def test_boxes_that_are_a_little_off_lower_the_mean_over_limits_and_not_the_ap() -> None:
    truth = _truth(1)
    off = Prediction("event/0", np.column_stack([FACES + np.array([4, 0, 0, 0]), [0.9, 0.8]]))
    content = wider_content({"single": score_predictions([off], truth)}, truth, "x", {})
    ap, mean_ap = content["ap"], content["map_50_95"]
    assert isinstance(ap, dict)
    assert isinstance(mean_ap, dict)
    assert ap["hard"] == 1.0
    assert 0.4 < mean_ap["hard"] < 0.8
    assert "0.50, 0.55, ... 0.95" in mean_ap["definition"]


def test_files_that_are_not_sorted_are_named() -> None:
    truth = _truth(1)
    scores = score_predictions([_prediction("event/0", [0, 1], [0.2, 0.9])], truth)
    assert wider_content({"a": scores}, truth, "x", {})["unsorted_files"] == {"a": ["event/0"]}


def test_curves_are_drawn_one_picture_for_each_pass(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    truth = _truth(2)
    scores = score_predictions([_prediction("event/0", [0, 1], [0.9, 0.8]), _prediction("event/1", [], [])], truth)
    files = curve_files(tmp_path, {"500": scores, "800": scores})
    assert sorted(path.name for path in files.values()) == ["precision_recall.500.png", "precision_recall.800.png"]
    assert curve_files(tmp_path, {"single": scores}) == {"single": tmp_path / "precision_recall.png"}
    for path in files.values():
        draw_precision_recall(path, scores, "a caption")
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape[0] > 300
        assert (pixels == (0xD1, 0x66, 0x2A)).all(axis=2).any()  # the curve of "medium"
