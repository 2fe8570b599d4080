# SPDX-License-Identifier: Apache-2.0
"""Sessions over a vendor's command-line runner: arrays to a folder of `.bin` files, one process, files to arrays.

A call starts a process and loads the model, which takes about a second, so callers gather many rows for one call.
The runner cannot be asked for a model's gears: the .om's sidecar tells them.
"""

from __future__ import annotations

import math
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np

from facepipe.backends.ascend.om import (
    OmShapes,
    bytes_of_normalised,
    check_batch,
    check_sidecar,
    output_shapes,
    run_in_gears,
    told_by,
)
from facepipe.backends.timing import Stages
from facepipe.errors import BackendError, TensorError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent


@dataclass(frozen=True, slots=True)
class RunnerCall:
    """One run over a folder.

    Attributes:
        model: the .om, absolute.
        inputs: folder of files of one length, names that sort as numbers.
        outputs: empty folder to write below.
        kind: of the model's shapes.
        gear: the whole input shape of every file.
        output_bytes: of each output at that gear, in float32.
    """

    model: Path
    inputs: Path
    outputs: Path
    kind: str
    gear: tuple[int, ...]
    output_bytes: tuple[int, ...]


class OmRunner(Protocol):
    """A command-line runner for .om files."""

    @property
    def name(self) -> str: ...

    def execute(self, call: RunnerCall) -> Path:
        """Run; return the folder with the results.

        Raises:
            BackendError: the program failed, or says that it succeeded and left nothing.
        """
        ...

    def output_name(self, stem: str, index: int) -> str:
        """What the file of one output of the input `<stem>.bin` is called."""
        ...

    def time(self, call: RunnerCall, loops: int) -> Stages:
        """What the runner itself says of `loops` executions of the one file in `call.inputs`, after one more.

        Raises:
            BackendError: as `execute`, or it printed no times.
        """
        ...


def gear_options(call: RunnerCall) -> tuple[str, ...]:
    """The option for a gear, which msame and ais_bench name alike; those of the four kinds exclude each other."""
    if call.kind == "batch":
        return ("--dymBatch", str(call.gear[0]))
    if call.kind == "image":
        return ("--dymHW", f"{call.gear[2]},{call.gear[3]}")
    if call.kind == "range":
        sizes = ",".join(map(str, call.output_bytes))
        return ("--dymShape", f"image:{','.join(map(str, call.gear))}", "--outputSize", sizes)
    return ()


