# SPDX-License-Identifier: Apache-2.0
"""What a training tells while it runs: lines in the seed's words, metrics.jsonl, and TensorBoard where it is installed.

`metrics.jsonl` has one object a line, each with `kind` and `step`. A run that goes on from a checkpoint drops the lines
of the steps that it does again.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from facepipe.errors import DataError
from facepipe.store import owned
from facepipe.store.files import write_text

METRICS: Final = "metrics.jsonl"
FORMAT: Final = "facepipe.metrics.1"
BOARD: Final = "board"


@dataclass(frozen=True, slots=True)
class Line:
    """What is told of the steps since the last line.

    Attributes:
        step: steps that are done.
        epoch: from 0.
        loss: mean of the steps since the last line.
        rate, margin: of the last of them; the margin is m2 and m3 added up.
        samples_per_second: of all processes.
        waiting: share of the time in which this process waited for data.
        seconds: since the run was begun or resumed.
        left_out: damaged samples so far.
        hours_left: at this speed.
    """

    step: int
    epoch: int
    loss: float
    rate: float
    margin: float
    samples_per_second: float
    waiting: float
    seconds: float
    left_out: int
    hours_left: float

    def __str__(self) -> str:
        """In the words of the Paddle port's trainer, and what it does not tell."""
        return (
            f"Speed {self.samples_per_second:.2f} samples/sec   Loss {self.loss:.4f}   Epoch: {self.epoch}   "
            f"Global Step: {self.step}   Required: {self.hours_left:1.0f} hours, lr_backbone_value: {self.rate:f}, "
            f"lr_pfc_value: {self.rate:f}, margin: {self.margin:.3f}, waiting: {self.waiting:.1%}"
        )


class Metrics:
    """metrics.jsonl of one run, written by one process; each line is on the disk before the next step."""

    def __init__(self, out: Path, step: int) -> None:
        """Open the file for a run that goes on after `step`."""
        path = out / METRICS
        if os.path.lexists(path):
            owned.require_grown(path)
            kept = [line for line in read_metrics(path) if line["step"] <= step]
            write_text(path, "".join(map(_line_of, kept)), overwrite=True)
        else:  # the first line is a run's own: by it the file is known as ours when it has grown
            write_text(path, _line_of({"kind": "file", "step": 0, "format": FORMAT, "run": secrets.token_hex(16)}))
        self._lines: IO[str] = path.open("a", encoding="utf-8")
        self._board: Any = _board(out / BOARD, step)

    def put(self, kind: str, step: int, **values: Any) -> None:
        """One line; numbers of it also on the board.

        Raises:
            ValueError: a number is NaN or infinite.
        """
        self._put({"kind": kind, "step": step, **values})
        if self._board is not None:
            name = values.get("name")
            for key, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{name}/{key}" if name else key, value, step)

    def close(self) -> None:
        """Nothing is told any more."""
        self._lines.close()
        if self._board is not None:
            self._board.close()

    def _put(self, line: Mapping[str, Any]) -> None:
        self._lines.write(_line_of(line))
        self._lines.flush()
        os.fsync(self._lines.fileno())


def _line_of(told: Mapping[str, Any]) -> str:
    return json.dumps(told, allow_nan=False) + "\n"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; what a kill cut off at its end is left out.

    Raises:
        DataError: a line that is not the last one is no object with `kind` and `step`.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break
        try:
            told = json.loads(line)
            assert isinstance(told["kind"], str) and isinstance(told["step"], int)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise DataError(f"{path}: line {number} is none of a training's, expected an object.") from error
        found.append(told)
    return found


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    owned.require_place(folder / "events")
    return SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]
