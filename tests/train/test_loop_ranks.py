# SPDX-License-Identifier: Apache-2.0
"""Training by several processes: the same training as by one, saved by two and gone on with by one or three."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from made_faces import MadeFaces, SmallNetwork  # noqa: E402
from ranks import by_processes  # noqa: E402

from facepipe.train import learner, state  # noqa: E402
from facepipe.train.log import read_metrics  # noqa: E402
from facepipe.train.loop import TrainJob, train  # noqa: E402
from facepipe.train.processes import ALONE, Processes  # noqa: E402
from facepipe.train.recipe import Recipe, replace_values  # noqa: E402

pytestmark = [pytest.mark.process, pytest.mark.slow]

GIVEN = (
    *("epochs=2", "batch=12", "rate=0.05", "batch_norm=synchronised", "margin_warm_up=1", "shift=0.5"),
    *("log_every=1", "save_every=100", "wraps=true"),
)


def some_steps(processes: Processes, out: Path, after: int, *given: str) -> list[float]:
    """Train until `after` steps of this call are done; the losses of all steps so far."""
    torch.set_num_threads(1)
    before, learner.build = learner.build, lambda _: SmallNetwork()
    try:
        asked = iter(range(1, 10**6))
        recipe = replace_values(Recipe(), [*GIVEN, *given])
        job = TrainJob(recipe, MadeFaces(7, 5, damaged=(3, 4)), out, loaders=0)
        train(job, processes, stop=lambda: next(asked) >= after)
    finally:
        learner.build = before
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "step"]


def tensors(out: Path, step: int) -> dict[str, torch.Tensor]:
    return torch.load(state.step_folder(out, step) / "weights.pt", weights_only=True)


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Over all weights, as a share of the largest entry of each."""
    shares = [(a[name] - b[name]).abs().max() / a[name].abs().max().clamp_min(1e-12) for name in a if a[name].numel()]
    return max(map(float, shares))


def left_out(out: Path) -> list[int]:
    return [line["left_out"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "step"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    out = tmp_path_factory.mktemp("alone") / "run"
    return out, some_steps(ALONE, out, 4)


def test_two_processes_train_as_one(executor: Executor, alone: tuple[Path, list[float]], tmp_path: Path) -> None:
    out = tmp_path / "run"
    first, second = by_processes(executor, 2, some_steps, out, 4)
    assert first == second == pytest.approx(alone[1], rel=1e-5)
    assert largest_difference(tensors(alone[0], 4), tensors(out, 4)) < 1e-4
    assert read_metrics(out / "metrics.jsonl")[1]["world"] == 2
    assert left_out(out) == left_out(alone[0])
    assert left_out(out)[-1] >= 4  # two damaged samples, in two epochs


@pytest.mark.parametrize("world", [1, 3])
def test_what_two_saved_another_number_goes_on_with(
    world: int, executor: Executor, alone: tuple[Path, list[float]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    by_processes(executor, 2, some_steps, out, 3)
    names = sorted(path.name for path in state.step_folder(out, 3).glob("centres-*"))
    assert names == ["centres-00000-of-00002.pt", "centres-00001-of-00002.pt"]
    went_on = some_steps(ALONE, out, 1) if world == 1 else by_processes(executor, world, some_steps, out, 1)[0]
    assert len(went_on) == 4
    assert went_on == pytest.approx(alone[1], rel=1e-5)


def test_two_processes_go_on_bit_for_bit_when_centres_are_sampled(executor: Executor, tmp_path: Path) -> None:
    given = ("sample_rate=0.4", "batch_norm=local")
    whole = by_processes(executor, 2, some_steps, tmp_path / "whole", 5, *given)[0]
    by_processes(executor, 2, some_steps, tmp_path / "parts", 2, *given)
    assert by_processes(executor, 2, some_steps, tmp_path / "parts", 3, *given)[0] == whole


def one_is_asked(processes: Processes, out: Path) -> list[float]:
    """Only the second process is asked to stop, after its second step."""
    return some_steps(processes, out, 2 if processes.rank == 1 else 1000)


def test_a_stop_of_one_process_stops_all(executor: Executor, tmp_path: Path) -> None:
    first, second = by_processes(executor, 2, one_is_asked, tmp_path / "run")
    assert len(first) == len(second) == 2
    assert list(state.checkpoints(tmp_path / "run")) == [2]
