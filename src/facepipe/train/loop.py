# SPDX-License-Identifier: Apache-2.0
"""The training of a recogniser: one step, and the loop that goes from a checkpoint to the next.

    faces --order, augment--> batch --backbone--> embeddings --Partial FC--> loss --backward, clip, SGD--> next step

Which numbers a step computes depends on the recipe, the faces and the step alone, so that a run that was killed goes on
bit for bit: on one thread, with any number of loader processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from facepipe.datasets.face_sets import FaceSet as VerificationSet
from facepipe.errors import DataError, StageError, first_line
from facepipe.reports.training_page import training_page
from facepipe.specs import ModelSpec
from facepipe.store.files import write_bytes, write_text
from facepipe.store.provenance import package_versions
from facepipe.train import state
from facepipe.train.data.augment import Augmentation
from facepipe.train.data.face_set import FaceSet
from facepipe.train.learner import Learner, make_learner, momentum_of, put_back
from facepipe.train.loader import batches
from facepipe.train.log import METRICS, Line, Metrics, read_metrics
from facepipe.train.losses.margin import warmed_up
from facepipe.train.order import Order
from facepipe.train.precision import LossScale
from facepipe.train.processes import Processes
from facepipe.train.recipe import Recipe
from facepipe.train.run_folder import BEST, LAST, PAGE, START_OVER, RunFolder
from facepipe.train.step import take_step
from facepipe.train.verify import log_lines, verify


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What is trained, on what, and where it goes.

    Attributes:
        out: the run's folder, on a disk that all processes share.
        init: weights that the backbone begins with; None: drawn by the recipe's seed.
        verification: sets that the network is judged on while it trains.
        loaders: processes that read faces for each training process.
        start_over: what to try where `out` was begun with something else, by the asking command's own options.
    """

    recipe: Recipe
    faces: FaceSet
    out: Path
    init: Path | None = None
    verification: Sequence[VerificationSet] = ()
    loaders: int = 2
    start_over: str = START_OVER

    @property
    def order(self) -> Order:
        """The order in which the faces are gone through.

        Raises:
            DataError: they do not fill a batch.
        """
        return Order(self.recipe.seed, len(self.faces), self.recipe.batch, self.recipe.wraps)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.recipe.epochs * self.order.steps_of_epoch


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run has come to.

    Attributes:
        step, steps: done, and of the whole run.
        weights: the backbone's state dict after `step`.
        best: that of the best accuracy; None without a verification set.
    """

    step: int
    steps: int
    weights: Path
    best: Path | None
    accuracies: Mapping[str, state.Best]

    @property
    def is_done(self) -> bool:
        return self.step == self.steps


def train(
    job: TrainJob,
    processes: Processes,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Trained:
    """Train to the end, or until `stop` says so; a run that was begun goes on from its last checkpoint.

    Every process of the training calls it with the same job.

    Args:
        stop: asked after each step; where it says so in any process, all save and leave.
        tell: lines for a person, of the first process alone.
        progress: told of each step that is done, and once of those that were done before.

    Raises:
        DataError: the set or the recipe does not fit; a loss is not finite (its samples are named).
        StageError: the folder was begun with something else; a process is gone; a checkpoint is damaged.
        WeightsError: the weights to begin with are another network's.
        OSError: the disk is full.
    """
    recipe, spec = job.recipe, job.recipe.model_spec()
    order, steps = job.order, job.steps
    _require_fit(job, spec, processes)
    with _deterministic(processes), RunFolder(job.out, processes, job.start_over) as folder:
        learner = make_learner(recipe, spec, len(job.faces.classes), order.steps_of_epoch, job.init, processes)
        folder.begin(_record(job, learner), job.faces.classes, recipe)
        now = _resumed(job.out, learner) or state.Progress(scale=LossScale.of(recipe.precision))
        if processes.is_first:
            tell(_words(job, now.step, steps, processes))
        progress(now.step)
        metrics = Metrics(job.out, now.step) if processes.is_first else None
        try:
            if metrics is not None:
                kind = "resumed" if now.step else "begun"
                told = {"world": processes.world, "steps": steps, "threads": torch.get_num_threads()}
                metrics.put(kind, now.step, **told, versions=_versions())
            with _named_absence():
                now = _go_on(job, learner, order, now, steps, metrics, stop, tell, progress)
        finally:
            if metrics is not None:
                metrics.close()
        best = _best(now, job.verification)
        last = state.checkpoints(job.out)[now.step] / state.WEIGHTS
        if processes.is_first:
            write_bytes(job.out / LAST, last.read_bytes())
            if best is not None:
                source = state.step_folder(job.out, best.step) / state.WEIGHTS
                write_bytes(job.out / BEST, source.read_bytes())
            if now.step == steps:
                folder.finish()
        processes.wait()
    return Trained(now.step, steps, job.out / LAST, None if best is None else job.out / BEST, now.best)


def _go_on(
    job: TrainJob,
    learner: Learner,
    order: Order,
    now: state.Progress,
    steps: int,
    metrics: Metrics | None,
    stop: Callable[[], bool],
    tell: Callable[[str], None],
    progress: Callable[[int], None],
) -> state.Progress:
    """From `now` to the last step, or to the one after which a stop was asked for."""
    recipe, processes = learner.recipe, learner.processes
    augmentation = Augmentation(
        recipe.flip, recipe.resize, recipe.blur, recipe.colour, recipe.grey, recipe.shift, recipe.shift_pixels
    )
    source = batches(
        job.faces, order, augmentation, now.step, steps, rank=processes.rank, world=processes.world, loaders=job.loaders
    )
    began = lined = time.monotonic()
    waited, first = 0.0, now.step
    saved = now.step if now.step else -1
    while now.step < steps:
        asked = time.monotonic()
        batch = next(source)
        waited += time.monotonic() - asked
        for reason in batch.damaged:
            tell(f"left out: {reason}")
        done = take_step(learner, job.faces, batch, now.step, now.scale, stop)
        now = replace(
            now,
            step=now.step + 1,
            scale=now.scale.after(done.overflowed),
            loss_sum=now.loss_sum + done.loss,
            loss_steps=now.loss_steps + 1,
            left_out=now.left_out + done.damaged,
        )
        progress(1)
        last = now.step == steps or done.stop
        if now.step % recipe.log_every == 0 or last:
            line = _line(learner, order, now, steps, (began, lined), (now.step - first), waited)
            if metrics is not None:
                tell(str(line))
                told = asdict(line)
                metrics.put("step", told.pop("step"), **told)
            lined, first, waited = time.monotonic(), now.step, 0.0
            now = replace(now, loss_sum=0.0, loss_steps=0)
        better = False
        if job.verification and (now.step == steps or _is_time(now.step, recipe.verify_every)):
            now, better = _verified(job, learner, now, metrics, tell)
        if (last or better or _is_time(now.step, recipe.save_every)) and saved != now.step:
            _save(job, learner, now, metrics)
            saved = now.step
        if done.stop:
            break
    return now


def _resumed(out: Path, learner: Learner) -> state.Progress | None:
    """The last checkpoint's state into the learner; None where there is none."""
    there = state.checkpoints(out)
    if not there:
        return None
    head = learner.head
    last = list(there.values())[-1]
    progress, weights, momentum, rows = state.load(last, head.first, head.rows, head.weight.shape[1])
    put_back(learner, weights, momentum, rows)
    return progress


