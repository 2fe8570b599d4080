# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: rows of any classes out of the shards of any processes; what is damaged or absent is named."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from facepipe.errors import StageError  # noqa: E402
from facepipe.store.owned import claim  # noqa: E402
from facepipe.train import state  # noqa: E402
from facepipe.train.losses.partial_fc import shard_of  # noqa: E402
from facepipe.train.precision import LossScale  # noqa: E402
from facepipe.train.processes import ALONE  # noqa: E402

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.num_batches_tracked": torch.tensor(3)}
MOMENTUM = {"conv.weight": torch.full((2, 3), 0.25)}


def rows(first: int, count: int, dimension: int = 4) -> state.Rows:
    """Row i of all has the number i; its momentum the number -i."""
    whole = torch.arange(first, first + count, dtype=torch.float32)[:, None].repeat(1, dimension)
    return state.Rows(first, whole, -whole)


def saved(out: Path, progress: state.Progress | None = None, classes: int = 5) -> Path:
    claim(out)
    return state.save(out, progress or state.Progress(7), WEIGHTS, MOMENTUM, rows(0, classes), ALONE, {"recipe": {}})


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    best = {"lfw": state.Best(100, 0.7 + 0.1), "cfp": state.Best(120, 1 / 3)}
    progress = state.Progress(
        123,
        LossScale(0.5, 3, True),
        0.1 + 0.2,
        17,
        2,
        best,
    )
    folder = saved(tmp_path, progress)
    assert folder.name == "step-00000123"
    found, weights, momentum, centres = state.load(folder, 1, 3, 4)
    assert found == progress
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert torch.equal(momentum["conv.weight"], MOMENTUM["conv.weight"])
    assert centres.first == 1
    assert torch.equal(centres.weight, rows(1, 3).weight)
    assert torch.equal(centres.momentum, rows(1, 3).momentum)


@settings(max_examples=50, deadline=None)
@given(classes=st.integers(1, 40), before=st.integers(1, 6), now=st.integers(1, 6))
def test_any_number_of_processes_reads_what_any_number_saved(classes: int, before: int, now: int) -> None:
    shards = [rows(*shard_of(classes, rank, before)) for rank in range(before)]
    for rank in range(now):
        first, count = shard_of(classes, rank, now)
        found = state._slice(shards, first, count, 4, Path("step"))
        assert torch.equal(found.weight, rows(first, count).weight)
        assert torch.equal(found.momentum, rows(first, count).momentum)


def test_classes_that_were_not_saved_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, classes=5)
    with pytest.raises(StageError, match="has centres of 4 numbers for 5 of the classes 0 to 5, expected all"):
        state.load(folder, 0, 6, 4)
    with pytest.raises(StageError, match="centres of 3 numbers for 0 of the classes 0 to 4"):
        state.load(folder, 0, 5, 3)


def test_every_file_is_covered_and_the_advice_names_the_folder(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for damaged in (content[:-2], content[:5] + bytes([content[5] ^ 1]) + content[6:], b""):
            path.write_bytes(damaged)
            with pytest.raises(StageError, match=rf"(?s)Try: .*remove .*{folder.name}"):
                state.load(folder, 0, 5, 4)
        path.unlink()
        with pytest.raises(StageError):
            state.load(folder, 0, 5, 4)
        path.write_bytes(content)
    state.load(folder, 0, 5, 4)


def test_the_same_state_has_the_same_bytes(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b")
    assert [path.read_bytes() for path in sorted(first.iterdir())] == [
        path.read_bytes() for path in sorted(second.iterdir())
    ]


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 7):
        saved(tmp_path, state.Progress(step))
    state.forget(tmp_path, keep=2, best=3)
    assert list(state.checkpoints(tmp_path)) == [3, 5, 6]


def test_a_file_of_the_users_in_a_checkpoint_stays(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        saved(tmp_path, state.Progress(step))
    mine = state.step_folder(tmp_path, 1) / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(StageError, match=r"notes\.txt"):
        state.forget(tmp_path, keep=1, best=None)
    assert mine.read_text() == "mine"


def test_a_folder_without_its_record_is_no_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "step-00000009").mkdir()
    (tmp_path / "step-9").mkdir()
    assert list(state.checkpoints(tmp_path)) == [7]