@dataclass(frozen=True, slots=True)
class RunnerSession:
    """One .om behind a runner, which opens the model anew at every call: a private copy, until the session is closed.

    Attributes:
        path: where the model was read; for messages.
        copy: of its bytes; see `ModelContent.copied`.
        held: gives the copy back.
    """

    spec: ModelSpec
    path: Path
    copy: Path
    held: ExitStack
    shapes: OmShapes
    aipp: bool
    runner: OmRunner

    @property
    def fixed_batch(self) -> int | None:
        """None: many batches go through one process, so they are cut here, not by the caller."""
        return None

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Any batch; it is cut and padded to the gears here. Bytes N, H, W, C are taken as they are under AIPP."""
        (image,) = inputs
        if self.shapes.kind == "range":
            return self._run_range(image)
        if self.aipp and image.dtype != np.uint8:
            image = bytes_of_normalised(image, self.spec.pixels, self.spec.name)
        return run_in_gears(image, self.spec, self.shapes, self._execute_all)

    def time_stages(self, image: np.ndarray, loops: int) -> Stages:
        """The runner's own figures: not the process, which starts, loads the model and reads files.

        Raises:
            BackendError: the model was compiled for other shapes, or the runner failed.
        """
        if self.aipp:
            image = np.zeros([image.shape[axis] for axis in (0, 2, 3, 1)], np.uint8)
        if self.shapes.kind != "range" and image.shape not in self.shapes.gears:
            raise BackendError(
                f"{self.path}: it was not compiled for {'x'.join(map(str, image.shape))}.",
                "`facepipe om --shapes static` at that very shape.",
            )
        with self._prepared([image]) as (call, _):
            return self.runner.time(call, loops)

    def close(self) -> None:
        """Remove the copy."""
        self.held.close()

    def _execute_all(self, feeds: list[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        for _, alike in groupby(feeds, key=lambda feed: feed.shape):
            yield from self._execute(list(alike))

    def _run_range(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        bounds = zip(image.shape[1:], self.shapes.low[1:], self.shapes.high[1:], strict=True)
        if not all(low <= size <= high for size, low, high in bounds):
            raise TensorError(
                f"{self.path}: input is {list(image.shape)}, expected {list(self.shapes.low)} to "
                f"{list(self.shapes.high)}."
            )
        most = self.shapes.high[0]
        pieces = [image[start : start + most] for start in range(0, len(image), most)]
        parts = list(self._execute_all(pieces))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    @contextmanager
    def _prepared(self, feeds: Sequence[np.ndarray]) -> Iterator[tuple[RunnerCall, tuple[tuple[int, ...], ...]]]:
        """Inputs of one shape as files, for one process; and the shapes of the outputs."""
        shape = feeds[0].shape
        natural = (shape[0], shape[3], shape[1], shape[2]) if self.aipp else shape
        wanted = output_shapes(self.spec, natural)
        with tempfile.TemporaryDirectory(prefix="facepipe-") as scratch:
            folder = Path(scratch)
            if ".bin" in scratch:  # msame takes such a folder for a file
                raise BackendError(
                    f"{scratch}: the folder for temporary files has '.bin' in its name.", "another TMPDIR"
                )
            for name in ("inputs", "outputs"):
                (folder / name).mkdir()
            for number, feed in enumerate(feeds):
                (folder / "inputs" / f"{number:06d}.bin").write_bytes(np.ascontiguousarray(feed).tobytes())
            sizes = tuple(4 * math.prod(out) for out in wanted)
            call = RunnerCall(self.copy, folder / "inputs", folder / "outputs", self.shapes.kind, shape, sizes)
            yield call, wanted

    def _execute(self, feeds: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        """Inputs of one shape through one process."""
        with self._prepared(feeds) as (call, wanted):
            results = self.runner.execute(call)
            return [
                tuple(
                    self._read(results / self.runner.output_name(f"{number:06d}", index), out)
                    for index, out in enumerate(wanted)
                )
                for number in range(len(feeds))
            ]

    def _read(self, path: Path, shape: tuple[int, ...]) -> np.ndarray:
        """One output. Runners leave the whole buffer of the largest gear; the gear's own numbers stand at its start."""
        if not path.is_file():
            raise BackendError(
                f"{self.runner.name}: it reported success and left no {path.name} for {self.path}.", "free disk space."
            )
        if shape.count(-1) == 1:  # the length tells the one size that the specification leaves open
            shape = tuple(path.stat().st_size // (4 * -math.prod(shape)) if size < 0 else size for size in shape)
        count = math.prod(shape)
        found, exact = path.stat().st_size, 4 * count
        if found != exact and (self.shapes.kind in ("range", "static") or found != self._largest_bytes(path)):
            raise BackendError(
                f"{self.runner.name}: {path.name} has {found} bytes, expected {exact} of float32 {list(shape)}; "
                f"{self.path} is of another model or batch, or its outputs are no float32.",
                "`make om`",
            )
        return np.fromfile(path, "<f4", count).reshape(shape)

    def _largest_bytes(self, path: Path) -> int:
        index = int(path.stem.rpartition("_")[2])
        return max(4 * math.prod(output_shapes(self.spec, gear)[index]) for gear in self.shapes.gears)


def open_runner_session(spec: ModelSpec, model: ModelContent, runner: OmRunner) -> RunnerSession:
    """A session for an .om that has a sidecar.

    Raises:
        BackendError: it has none, or is of another model or batch.
    """
    path = model.path
    sidecar = told_by(model.record, path)
    if sidecar is None:
        raise BackendError(
            f"{path}: it has no sidecar {path.name}.json, and '{runner.name}' cannot ask a model for its gears.",
            "`make om` writes both; or --backend pyacl, which asks the model.",
        )
    check_sidecar(sidecar, spec, path, None)
    shapes = sidecar.shapes
    if sidecar.aipp:
        gears = tuple((gear[0], gear[2], gear[3], gear[1]) for gear in shapes.gears)
        shapes = OmShapes(shapes.kind, gears)
    check_batch(shapes, path)
    held = ExitStack()
    return RunnerSession(spec, path, held.enter_context(model.copied()), held, shapes, sidecar.aipp, runner)


def run_program(command: Sequence[str], where: Path, name: str, success: str | None) -> str:
    """Run a program in a folder of its own; return what it printed.

    Args:
        command: the program and its arguments.
        where: its working directory: runners read, and some delete, files of the current one.
        name: of the program, for errors.
        success: a line that it must have printed; its exit status alone proves nothing.

    Raises:
        BackendError: it could not be started, was killed, failed, or did not print the line.
    """
    try:
        ran = subprocess.run(list(command), cwd=where, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise BackendError(f"{name}: cannot be started ({error}).", f"`which {name}`") from error
    output = ran.stdout + ran.stderr
    telling = [line.strip() for line in output.splitlines() if "ERROR" in line or "rror" in line or "failed" in line]
    last = " / ".join((telling or output.strip().splitlines())[-2:])[:300] or "nothing was printed"
    if ran.returncode < 0:
        raise BackendError(
            f"{name}: it was ended by {signal.Signals(-ran.returncode).name}. Last lines: {last}.", "run it again."
        )
    if ran.returncode != 0:
        raise BackendError(f"{name}: exit status {ran.returncode}. Last lines: {last}.", "`npu-smi info`")
    if success is not None and success not in output:
        raise BackendError(
            f"{name}: exit status 0, and it did not print '{success}'. Last lines: {last}.",
            "run the command by hand; it answers 0 also to wrong arguments.",
        )
    return output
