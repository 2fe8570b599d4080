# SPDX-License-Identifier: Apache-2.0
"""A training that is killed goes on bit for bit; what does not fit it is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_faces import MadeFaces, SmallNetwork

from facepipe.errors import DataError, StageError, WeightsError
from facepipe.train import state
from facepipe.train.learner import first_weights
from facepipe.train.log import read_metrics
from facepipe.train.loop import Trained, TrainJob, train
from facepipe.train.precision import LossScale
from facepipe.train.processes import ALONE
from facepipe.train.recipe import Recipe, replace_values

pytestmark = pytest.mark.usefixtures("small_network")

SHORT = (
    "epochs=3",
    "batch=8",
    "rate=0.05",
    "log_every=1",
    "save_every=2",
    "warm_up=0.5",
    "margin_warm_up=2",
    "shift=0.5",
)


def recipe(*given: str) -> Recipe:
    return replace_values(Recipe(model="mobilefacenet.paddle"), [*SHORT, *given])


def run(
    out: Path, *given: str, after: int | None = None, faces: Any = None, loaders: int = 0, init: Path | None = None
) -> Trained:
    """Train, and ask to stop once `after` steps of this call are done."""
    asked = iter(range(1, 10**6))
    stop: Callable[[], bool] = (lambda: False) if after is None else (lambda: next(asked) >= after)
    job = TrainJob(recipe(*given), MadeFaces(5, 8, damaged=(5,)) if faces is None else faces, out, init, (), loaders)
    return train(job, ALONE, stop=stop)


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "step"]


def weights(out: Path) -> bytes:
    return (out / "weights.pt").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Filled by the first test that needs it: its fixtures of one function (the small network) are there then."""
    return tmp_path_factory.mktemp("undisturbed") / "run"


@pytest.fixture
def whole(undisturbed: Path, small_network: None) -> Path:
    if not undisturbed.exists():
        assert run(undisturbed).is_done
    return undisturbed


