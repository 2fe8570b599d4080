# SPDX-License-Identifier: Apache-2.0
"""The parts of the benchmark beside the comparison: growth, memory, start-up, arithmetic, the page, the chart."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.__main__ import main
from benchmarks.mosaic import write_mosaic
from benchmarks.page import TABLES, refreshed, section
from benchmarks.scaling import memory_of, repeated
from PIL import Image

from facepipe.catalogue import model
from facepipe.datasets.images import read
from facepipe.errors import DataError


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
    from benchmarks.arithmetic import multiply_adds

    assert multiply_adds(model(name).final(weights_dir), shape) == expected


@pytest.mark.weights
@pytest.mark.slow
def test_every_part_of_growth_is_measured_written_and_drawn(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    small = [
        "--photographs",
        "2",
        "--rounds",
        "6",
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
    parts = ("end_to_end", "scaling", "memory", "startup")
    written.write_text("# Mine\n\n" + "".join(f"<!-- figures: {part} -->\n<!-- end -->\n" for part in parts))
    words = [*parts, "--backend", "onnxruntime", *small, *where]
    assert main([*words, "--page", str(written)]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert set(found["scaling"]["photographs"]) == {"2", "4"}
    large = found["scaling"]["sizes"]["1080p"]
    assert large["faces"] > 10 * large["photographs"]
    assert found["memory"]["peak_bytes"]["4"] == found["scaling"]["photographs"]["4"]["peak_memory_bytes"]
    assert found["startup"]["help"]["seconds"] < found["startup"]["detect_onnxruntime"]["seconds"]
    assert written.read_text() == "# Mine\n\n" + "".join(section(part, found[part]) + "\n" for part in parts)
    if importlib.util.find_spec("matplotlib") is not None:
        assert (tmp_path / "bench.png").stat().st_size > 10_000


def test_memory_without_scaling_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "--out", str(tmp_path), "--backend", "null"]) == 1
    assert "there are none" in capsys.readouterr().err


MARKED = (
    "# Page\n\n<!-- figures: memory -->\nold\n<!-- end -->\n\nWords.\n\n<!-- figures: startup -->\nkept\n<!-- end -->\n"
)


def test_only_the_tables_that_were_measured_are_written() -> None:
    memory = {"peak_bytes": {"100": 5_000_000}, "configuration": "x"}
    written = refreshed(MARKED, {"memory": memory})
    assert written == MARKED.replace("old\n", "| photographs | memory MB |\n|---|--:|\n| 100 | 5 |\n")
    assert refreshed(written, {"memory": memory}) == written
    assert refreshed(MARKED, {}) == MARKED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- figures: speed -->\n<!-- end -->\n", "no figures of 'speed', expected one of end_to_end, profile"),
        ("<!-- figures: memory -->\n", "the figures of 'memory' have no end"),
        ("<!-- figures: memory -->\n<!-- figures: startup -->\n<!-- end -->\n", "the figures of 'memory' have no end"),
    ],
)
def test_markers_that_are_wrong_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        refreshed(text, {})


def test_a_page_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = [str(tmp_path / "page.md"), "--out", str(tmp_path)]
    assert main(["memory", "--backend", "null", "--page", *written]) == 1
    assert "expected a page with the markers" in capsys.readouterr().err


def test_every_table_of_the_committed_page_has_the_form_that_the_program_writes() -> None:
    """Its first two lines, which no figure is in; and it names the command and the machine that made it."""
    committed = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert refreshed(committed, {}) == committed
    row = {"per_second": 1.0, "cpu_ms": 1.0, "faces": 1, "photographs": 1, "peak_memory_bytes": 1}
    plan = {"photographs": 1, "rounds": 1, "photographs_each_round": 1, "cores": 1}
    found: dict[str, dict[str, Any]] = {
        "end_to_end": {**plan, "limits_gflops": {"f32": [1.0]}, "peer": row},
        "profile": {"photographs": 1, "limits_gflops": {}},
        "networks": {"limits_gflops": {}},
        "scaling": {"photographs": {"1": row}, "processes": {}, "sizes": {}, "configuration": "x"},
        "memory": {"peak_bytes": {}},
        "startup": {},
        "gallery": {"rows": 1, "dimension": 1},
        "detectors": {"photographs": 1, "batch": 1},
    }
    assert set(found) == set(TABLES)
    for name, part in found.items():
        head, rule = section(name, part).splitlines()[1:3]
        _, _, behind = committed.partition(f"<!-- figures: {name} -->\n")
        shown = behind.partition("<!-- end -->")[0].splitlines()
        if not shown:  # its form has changed since it was measured last
            continue
        if name == "profile":  # a column for each setting
            assert shown[0].startswith(head.rstrip(" |")) and shown[1].startswith(rule.rstrip("|"))
        else:
            assert shown[:2] == [head, rule], name
        assert re.fullmatch(r"Measured \S+ on .*, by `python -m benchmarks .*`. Versions: .*", shown[-1])