def _save(job: TrainJob, learner: Learner, now: state.Progress, metrics: Metrics | None) -> None:
    head, momentum = learner.head, momentum_of(learner)
    rows = state.Rows(head.first, head.weight, head.momentum)
    told = {"recipe": asdict(job.recipe), "versions": _versions(), "world": learner.processes.world}
    folder = state.save(job.out, now, learner.network.state_dict(), momentum, rows, learner.processes, told)
    if metrics is not None:
        best = _best(now, job.verification)
        state.forget(job.out, job.recipe.keep, None if best is None else best.step)
        metrics.put("saved", now.step, folder=folder.name)
        write_text(job.out / PAGE, training_page(read_metrics(job.out / METRICS), asdict(job.recipe)))


def _verified(
    job: TrainJob, learner: Learner, now: state.Progress, metrics: Metrics | None, tell: Callable[[str], None]
) -> tuple[state.Progress, bool]:
    """The accuracies now, and whether that of the first set is the best so far."""
    found = verify(learner.network, job.verification, learner.spec, learner.processes)
    best = dict(now.best)
    for one in found:
        if one.name not in best or one.accuracy > best[one.name].accuracy:
            best[one.name] = state.Best(now.step, one.accuracy)
        if metrics is not None:
            highest = best[one.name].accuracy
            for line in log_lines(one, now.step, highest):
                tell(line)
            told = {"accuracy": one.accuracy, "deviation": one.deviation, "x_norm": one.x_norm, "best": highest}
            metrics.put("verification", now.step, name=one.name, **told)
    return replace(now, best=best), best[found[0].name].step == now.step


