# SPDX-License-Identifier: Apache-2.0
"""Everything that the next step depends on, as a folder that appears whole: `step-00002000/`.

    weights.pt              the backbone's state dict, as every other command takes it
    momentum.pt             of the backbone's parameters, by name
    centres-00000-of-00002.pt   rows and momentum of the classes of one process
    state.json              step, loss scale, sums of the log, best accuracy; sha256 of each file above

The order of samples, augmentation, dropout and class sampling are functions of the step (train.draws), and the learning
rate is (train.schedule): of those nothing is kept. A checkpoint of two processes is read by any number of them: each
reads the rows of its own classes from the files that hold them.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from facepipe.errors import StageError, WeightsError, first_line
from facepipe.store import owned
from facepipe.store.files import read_json, sha256_of_file, write_bytes, write_json
from facepipe.train.precision import LossScale
from facepipe.train.processes import Processes

FORMAT: Final = "facepipe.training.1"
WEIGHTS: Final = "weights.pt"
_MOMENTUM: Final = "momentum.pt"
_STATE: Final = "state.json"
_STEP: Final = re.compile(r"step-(\d{8})")
_CENTRES: Final = re.compile(r"centres-(\d{5})-of-(\d{5})\.pt")

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Best:
    """The best accuracy so far, of the first verification set."""

    step: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run has come to; all processes have the same.

    Attributes:
        step: steps that are done.
        scale: of the loss.
        loss_sum, loss_steps: since the last line of the log.
        left_out: damaged samples so far, each time that one would have been seen.
        best: per verification set.
    """

    step: int = 0
    scale: LossScale = field(default_factory=LossScale)
    loss_sum: float = 0.0
    loss_steps: int = 0
    left_out: int = 0
    best: Mapping[str, Best] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """Centres of the classes [first, first + rows), with their momentum; float32 [rows, D] each."""

    first: int
    weight: torch.Tensor
    momentum: torch.Tensor


