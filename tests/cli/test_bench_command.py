# SPDX-License-Identifier: Apache-2.0
"""`facepipe bench`: one line for each network and shape, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facepipe.cli import main

SHORT = ("--seconds", "0.01", "--backend", "null")


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["bench", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Files by the names of models: the back end `null` reads none."""
    for name in ("pnet", "rnet", "onet"):
        (tmp_path / f"{name}.simplified.onnx").touch()
    return str(tmp_path)


def test_each_network_and_batch_is_a_line(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = lines(capsys, "rnet", "onet", "--batch", "2", "5", "--weights", folder, *SHORT)
    assert head.split() == ["network", "input", "ms", "rows/s", "calls"]
    found = [row.split()[:2] for row in rows]
    assert found == [["rnet", "2x3x24x24"], ["rnet", "5x3x24x24"], ["onet", "2x3x48x48"], ["onet", "5x3x48x48"]]


def test_figures_come_as_json(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines(capsys, "pnet", "--shape", "4x3x40x48", "--json", "--weights", folder, *SHORT)
    found = json.loads(line)
    assert (found["model"], found["shape"], found["backend"], found["threads"]) == ("pnet", [4, 3, 40, 48], "null", 1)
    assert found["calls"] >= 3
    assert found["per_second"] == pytest.approx(4000 / found["median_ms"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pnet"], "pnet takes any size of [3, 12~"),
        (["rnet", "--shape", "1x3x25x24"], "expected float32 [1~"),
        (["nonesuch"], "nonesuch"),
        (["rnet", "--backend", "nonesuch"], "backend 'nonesuch' is not known"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], message: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = [] if "--backend" in arguments else ["--backend", "null"]
    assert main(["bench", *arguments, *backend, "--weights", folder]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_shape_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "rnet", "--shape", "1x3x24"])
    assert stopped.value.code == 2
    assert "'1x3x24', expected four numbers" in capsys.readouterr().err
