# SPDX-License-Identifier: Apache-2.0
"""The benchmark of detectors of one network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.__main__ import main
from benchmarks.page import section

from benchmarks import detectors

pytestmark = pytest.mark.weights


def test_every_detector_of_the_catalogue_with_weights_is_measured_at_some_size() -> None:
    from facepipe.catalogue import DETECTORS

    assert set(detectors.SIZES) == {
        name
        for name, parts in DETECTORS.items()
        if len(parts) == 1 and name != "retinaface.resnet50"  # a user's file
    }


def test_figures_are_measured_written_and_shown(
    seeded: Callable[..., Path], sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectors, "SIZES", {"ultraface.slim-320": ((96, 128),)})
    arguments = [
        "--photographs",
        "4",
        "--backend",
        "onnxruntime:f32",
        "--threads",
        "1",
        "--data",
        str(sample / "images"),
    ]
    weights_dir = seeded("ultraface.slim-320")
    assert main(["detectors", *arguments, "--weights", str(weights_dir), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    row = found["detectors"]["onnxruntime_f32"]["ultraface.slim-320"]["128x96"]["1"]
    assert 0.05 < row["latency_ms"] < 1000
    assert 1 < row["per_second"] < 100_000
    shown = section("detectors", found["detectors"])
    assert f"| `onnxruntime_f32` | ultraface.slim-320 | 128x96 | 1 | {row['latency_ms']:.2f} |" in shown
