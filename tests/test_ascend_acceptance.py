# SPDX-License-Identifier: Apache-2.0
"""The acceptance script through the stand-ins: every step passes, and every kind of failure is in the report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import DEVLIB, environment

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "ascend_acceptance.sh"
MODELS = ("pnet", "rnet", "onet", "facenet.seeded")
STEPS = ["environment", "check", "compile", *(f"parity-{name}" for name in MODELS), "parity-msame", "parity-ais_bench",
         "aipp", "devices", "failures", "precision", "device-less", "accuracy"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(weights_dir: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and pairs of four people of the made sample."""
    root = tmp_path_factory.mktemp("acceptance")
    (root / "weights").mkdir()
    for name in MODELS:
        for file in (f"{name}.simplified.onnx", f"{name}.simplified.onnx.json"):
            if not (weights_dir / file).is_file():
                pytest.skip(f"{weights_dir / file} is not there: this test needs the converted models")
            (root / "weights" / file).symlink_to(weights_dir / file)
    people = sorted(path.name for path in (sample / "images").iterdir())[:4]
    folds = [f"{a}\t1\t2\n{a}\t1\t{b}\t1\n" for a, b in zip(people[:2], people[2:], strict=True)]
    (root / "pairs.txt").write_text("2\t1\n" + "".join(folds))
    return root


def accept(folder: Path, sample: Path, out: str, **changes: str) -> tuple[subprocess.CompletedProcess[str], str]:
    variables = {
        "FACEPIPE": str(Path(sys.executable).parent / "facepipe"),
        "DATA": str(sample),
        "PAIRS": str(folder / "pairs.txt"),
        "EMBEDDER": "facenet.seeded",
        "BATCH": "2",
        "CANN": "8.0",
        "OUT": out,
        "SHAPES": "rnet:3x3x24x24 pnet:1x3x40x48 embedder:1",
        "DEVLIB": str(DEVLIB),
        "OMP_NUM_THREADS": "1",
        **changes,
    }
    done = subprocess.run(
        ["bash", str(SCRIPT)], cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False
    )
    report = folder / out / "report.md"
    return done, report.read_text() if report.is_file() else ""


def remove_compiled(folder: Path) -> None:
    for om in (folder / "weights").glob("*.om*"):
        om.unlink()


def test_a_board_that_does_all_it_should_is_accepted(folder: Path, sample: Path) -> None:
    done, report = accept(folder, sample, "good", FAKE_DEVICES="2")
    assert done.returncode == 0, done.stderr + report
    assert report.startswith("# Acceptance of Ascend310\n\n**Passed**")
    latency = ["latency-rnet-3x3x24x24", "latency-pnet-1x3x40x48", "latency-embedder-1"]
    rows = [line.split("|")[1:3] for line in report.splitlines() if line.startswith("| ") and "logs/" in line]
    assert [name.strip() for name, _ in rows] == [*STEPS, *latency, "card", "memory"]
    assert all(result.strip() == "passed" for _, result in rows)
    assert "accuracy: onnxruntime" in report and "difference +0.0000" in report
    assert "| pnet | 1x3x40x48 | static |" in report and "| facenet.seeded | 1x3x160x160 | static |" in report
    # The words that a person would see, from the runtime and from facepipe.
    assert "a torn .om: " in report and "failed 100012, the .om cannot be deserialised" in report
    assert "an .om of another chip (Ascend310P3): " in report and "failed 545001" in report
    assert (
        "a batch that is no gear: " in report
        and "7x3x24x24 is to be timed, and it was compiled for 1x3x24x24" in report
    )
    assert "a device that is not there: " in report and "device 99 is not here, expected 0 to 1" in report
    assert '1 "DT_FLOAT16"' in report and "CANN None" in report
    assert "facenet.seeded at batch 2: 2 devices at once, " in report
    assert "memory of device 0: 2621 MB before, 2621 of 8192 MB at the highest, 2621 MB after" in report


def test_a_chip_that_takes_ranges_is_tried_with_them(folder: Path, sample: Path) -> None:
    board = {"FAKE_SOC": "Ascend310P3", "EMBEDDER": "facenet.seeded", "SHAPES": "", "RANGES": "pnet:1x3x40x48"}
    remove_compiled(folder)  # one folder holds one chip's
    done, report = accept(folder, sample, "ranges", **board)
    remove_compiled(folder)
    assert done.returncode == 0, done.stderr + report
    assert "| range | passed |" in report and "| pnet | 1x3x40x48 | range |" in report


@pytest.mark.parametrize(
    ("changes", "step", "message"),
    [
        (
            {"FAKE_SOC": "Ascend310P3", "SOC": "Ascend310"},
            "parity-pnet",
            "was compiled for Ascend310, this chip is Ascend310P3",
        ),
        ({"FAKE_ATC": "E16002"}, "compile", "no ONNX parser for an operator"),
        ({"BACKEND": "nonesuch", "FAKE_ATC": "silent"}, "environment", "backend nonesuch is not available"),
    ],
)
def test_a_failure_is_in_the_report_and_in_the_status(
    changes: dict[str, str], step: str, message: str, folder: Path, sample: Path
) -> None:
    if "FAKE_ATC" in changes:  # what an earlier test compiled is up to date, and would not be compiled again
        remove_compiled(folder)
    done, report = accept(folder, sample, "bad", SHAPES="", PAIRS="/nowhere", **changes)
    assert done.returncode == 1 and "**Failed: " in report
    assert f"| {step} | **failed** (1) |" in report
    assert message in (folder / "bad" / "logs" / f"{step}.log").read_text()


def test_without_a_chip_or_facepipe_nothing_is_begun(folder: Path, sample: Path) -> None:
    done, _ = accept(folder, sample, "never", FACEPIPE="/nowhere/facepipe")
    assert done.returncode == 1 and "no '/nowhere/facepipe', expected facepipe" in done.stderr
    done, _ = accept(folder, sample, "never", PYTHON="/bin/false")
    assert done.returncode == 1 and "the chip is not known. Try: SOC=Ascend310P3" in done.stderr
    assert not os.path.lexists(folder / "never")
