# SPDX-License-Identifier: Apache-2.0
"""What a training tells: lines, metrics.jsonl, the board."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from facepipe.errors import DataError, StageError
from facepipe.store.owned import claim
from facepipe.train.log import Line, Metrics, read_metrics

LINE = Line(200, 0, 55.56921, 0.1, 0.5, 500.891, 0.02, 99.0, 3, 104.2)


def test_a_line_is_in_the_ports_words() -> None:
    assert str(LINE).startswith(
        "Speed 500.89 samples/sec   Loss 55.5692   Epoch: 0   Global Step: 200   Required: 104 hours, "
        "lr_backbone_value: 0.100000, lr_pfc_value: 0.100000"
    )


def told(out: Path, steps: range, after: int = 0) -> Metrics:
    metrics = Metrics(out, after)
    for step in steps:
        metrics.put("step", step, loss=float(step))
    return metrics


def steps_in(path: Path) -> list[int]:
    return [line["step"] for line in read_metrics(path) if line["kind"] == "step"]


@pytest.mark.parametrize("mine", ["", "mine\n", '{"kind": "step", "step": 1}\n', '{"kind": "file", "step": 0}\n'])
def test_a_file_of_the_users_stays(mine: str, tmp_path: Path) -> None:
    claim(tmp_path)
    told(tmp_path, range(1, 3)).close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(mine, encoding="utf-8")
    with pytest.raises(StageError, match="does not begin as facepipe wrote it"):
        Metrics(tmp_path, 1)
    assert path.read_text(encoding="utf-8") == mine


def test_lines_of_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    claim(tmp_path)
    told(tmp_path, range(1, 6)).close()
    told(tmp_path, range(4, 7), after=3).close()
    assert steps_in(tmp_path / "metrics.jsonl") == [1, 2, 3, 4, 5, 6]


def test_what_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    claim(tmp_path)
    told(tmp_path, range(1, 4)).close()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert steps_in(path) == [1, 2]
    told(tmp_path, range(3, 5), after=2).close()
    assert steps_in(path) == [1, 2, 3, 4]


@pytest.mark.parametrize("line", ["[1, 2]", "{}", '{"kind": "step"}', '{"kind": 1, "step": 1}', "no JSON"])
def test_a_line_that_is_none_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"kind": "begun", "step": 0}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2 is none of a training's"):
        read_metrics(path)


def test_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    claim(tmp_path)
    metrics = told(tmp_path, range(1, 2))
    with pytest.raises(ValueError, match="JSON"):
        metrics.put("step", 2, loss=float("nan"))
    metrics.close()
    assert steps_in(tmp_path / "metrics.jsonl") == [1]


def test_the_board_is_filled_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scalars: list[tuple[str, float, int]] = []
    opened: dict[str, Any] = {}

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            opened.update(folder=folder, purge_step=purge_step)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            scalars.append((name, value, step))

        def close(self) -> None:
            opened["closed"] = True

    board = ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    claim(tmp_path)
    metrics = told(tmp_path, range(8, 9), after=7)
    metrics.put("verification", 8, name="lfw", accuracy=0.9)
    metrics.close()
    assert scalars == [("loss", 8.0, 8), ("lfw/accuracy", 0.9, 8)]
    assert opened == {"folder": str(tmp_path / "board"), "purge_step": 8, "closed": True}


def test_each_line_is_one_object(tmp_path: Path) -> None:
    claim(tmp_path)
    told(tmp_path, range(1, 3)).close()
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["file", "step", "step"]
