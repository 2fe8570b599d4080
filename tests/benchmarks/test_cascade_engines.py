# SPDX-License-Identifier: Apache-2.0
"""The table in the decision is the one that the command wrote, and its intervals are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("llvmlite", reason="the engine that is measured is the extra [native]")

from benchmarks.cascade_engines import _told, table

DECISION = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "0001-native-engine"


def test_the_decision_s_table_is_the_measured_one() -> None:
    found = json.loads(DECISION.with_suffix(".json").read_text(encoding="utf-8"))
    page = DECISION.with_suffix(".md").read_text(encoding="utf-8")
    assert "\n".join(table(found)) in page
    page = page.replace("\n", " ")
    assert found["command"] in page
    won = found["engines"]["direct"]["more_ms"]
    assert won["low"] > 0.4, "Winograd's lines are kept while they bring more than that"
    assert f"{won['median']:.2f} core-ms a photograph ({won['low']:.2f} to {won['high']:.2f})" in page.replace(
        "\n", " "
    )


def test_the_interval_is_of_the_median_by_ranks() -> None:
    told = _told([float(value) for value in range(25)])
    # Of 25 values ranks 8 and 18 enclose the median with 95.7 %, ranks 9 and 17 with 89.2 %.
    assert told == {"median": 12.0, "low": 7.0, "high": 17.0}
    assert _told([1.0, 2.0]) == {"median": 1.5, "low": 1.0, "high": 2.0}