def _line(
    learner: Learner,
    order: Order,
    now: state.Progress,
    steps: int,
    since: tuple[float, float],
    done: int,
    waited: float,
) -> Line:
    """What is told of the last `done` steps; `since` is when the run and these steps began."""
    time_now = time.monotonic()
    seconds = max(time_now - since[1], 1e-9)
    margin = warmed_up(learner.margin, now.step - 1, learner.margin_steps)
    return Line(
        now.step,
        order.epoch_of(now.step - 1),
        now.loss_sum / max(now.loss_steps, 1),
        learner.rates.at(now.step - 1),
        margin.m2 + margin.m3,
        done * order.batch / seconds,
        waited / seconds,
        time_now - since[0],
        now.left_out,
        (steps - now.step) * seconds / max(done, 1) / 3600,
    )


def _require_fit(job: TrainJob, spec: ModelSpec, processes: Processes) -> None:
    """Refuse, before any work, a set or a recipe that does not fit."""
    recipe, side = job.recipe, spec.input.dims[2].low
    if recipe.batch % processes.world or recipe.batch // processes.world < 2:
        raise DataError(
            f"train: a batch of {recipe.batch} on {processes.world} processes, expected 2 or more rows for each, and "
            "equally many.",
            f"--set batch={max(2, recipe.batch // processes.world) * processes.world}",
        )
    if job.faces.side != side:
        raise DataError(
            f"train: faces are {job.faces.side}x{job.faces.side}, expected {side}x{side}, as {spec.name} takes them.",
            "`facepipe train-data align PHOTOGRAPHS --out FOLDER`",
        )
    if len(job.faces.classes) < 2:
        raise DataError(f"train: the set has {len(job.faces.classes)} people, expected 2 at least.", "more people.")
    names = [found.pairs.name for found in job.verification]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"train: two verification sets are called '{twice[0]}', expected each its own name.")


def _record(job: TrainJob, learner: Learner) -> dict[str, object]:
    """What the weights depend on, as JSON values."""
    return {
        "parameters": job.recipe.decisive,
        "init": learner.init,
        "data": {"samples": len(job.faces), "sha256": job.faces.digest},
    }


def _words(job: TrainJob, step: int, steps: int, processes: Processes) -> str:
    """What the first process tells before the first step."""
    recipe, faces = job.recipe, job.faces
    scaled = f", {recipe.rate:g} for {recipe.rate_batch} scaled" if recipe.rate_batch else ""
    sampled = "" if recipe.sample_rate == 1 else f", {recipe.sample_rate:g} of the classes in a step"
    begun = f"goes on after step {step} of {steps}" if step else f"{steps} steps"
    return (
        f"{recipe.model}: {len(faces):,} faces of {len(faces.classes):,} people, {begun} of {recipe.batch} faces on "
        f"{processes.world} {'process' if processes.world == 1 else 'processes'} ({processes.device.type}); learning "
        f"rate {recipe.rate_of_batch():g} for a batch of {recipe.batch}{scaled}{sampled}"
    )


def _best(now: state.Progress, sets: Sequence[VerificationSet]) -> state.Best | None:
    return now.best.get(sets[0].pairs.name) if sets else None


def _is_time(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _versions() -> dict[str, str]:
    return package_versions(("facepipe", "torch", "numpy", "Pillow"))


@contextmanager
def _deterministic(processes: Processes) -> Iterator[None]:
    """On a CPU, torch's deterministic algorithms: the same bits on the same number of threads."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or processes.device.type == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _named_absence() -> Iterator[None]:
    """torch's error of a process that is gone, in one line.

    Raises:
        StageError: another process of the training, or one that reads faces, is gone.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" in text:
            who = "a process that reads faces"
        elif any(word in text for word in ("gloo", "NCCL", "Connection")):
            who = "another process of the training"
        else:
            raise
        raise StageError(
            f"train: {who} is gone ({first_line(error)[:100]}), expected it to the end.",
            "the same command again: it goes on from the last checkpoint.",
        ) from error
