# SPDX-License-Identifier: Apache-2.0
"""facepipe wider, on the mirror's photographs and on made ones, and its errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("scipy.io", reason="scipy reads the .mat files")

from wider_truth import write_truth

from facepipe.cli import main
from facepipe.datasets.widerface import SETTINGS

pytestmark = pytest.mark.weights

# 320x240, all 100 photographs of the mirror, measured once with the published ONNX files and another evaluator.
REFERENCE = {"easy": 0.639, "medium": 0.514, "hard": 0.288}


def _wider(*arguments: object) -> int:
    return main(["wider", *map(str, arguments)])


@pytest.fixture
def few(sample: Path, tmp_path: Path) -> Path:
    """Three photographs of the made sample in WIDER FACE's layout; the face is always in the middle."""
    data, photographs = tmp_path / "widerface", sorted(sample.rglob("*_0001.jpg"))[:3]
    (data / "images").mkdir(parents=True)
    for path in photographs:
        shutil.copy(path, data / "images")
    faces = {path.stem: [[75, 55, 100, 120], [60, 40, 130, 150]] for path in photographs}
    counted = {setting: {key: [1, 2] for key in faces} for setting in SETTINGS}
    truth = {"0--Portrait": {**faces, "not_here": [[1, 1, 9, 9]]}}
    write_truth(data / "ground_truth", truth, counted)
    lines = [f"# 0--Portrait/{path.name} 250 250" for path in photographs]
    (data / "val_labelv2.txt").write_text("\n".join(lines) + "\n")
    return data


@pytest.fixture(scope="module")
def weights(seeded: Callable[..., Path]) -> Path:
    """Detectors of seeded weights, which find boxes anywhere."""
    return seeded("ultraface.slim-320", "ultraface.rfb-320", "blazeface.front")


def test_average_precision_of_a_hundred_photographs_is_the_reference(
    assets: Path, weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ("--data", assets / "widerface", "--detector", "ultraface.slim-320", "--size", 320, "--workers", 1)
    assert _wider(*arguments, "--weights", weights_dir, "--run", run) == 0
    content = json.loads((run / "wider.json").read_text())
    for setting, value in REFERENCE.items():
        assert content["ap"][setting] == pytest.approx(value, abs=0.01)
    assert content["images_scored"] == 100
    assert content["protocol"] == "single scale, 320x240, aspect not kept"
    assert content["photographs"]["rescaled_copies"] == 100
    assert (run / "precision_recall.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "100 of 3,226 photographs (a subset, against its own ground truth)" in printed

    # The files that were written give the same figures without a detector.
    again = tmp_path / "again"
    assert _wider("--data", assets / "widerface", "--predictions", run / "predictions/single", "--run", again) == 0
    assert json.loads((again / "wider.json").read_text())["ap"] == content["ap"]


def test_five_sizes_are_averaged_and_multi_scale_is_another_protocol(
    few: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small sizes: what is tested is how passes come together.
    monkeypatch.setattr("facepipe.runs.wider_protocol.FIVE_SIZES", (96, 128, 160, 192, 224))
    labels = {}
    for protocol in ("five-size-mean", "multi-scale"):
        run = tmp_path / protocol
        arguments = ("--data", few, "--detector", "ultraface.slim-320", "--protocol", protocol, "--workers", 1)
        assert _wider(*arguments, "--weights", weights, "--run", run) == 0
        content = json.loads((run / "wider.json").read_text())
        labels[protocol] = content["protocol"]
        if protocol == "five-size-mean":
            by_pass = [values["hard"] for values in content["ap_by_pass"].values()]
            assert len(by_pass) == 5
            assert content["ap"]["hard"] == pytest.approx(sum(by_pass) / 5)
            assert len(list(run.glob("precision_recall.*.png"))) == 5
        else:
            assert "ap_by_pass" not in content
    assert labels["five-size-mean"] != labels["multi-scale"]


@pytest.mark.parametrize("nms", ["soft", "blending"])
def test_other_suppressions_are_recorded(
    nms: str, few: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", few, "--detector", "ultraface.slim-320", "--nms", nms, "--least-score", 0.3, "--workers", 1)
    assert _wider(*arguments, "--weights", weights, "--run", tmp_path / "run") == 0
    content = json.loads((tmp_path / "run" / "wider.json").read_text())
    assert content["settings"]["suppression"]["method"] == nms
    rows = capsys.readouterr().out.splitlines()
    assert max(len(row) for row in rows if not row.startswith(str(tmp_path))) <= 120, "a table, and no essay in it"
    written = [path.read_text().splitlines() for path in (tmp_path / "run" / "predictions").rglob("*.txt")]
    assert len(written) == 3
    assert all(len(lines) == 2 + int(lines[1]) > 2 for lines in written)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--whole",), "3 photographs, expected all 4"),
        (("--detector", "blazeface.front", "--size", "300"), "blazeface.front takes 128x128 alone"),
        (("--detector", "mtcnn", "--nms", "soft"), "mtcnn is a cascade"),
        (("--least-score", "1.5"), "threshold is 1.5, expected 0 up to, but not including, 1"),
        (("--overlap", "0"), "overlap is 0.0, expected more than 0"),
        (("--data", "nowhere"), "nowhere: no such folder, expected WIDER FACE"),
    ],
)
def test_what_a_user_can_repair_is_one_line_and_status_1(
    arguments: tuple[str, ...],
    message: str,
    few: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _wider("--data", few, "--weights", weights, "--run", tmp_path / "run", *arguments) == 1
    printed = capsys.readouterr().err.splitlines()
    assert message in printed[-1]
