# SPDX-License-Identifier: Apache-2.0
"""The identification protocol on people made of vectors: who is enrolled, who is a stranger, what counts as a miss."""

from __future__ import annotations

import numpy as np
import pytest

from facepipe.errors import DataError
from facepipe.gallery.evaluate import evaluate


def _data(people: int = 60, strangers: int = 50, spread: float = 0.9) -> tuple[list[str], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    rows = {}
    for i in range(people):
        centre = rng.normal(size=64)
        for j in range(3):
            rows[f"p{i:03d}/{j}.jpg"] = centre + spread * rng.normal(size=64)
    for i in range(strangers):
        rows[f"s{i:03d}/0.jpg"] = rng.normal(size=64)
    return list(rows), {key: (row / np.linalg.norm(row)).astype(np.float32) for key, row in rows.items()}


def test_the_rates_are_those_of_the_protocol_written_out() -> None:
    keys, rows = _data()
    found = evaluate(keys, rows, (0.1, 0.5))
    assert (found.people, found.enrolled, found.mated, found.non_mated) == (110, 60, 120, 50)
    gallery = {key: rows[key] for key in keys if key.startswith("p") and key.endswith("/0.jpg")}

    def best(probe: np.ndarray) -> tuple[float, str]:
        return max((float(probe @ row), key[:4]) for key, row in gallery.items())

    mated = [(best(rows[key]), key[:4]) for key in keys if key.startswith("p") and not key.endswith("/0.jpg")]
    strangers = sorted((best(rows[key])[0] for key in keys if key.startswith("s")), reverse=True)
    assert found.rank_one == np.mean([name == own for (_, name), own in mated])
    assert 0.8 < found.rank_one < 1, "neither trivial nor hopeless"
    for rate, allowed in zip(found.open_set, (5, 25), strict=True):
        threshold = strangers[allowed]
        assert rate.threshold == pytest.approx(threshold, abs=1e-6)
        hits = [name == own and score > threshold for (score, name), own in mated]
        assert rate.dir == pytest.approx(np.mean(hits), abs=0.01)
        assert rate.fpir <= rate.fpir_target


def test_photographs_without_a_face_are_misses_and_never_false_alarms() -> None:
    keys, rows = _data(spread=0.1)
    whole = evaluate(keys, rows, (0.1,))
    assert whole.rank_one == 1.0
    for key in ("p000/0.jpg", "p001/1.jpg", "s000/0.jpg"):
        del rows[key]
    found = evaluate(keys, rows, (0.1,))
    assert (found.without_row, found.mated_faceless, found.non_mated_faceless) == (1, 1, 1)
    assert found.rank_one == pytest.approx(1 - 3 / 120), "two probes of p000 and one of p001"


def test_what_is_no_protocol_is_refused() -> None:
    keys, rows = _data()
    with pytest.raises(DataError, match=r"loose\.jpg lies in no person's folder"):
        evaluate([*keys, "loose.jpg"], rows)
    with pytest.raises(DataError, match="60 people enrolled, 120 mated and 0 non-mated probes"):
        evaluate([key for key in keys if key.startswith("p")], rows)


def test_two_photographs_make_a_person_and_one_a_stranger() -> None:
    keys, rows = _data()
    found = evaluate([key for key in keys if not key.endswith("/2.jpg")], rows, (0.1,))
    assert (found.enrolled, found.mated, found.non_mated) == (60, 60, 50)