def step_folder(out: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return out / f"step-{step:08d}"


def checkpoints(out: Path) -> dict[int, Path]:
    """The checkpoints of a run by step, ascending; only whole ones have such a name."""
    found = {int(match[1]): path for path in out.glob("step-*") if (match := _STEP.fullmatch(path.name))}
    return {step: found[step] for step in sorted(found) if (found[step] / _STATE).is_file()}


def save(
    out: Path,
    progress: Progress,
    weights: Tensors,
    momentum: Tensors,
    rows: Rows,
    processes: Processes,
    told: Mapping[str, object],
) -> Path:
    """Write the checkpoint of `progress.step`; every process calls it, and it is there for all when the first returns.

    The processes share the disk that `out` is on. The folder is filled aside and gets its name when all have written.

    Args:
        weights, momentum: of the backbone; alike in all processes, and the first one writes them.
        rows: of the centres of this process.
        told: what a reader wants to know besides (recipe, data, versions).

    Raises:
        OSError: the disk is full; no folder of that name is there then, and the older ones are as they were.
    """
    folder = step_folder(out, progress.step)
    part = out / f".{folder.name}.unfinished"
    if processes.is_first:
        _clear(part)
        part.mkdir(parents=True)
    processes.wait()
    name = f"centres-{processes.rank:05d}-of-{processes.world:05d}.pt"
    failed: Exception | None = None
    try:
        _write(part / name, {"first": torch.tensor(rows.first), "weight": rows.weight, "momentum": rows.momentum})
        if processes.is_first:
            _write(part / WEIGHTS, weights)
            _write(part / _MOMENTUM, momentum)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
        failed = error
    if processes.any(failed is not None):
        processes.wait()
        if processes.is_first:
            _clear(part)
        if failed is None:
            raise StageError(f"{folder}: another process could not write its part.", "make room on the disk.")
        raise failed
    if processes.is_first:
        files = {path.name: sha256_of_file(path) for path in sorted(part.iterdir())}
        body = {"format": FORMAT, **_as_json(progress), "files": files, **told}
        write_json(part / _STATE, body)
        if folder.exists():
            owned.remove_below(folder)
        owned.place_folder(part, folder)
    processes.wait()
    return folder


def load(folder: Path, first: int, rows: int, dimension: int) -> tuple[Progress, Tensors, Tensors, Rows]:
    """A checkpoint as `save` wrote it: progress, weights and momentum of the backbone, the rows of these classes.

    Args:
        first, rows: the classes of this process, which need not be those of any process that saved.

    Raises:
        StageError: a file is not there, or not as it was written; or the centres are of other classes.
        WeightsError: a file holds no tensors.
    """
    state = read_json(folder / _STATE, f"remove {folder} to go on from the checkpoint before it.")
    if state.get("format") != FORMAT:
        raise StageError(f"{folder}: format is {state.get('format')!r}, expected '{FORMAT}'.", "another folder.")
    files: Mapping[str, str] = state["files"]
    shards = []
    for name in files:
        if _CENTRES.fullmatch(name):
            told = _read(folder / name, files[name])
            shards.append(Rows(int(told["first"]), told["weight"], told["momentum"]))
    whole = _slice(sorted(shards, key=lambda shard: shard.first), first, rows, dimension, folder)
    weights, momentum = (_read(folder / name, files.get(name, "")) for name in (WEIGHTS, _MOMENTUM))
    return _progress(state), weights, momentum, whole


def read_progress(folder: Path) -> Progress:
    """How far a checkpoint had come.

    Raises:
        StageError: it cannot be read.
    """
    return _progress(read_json(folder / _STATE, f"remove {folder}."))


def clear_unfinished(out: Path) -> None:
    """Remove what a kill left of a checkpoint that was being written."""
    for part in out.glob(".step-*.unfinished"):
        _clear(part)


def forget(out: Path, keep: int, best: int | None) -> None:
    """Remove checkpoints but the last `keep` and the best one."""
    there = checkpoints(out)
    for step in list(there)[:-keep]:
        if step != best:
            owned.remove_below(there[step])


def _slice(shards: list[Rows], first: int, rows: int, dimension: int, folder: Path) -> Rows:
    """The rows [first, first + rows) out of shards in ascending order."""
    weight, momentum = torch.empty(rows, dimension), torch.empty(rows, dimension)
    filled = 0
    for shard in shards:
        low, high = max(first, shard.first), min(first + rows, shard.first + len(shard.weight))
        if low < high and shard.weight.shape[1] == dimension:
            place, source = slice(low - first, high - first), slice(low - shard.first, high - shard.first)
            weight[place], momentum[place] = shard.weight[source], shard.momentum[source]
            filled += high - low
    if filled != rows:
        raise StageError(
            f"{folder}: has centres of {dimension} numbers for {filled} of the classes {first} to {first + rows - 1}, "
            "expected all.",
            "another folder.",
        )
    return Rows(first, weight, momentum)


def _write(path: Path, tensors: Tensors) -> None:
    """Tensors as torch.save writes them; the same bytes for the same tensors."""
    content = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, content)
    write_bytes(path, content.getvalue())


def _read(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StageError(f"{path}: cannot be read ({error}).", f"remove {path.parent}.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StageError(
            f"{path}: is not as it was written (sha256), expected the file of this checkpoint.",
            f"remove {path.parent} to go on from the checkpoint before it.",
        )
    try:
        read = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path}: holds no tensors ({first_line(error)}).", f"remove {path.parent}.") from error
    return dict(read)


def _as_json(progress: Progress) -> dict[str, object]:
    told = asdict(progress)
    # Exact: a float as JSON has it is the shortest text that reads back as the same bits.
    return {"step": told.pop("step"), "progress": told}


def _progress(state: Mapping[str, Any]) -> Progress:
    told = state["progress"]
    return Progress(
        int(state["step"]),
        LossScale(**told["scale"]),
        float(told["loss_sum"]),
        int(told["loss_steps"]),
        int(told["left_out"]),
        {name: Best(**best) for name, best in told["best"].items()},
    )


def _clear(part: Path) -> None:
    """Remove an unfinished checkpoint; nothing but our own files lie in it, and no folder."""
    if part.is_dir() and not part.is_symlink():
        for path in part.iterdir():
            path.unlink()
        part.rmdir()