@pytest.mark.parametrize(
    "loaders", [0, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("stops", [(1,), (4, 1, 6), (7,)])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    loaders: int, stops: Sequence[int], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for after in stops:
        assert not run(out, after=after, loaders=loaders).is_done
    assert run(out, loaders=loaders).is_done
    assert losses(out) == losses(whole)
    assert len(losses(out)) == 15
    assert weights(out) == weights(whole)


def test_a_run_that_was_killed_does_its_last_steps_again(whole: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Lethal(MadeFaces):
        """The process ends at the hundredth face."""

        asked = 0

        def picture(self, index: int) -> np.ndarray:
            Lethal.asked += 1
            if Lethal.asked == 55:  # in step 6; the last checkpoint is of step 6 - 6 % 2
                raise Killed
            return super().picture(index)

    out = tmp_path / "run"
    with pytest.raises(Killed):
        run(out, faces=Lethal(5, 8, damaged=(5,)))
    assert list(state.checkpoints(out))[-1] == 6
    assert run(out).is_done
    assert losses(out) == losses(whole)
    assert weights(out) == weights(whole)


def test_what_a_kill_left_of_a_checkpoint_is_removed_and_never_read(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, after=4)
    half = out / ".step-00000006.unfinished"
    half.mkdir()
    (half / "weights.pt").write_bytes(b"half")
    assert run(out).is_done
    assert not half.exists()
    assert weights(out) == weights(whole)


def test_the_last_checkpoints_are_kept_and_metrics_tell_of_each(whole: Path) -> None:
    assert list(state.checkpoints(whole)) == [12, 14, 15]
    saved = [line["step"] for line in read_metrics(whole / "metrics.jsonl") if line["kind"] == "saved"]
    assert saved == [2, 4, 6, 8, 10, 12, 14, 15]
    left_out = [line["left_out"] for line in read_metrics(whole / "metrics.jsonl") if line["kind"] == "step"]
    assert left_out[-1] == 3  # one damaged sample, seen once in each epoch


def test_a_finished_run_is_not_done_again(whole: Path) -> None:
    before = (whole / "metrics.jsonl").read_bytes()
    assert run(whole).is_done
    assert (whole / "metrics.jsonl").read_bytes().startswith(before)
    assert len(losses(whole)) == 15


@pytest.mark.parametrize(
    ("given", "faces", "words"),
    [
        (("rate=0.06",), None, "was begun with rate=0.05, this run asks for 0.06"),
        (("model=mobilefacenet.ms1m",), None, "was begun with model=mobilefacenet.paddle"),
        ((), MadeFaces(5, 8, digest="another"), "data.sha256"),
        ((), MadeFaces(5, 9), "data.samples=40"),
        ((), MadeFaces(6, 8), "classes.count=5"),
    ],
)
def test_another_recipe_or_set_is_refused_by_name(
    given: Sequence[str], faces: MadeFaces | None, words: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(out, after=2)
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(StageError) as error:
        run(out, *given, faces=faces)
    assert words in str(error.value)
    assert "--force" not in str(error.value)
    assert "Try: another --out" in str(error.value)
    assert sorted(path.name for path in out.iterdir()) == before


def test_another_class_list_is_refused_by_the_class(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, after=2)
    faces = MadeFaces(5, 8, damaged=(5,))
    faces.classes[3] = "somebody else"
    with pytest.raises(StageError, match=r"class 3 was 'person 3' when it was begun and is 'somebody else' now"):
        run(out, faces=faces)


def test_what_is_only_told_may_change(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, after=4)
    assert run(out, "log_every=5", "keep=9").is_done
    assert weights(out) == weights(whole)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_samples(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(
        DataError, match=r"the loss is .* at step \d+.*expected finite ones.*person \d/\d+\.png"
    ) as error:
        run(out, "rate=1e6", "clip=0", "scale=1e4", "schedule=constant", "epochs=50", "warm_up=0")
    assert "--set rate=" in str(error.value)
    assert all(math.isfinite(loss) for loss in losses(out))


def test_samples_with_embeddings_that_are_no_numbers_are_named_alone(tmp_path: Path, monkeypatch: Any) -> None:
    from facepipe.train import step as module

    pixels = module.network_input

    def poisoned(*given: Any) -> torch.Tensor:
        found = pixels(*given).clone()
        found[2] = math.nan
        return found

    monkeypatch.setattr(module, "network_input", poisoned)
    with pytest.raises(DataError, match=r"their embeddings are no numbers: person \d/\d+\.png"):
        run(tmp_path / "run", "batch_norm=frozen", faces=MadeFaces(5, 8))


def test_a_set_in_which_too_little_can_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 of the 8 samples of step 0 can be read, expected 2 or more"):
        run(tmp_path / "run", "wraps=true", faces=MadeFaces(2, 4, damaged=range(7)))


def test_a_full_disk_leaves_the_checkpoints_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    run(out, after=2)
    write = state.write_bytes

    def full(path: Path, content: bytes, **_: Any) -> None:
        if path.name == "momentum.pt":
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(state, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run(out)
    assert list(state.checkpoints(out)) == [2]
    assert not list(out.glob(".step-*"))
    monkeypatch.undo()


def test_every_byte_of_a_checkpoint_is_covered(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, after=2)
    folder = state.step_folder(out, 2)
    for path in sorted(folder.iterdir()):
        content = bytearray(path.read_bytes())
        for place in range(0, len(content), max(1, len(content) // 7)):
            content[place] ^= 4
            path.write_bytes(content)
            with pytest.raises((StageError, WeightsError)):
                run(out)
            content[place] ^= 4
        path.write_bytes(content)
    assert run(out).is_done


def test_a_fine_tune_begins_with_the_weights_that_are_given(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facepipe.convert.onnx.checkpoint.build", lambda _: SmallNetwork())
    out = tmp_path / "run"
    run(out, "rate=0", "batch_norm=frozen", after=1, init=whole / "weights.pt")
    assert weights(out) == weights(whole)
    with pytest.raises(StageError, match="init"):
        run(out, "rate=0", "batch_norm=frozen")


def test_weights_of_another_network_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        run(tmp_path / "run", "model=arcface.iresnet18", init=whole / "weights.pt")


def test_the_last_normalisation_of_an_iresnet_keeps_the_weight_1(tmp_path: Path) -> None:
    run(tmp_path / "run", "model=arcface.iresnet18")
    learned = torch.load(tmp_path / "run" / "weights.pt", weights_only=True)
    assert bool((learned["features.weight"] == 1).all())
    assert not bool((learned["features.bias"] == 0).all())


def test_dropout_is_a_function_of_the_step(tmp_path: Path) -> None:
    given = ("model=arcface.iresnet18", "dropout=0.4")
    run(tmp_path / "a", *given)
    run(tmp_path / "b", *given, after=3)
    run(tmp_path / "b", *given)
    run(tmp_path / "c", "model=arcface.iresnet18")
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_goes_on_bit_for_bit(precision: str, whole: Path, tmp_path: Path) -> None:
    given = (f"precision={precision}",)
    run(tmp_path / "a", *given)
    run(tmp_path / "b", *given, after=4)
    run(tmp_path / "b", *given)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(whole)
    assert losses(tmp_path / "a")[0] == pytest.approx(losses(whole)[0], rel=0.02)


def test_in_float16_a_step_whose_gradient_overflows_is_left_out_and_the_scale_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facepipe.train.precision.LossScale.of", lambda _: LossScale(2.0**40, 0, True))
    out = tmp_path / "run"
    run(out, "precision=float16", after=2)
    assert state.read_progress(state.step_folder(out, 2)).scale.factor == 2.0**38
    first = torch.load(state.step_folder(out, 2) / "weights.pt", weights_only=True)
    run(out, "precision=float16", "keep=99")
    scales = [state.read_progress(folder).scale.factor for folder in state.checkpoints(out).values()]
    assert scales == sorted(scales, reverse=True)
    last = torch.load(out / "weights.pt", weights_only=True)
    assert not torch.equal(first["conv.weight"], last["conv.weight"]) or scales[-1] > 2.0**20
    fresh = first_weights(recipe().model_spec(), 1).state_dict()
    assert torch.equal(first["conv.weight"], fresh["conv.weight"])  # nothing moved in the steps that overflowed


def test_a_class_with_one_photograph_is_trained(tmp_path: Path) -> None:
    faces = MadeFaces(5, 8)
    faces.labels[8:] = np.r_[1, np.repeat([2, 3, 4], [10, 10, 11])]
    assert run(tmp_path / "run", faces=faces).is_done


def test_ten_people_are_learned(tmp_path: Path) -> None:
    faces = MadeFaces(10, 10)
    run(tmp_path / "run", "epochs=12", "shift=0", "margin_warm_up=4", "scale=32", faces=faces)
    told = losses(tmp_path / "run")
    assert told[-1] < 0.05 < 1 < told[0]


def test_faces_of_another_side_are_refused(tmp_path: Path) -> None:
    faces = MadeFaces(5, 8)
    faces.side = 96
    with pytest.raises(DataError, match=r"faces are 96x96, expected 112x112, as mobilefacenet\.paddle takes them"):
        run(tmp_path / "run", faces=faces)


def test_metrics_are_one_object_a_line(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines[:2]] == ["file", "begun"]
    assert {"torch", "numpy"} <= lines[1]["versions"].keys()
    step = next(line for line in lines if line["kind"] == "step")
    wanted = {"epoch", "loss", "rate", "margin", "samples_per_second", "waiting", "seconds", "left_out", "hours_left"}
    assert wanted <= step.keys()


def test_the_folder_must_be_ours(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(StageError, match=r"thesis\.txt"):
        run(out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
