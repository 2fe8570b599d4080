# SPDX-License-Identifier: Apache-2.0
"""A verdict says by which threshold and what rate that stands for, or that there is none, to commands and Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import facepipe
from facepipe.catalogue import embedder
from facepipe.cli import main
from facepipe.errors import DataError
from facepipe.faces.verdict import in_words, verdict
from facepipe.metrics.identification import cosines
from facepipe.metrics.verification import squared_distances
from facepipe.specs import Imported, MeasuredThresholds, ModelSpec, RateAt

MS1M = embedder("mobilefacenet.ms1m")


def pair(similarity: float) -> tuple[np.ndarray, np.ndarray]:
    one = np.array([1, 0], np.float32)
    return one, np.array([similarity, np.sqrt(1 - similarity**2)], np.float32)


def known(similarity: float) -> ModelSpec:
    rates = (RateAt(1e-2, 0.1, 0.008, 0.012), RateAt(1e-3, similarity, 0.0009, 0.0012))
    return replace(MS1M, thresholds=MeasuredThresholds(rates, "some people"))


def test_a_face_at_the_threshold_is_of_another_person_and_the_next_above_is_the_same() -> None:
    one, other = pair(0.4)
    at = float(cosines(one[None], other[None])[0])
    found = verdict(one, other, known(at))
    assert found.same is False and found.threshold == at and found.far == 1e-3 and found.source == "some people"
    below = float(np.nextafter(np.float32(at), np.float32(-1)))
    assert verdict(one, other, known(below)).same is True
    assert found.distance == squared_distances(one[None], other[None])[0]


def test_the_words_say_the_rate() -> None:
    assert in_words(verdict(*pair(0.5), known(0.4))) == (
        "the same person: cosine above 0.4000, above which is 1 of 1,000 pairs of different people (some people)"
    )
    assert in_words(verdict(*pair(0.3), known(0.4))).startswith("different people: cosine not above 0.4000, above ")
    by_hand = verdict(*pair(0.3), known(0.4), None, 0.2)
    assert in_words(by_hand) == "the same person: cosine above 0.2000 (given by hand)"


def test_there_is_no_verdict_without_a_threshold_or_behind_another_alignment() -> None:
    none = verdict(*pair(0.9), replace(MS1M, thresholds=None))
    assert (none.same, none.threshold, none.far) == (None, None, None)
    assert (
        in_words(none) == "no verdict: mobilefacenet.ms1m: no threshold was measured for it. Try: --threshold COSINE."
    )
    other = verdict(*pair(0.9), known(0.4), "gives no landmarks")
    assert other.same is None and "its threshold is for other alignment" in in_words(other)
    assert verdict(*pair(0.9), known(0.4), "gives no landmarks", 0.5).same is True


def test_a_users_own_model_answers_by_the_threshold_of_its_record_and_without_one_not_at_all() -> None:
    stated, silent = (
        replace(MS1M, name="own", thresholds=None, imported=Imported("own.onnx", "ab", "cd", threshold))
        for threshold in (0.4, None)
    )
    for similarity, same in ((0.5, True), (0.3, False)):
        found = verdict(*pair(similarity), stated)
        assert (found.same, found.threshold, found.far, found.source) == (same, 0.4, None, "of own's own record")
    assert in_words(verdict(*pair(0.5), stated)) == "the same person: cosine above 0.4000 (of own's own record)"
    other = verdict(*pair(0.5), stated, "gives no landmarks")
    assert (other.same, other.source) == (None, "own: its threshold is for other alignment")
    for note in (None, "gives no landmarks"):
        none = verdict(*pair(0.5), silent, note)
        assert (none.same, none.threshold, none.source) == (None, None, "own: no threshold was measured for it")
    assert verdict(*pair(0.5), silent, None, 0.4).same is True


@pytest.mark.parametrize("threshold", [1.5, -1.01, float("nan")])
def test_what_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(DataError, match="expected a cosine from -1 to 1"):
        verdict(*pair(0.9), known(0.4), None, threshold)


@pytest.mark.weights
def test_the_command_and_python_give_one_verdict(
    seeded: Callable[..., Path], sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = seeded("mobilefacenet.ms1m")
    photographs = sorted((sample / "images").rglob("*.jpg"))
    one, other = str(photographs[0]), str(photographs[-1])
    words = ["verify", one, other, "--weights", str(weights), "--embedder", "mobilefacenet.ms1m"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with facepipe.load("mtcnn", "mobilefacenet.ms1m", weights=weights) as faces:
        found = faces.verify(one, other)
        assert faces.verify(one, other, threshold=-1).same is True
        assert faces.distance(one, other) == found.distance
    assert told["similarity"] == pytest.approx(found.similarity, abs=1e-5) and told["same"] is found.same
    assert MS1M.thresholds is not None
    assert told["far"] == 1e-3 and told["threshold"] == MS1M.thresholds.rates[1].similarity
    assert main([*words, "--threshold", "1"]) == 0
    assert "different people: cosine not above 1.0000 (given by hand)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        main([*words, "--threshold", "1.5"])
    assert refused.value.code == 2
    assert main([*words[:-1], "facenet.seeded"]) == 0  # a verdict or none: the command did what it was asked
    assert "no verdict: facenet.seeded: no threshold was measured for it" in capsys.readouterr().out
