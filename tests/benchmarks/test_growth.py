# SPDX-License-Identifier: Apache-2.0
"""The parts of the benchmark beside the comparison: growth, memory, start-up, arithmetic, the page, the chart."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.__main__ import main
from benchmarks.page import page
from benchmarks.scaling import memory_of, repeated
from PIL import Image

from facepipe.catalogue import model
from facepipe.datasets.images import read
from facepipe.datasets.mosaic import write_mosaic


def test_a_list_is_taken_again_until_there_are_enough() -> None:
    assert repeated(list("abc"), 7) == list("abcabca")
    assert repeated(list("abcdef"), 3) == ["a", "c", "e"]


def test_memory_growth_is_between_the_two_largest_numbers() -> None:
    rows = {"100": 50, "7701": 103, "1000": 100}
    found = memory_of(
        {
            "configuration": "x",
            "photographs": {count: {"peak_memory_bytes": peak} for count, peak in rows.items()},
        }
    )
    assert found["growth_of_the_last_step"] == pytest.approx(0.03)


def test_a_mosaic_is_filled_to_its_edges(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 30, 3), 200, np.uint8)).save(tmp_path / "tile.png")
    assert write_mosaic([tmp_path / "tile.png"], tmp_path / "all.jpg", 100, 70) == 4
    made = read(tmp_path / "all.jpg")
    assert made.shape == (100, 70, 3)
    assert made.min() > 190


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        # By hand: convolutions are outputs x inputs x kernel at each position, then the dense layers.
        ("rnet", (2, 3, 24, 24), 2 * (22 * 22 * 28 * 27 + 81 * 48 * 252 + 9 * 64 * 192 + 576 * 128 + 128 * 6)),
        ("pnet", (1, 3, 12, 12), 100 * 10 * 27 + 9 * 16 * 90 + 32 * 144 + 32 * 6),
    ],
)
def test_arithmetic_is_counted(name: str, shape: tuple[int, ...], expected: int, weights_dir: Path) -> None:
    pytest.importorskip("onnx", reason="counting needs the extra [convert]")
    from facepipe.convert.onnx.arithmetic import multiply_adds

    assert multiply_adds(model(name).final(weights_dir), shape) == expected


@pytest.mark.weights
@pytest.mark.slow
def test_every_part_of_growth_is_measured_written_and_drawn(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    small = [
        "--photographs",
        "2",
        "--repeats",
        "1",
        "--workers",
        "1",
        "--batch",
        "2",
        "--counts",
        "2",
        "4",
        "--sizes",
        "1080p",
    ]
    where = ["--data", str(sample / "images"), "--weights", str(weights_dir), "--out", str(tmp_path), "--no-peer"]
    written = tmp_path / "page.md"
    words = ["end_to_end", "scaling", "memory", "startup", "--backend", "onnxruntime", *small, *where]
    assert main([*words, "--page", str(written)]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert set(found["scaling"]["photographs"]) == {"2", "4"}
    large = found["scaling"]["sizes"]["1080p"]
    assert large["faces"] > 10 * large["photographs"]
    assert found["memory"]["peak_bytes"]["4"] == found["scaling"]["photographs"]["4"]["peak_memory_bytes"]
    assert found["startup"]["help"]["seconds"] < found["startup"]["detect_onnxruntime"]["seconds"]
    assert written.read_text() == page(found)
    for section in ("## Photographs to embeddings", "## As the work grows", "## Memory", "## Start-up"):
        assert section in written.read_text()
    if importlib.util.find_spec("matplotlib") is not None:
        assert (tmp_path / "bench.png").stat().st_size > 10_000


def test_memory_without_scaling_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "--out", str(tmp_path), "--backend", "null"]) == 1
    assert "there are none" in capsys.readouterr().err


def test_the_committed_page_is_what_the_program_would_write_of_its_first_part() -> None:
    committed = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text()
    introduction = page({}).partition("## What gave what")[0].rstrip("\n")
    assert committed.startswith(introduction)
