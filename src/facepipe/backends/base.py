# SPDX-License-Identifier: Apache-2.0
"""The whole contract between facepipe and what executes a network.

Protocols, not base classes: a back end is a few lines around a vendor's library, and shares no code with another.
`open_session` is the only way in. It checks availability, reads the model file once, hashes and loads those bytes,
checks every array against the specification, and binds outputs by position (compiled files lose or decorate tensor
names), so that an exchanged order cannot pass unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Protocol, runtime_checkable

import numpy as np

from facepipe.errors import BackendError, StageError, TensorError
from facepipe.specs import Imported, ModelSpec
from facepipe.store.model_content import ModelContent, read_model
from facepipe.store.provenance import ModelFile, model_provenance

Run = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""One network as a function: the image tensor in, the outputs in the order of the specification out."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How a session is to run. A back end that cannot honour one of these raises BackendError, never ignores it."""

    threads: int = 1  # per session
    device: int = 0
    precision: str = "f32"  # what the back end computes in: f32, bf16, f16, int8, bf16-all; see `network_precision`
    cache: Path | None = None  # folder for compiled models, where the back end has such a thing
    devices: tuple[int, ...] = ()  # several devices: one process for each, which takes its own
    any_chip: bool = False  # an .om of another chip than the board's goes to its runtime all the same
    hint: Literal["latency", "throughput"] = "latency"  # all threads on one call, or a share of the rows for each

    def of_worker(self, worker: int) -> RuntimeOptions:
        """The options of one worker process: its device, where there are several."""
        return replace(self, device=self.devices[worker % len(self.devices)]) if self.devices else self


GATHERED: Final = 256
"""Rows that are gathered for one call that starts a program: as many as a shard has, within what float32 may weigh."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What the code around a back end must know of it. The defaults are a device's, whose models are ONNX files.

    Attributes:
        on_host: computes on this processor: any shape, call after call in its own caches; one process for each core.
        process_per_call: every call starts a program and loads the model, so that rows are gathered for it.
        compiled: loads .om files, in which shapes and precision are fixed; else .onnx.
        processes_per_device: how many share a device by default, so that one's host work goes on while it computes for
            another.
        packages: whose versions decide what it computes; another version's results are not mixed with this one's.
    """

    on_host: bool = False
    process_per_call: bool = False
    compiled: bool = False
    processes_per_device: int = 1
    packages: tuple[str, ...] = ()

    def rows_per_call(self, batch: int) -> int:
        """Rows worth gathering for one call: the batch, or many where every call starts a program."""
        return max(batch, GATHERED) if self.process_per_call else batch


def why_not_honoured(
    options: RuntimeOptions,
    precisions: Sequence[str],
    *,
    hints: Sequence[str] = ("latency",),
    threads: bool = True,
    devices: bool = False,
    compiled: bool = False,
) -> str | None:
    """The first option that a back end cannot honour, as `why_unavailable` says it; None when it honours all.

    Args:
        precisions, hints: those that it knows.
        threads: whether it can use more than one.
        devices: whether it has several.
        compiled: whether it loads .om files, which are of one chip.
    """
    if options.precision not in precisions:
        return f"it computes in {', '.join(precisions)}, and precision {options.precision} was asked for."
    if options.hint not in hints:
        return f"it has one way to use its threads, and hint {options.hint} was asked for."
    if options.threads != 1 and not threads:
        return f"it has no threads to share, and {options.threads} threads were asked for."
    if (options.device or options.devices) and not devices:
        asked = ", ".join(map(str, options.devices or (options.device,)))
        return f"it computes on this processor, and device {asked} was asked for."
    if options.any_chip and not compiled:
        return "it loads no .om, so that --any-chip means nothing."
    return None


def network_precision(spec: ModelSpec, precision: str) -> str:
    """What one network computes in, when a run on a host asks for `precision`.

    A detector's answer is a choice (which cell, which box survives), and half precision changes it: such a choice moves
    whole boxes. A recogniser's answer is a direction, and moves by as little as the arithmetic does. So a precision is
    the recogniser's, and detectors stay in f32; with "-all" behind it, it is every network's.
    """
    name, every, _ = precision.partition("-all")
    return name if every or spec.task == "embed" else "f32"


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What made results that are kept, so that more of them are made alike: a back end's name, and the precision."""

    backend: str
    precision: str


class Session(Protocol):
    """One loaded model. Takes and returns host arrays by position; outputs are the caller's to keep."""

    @property
    def fixed_batch(self) -> int | None:
        """The batch that every call must have; None when any batch within the specification will do."""
        ...

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]: ...

    def close(self) -> None: ...


class Backend(Protocol):
    """Something that executes model files. Construction is free; the device is touched on `load`."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> RuntimeOptions: ...

    @property
    def traits(self) -> Traits: ...

    def why_unavailable(self) -> str | None:
        """None when it can be used here; else what is missing and what to install, in one line."""
        ...

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session over these very bytes; `model.path` is for messages alone.

        Raises:
            BackendError: they are no model that it can run.
        """
        ...


@runtime_checkable
class Pair(Protocol):
    """A back end that hands each model on to another, by what is in its file."""

    def engine(self, spec: ModelSpec, content: bytes) -> Backend:
        """The one that runs this model."""
        ...


def executing(backend: Backend, spec: ModelSpec, content: bytes) -> Backend:
    """What executes a model: the back end itself, or one of a pair."""
    return backend.engine(spec, content) if isinstance(backend, Pair) else backend


@dataclass(frozen=True, slots=True)
class CheckedSession:
    """A session whose every call is held against the model's specification.

    Attributes:
        file: what was loaded, by digest, and what executes it.
    """

    spec: ModelSpec
    session: Session
    file: ModelFile

    @property
    def fixed_batch(self) -> int | None:
        return self.session.fixed_batch

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Outputs in the order of the specification.

        Raises:
            TensorError: input or output differ from the specification in dtype, rank, size, number or batch.
        """
        spec = self.spec
        spec.input.check(image, f"{spec.name} input")
        outputs = self.session.run((image,))
        if len(outputs) != len(spec.outputs):
            raise TensorError(f"{spec.name}: {len(outputs)} outputs came back, expected {len(spec.outputs)}.")
        for tensor, array in zip(spec.outputs, outputs, strict=True):
            tensor.check(array, f"{spec.name} output")
            if len(array) != len(image):
                raise TensorError(f"{spec.name}: '{tensor.name}' has {len(array)} rows, expected {len(image)}.")
        return outputs


def model_file(backend: Backend, spec: ModelSpec, weights: Path, batch: int) -> Path:
    """The file below `weights` that `backend` loads for this model, compiled for `batch` where that matters.

    Raises:
        BackendError: a compiled model is absent, or there are several of different chips.
    """
    if not backend.traits.compiled:
        is_quantised = network_precision(spec, backend.options.precision) == "int8"
        return spec.quantised(weights) if is_quantised else spec.final(weights)
    pattern = spec.compiled(weights, "*", batch).name
    found = sorted(weights.glob(pattern))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise BackendError(
            f"{weights}: {names} are of different chips, expected one.", "keep one folder for each chip."
        )
    others = ", ".join(sorted(path.name for path in weights.glob(f"{spec.name}.*om"))) or "none"
    raise BackendError(
        f"{weights}: no {pattern}, expected it for '{backend.name}' (compiled for {spec.name} here: {others}).",
        f"`make om BATCH={batch}`; the batch is compiled in.",
    )


def making_of(backend: Backend, spec: ModelSpec) -> str:
    """The command that makes what `model_file` names."""
    if backend.traits.compiled:
        return "make om"
    if spec.imported is not None and network_precision(spec, backend.options.precision) != "int8":
        return "facepipe import"
    command = "quantise" if network_precision(spec, backend.options.precision) == "int8" else "onnx"
    return f"facepipe {command} {spec.name}"


def require_available(backend: Backend) -> None:
    """Raise BackendError, with the reason, when the back end cannot be used here."""
    reason = backend.why_unavailable()
    if reason is not None:
        raise BackendError(
            f"backend '{backend.name}' is unavailable: {reason}", "`facepipe backends` lists what can run here."
        )


Stated = Mapping[str, ModelFile]
"""What each model has to be, by its name: a run states it, and every worker holds to it."""


def stated_by(models: Iterable[ModelFile] | None) -> Stated:
    """What a run states of the models that it has found; it does so before anything is loaded."""
    assert models is not None, "a run states its models before anything is loaded"
    return {file.model: file for file in models}


@contextmanager
def open_session(
    backend: Backend, spec: ModelSpec, path: Path, stated: Stated | None = None
) -> Iterator[CheckedSession]:
    """A loaded, checked model, closed on every way out.

    Args:
        stated: of this model too; None: whatever lies there is loaded.

    Raises:
        BackendError: the back end is unavailable here, or the model file is not there.
        StageError: the file is not the one that was stated, or the record beside it is not its own.
    """
    require_available(backend)
    session, file = _loaded(backend, spec, path, None if stated is None else stated[spec.name])
    try:
        yield CheckedSession(spec, session, file)
    finally:
        session.close()


def model_on_disk(
    backend: Backend, spec: ModelSpec, weights: Path, batch: int, stated: ModelFile | None = None
) -> tuple[ModelContent, ModelFile]:
    """What `model_file` names, read once, and what a result says of it.

    Raises:
        BackendError: it is not there.
        StageError: as `read_model`.
    """
    model, file, _ = _read(backend, spec, model_file(backend, spec, weights, batch), stated)
    return model, file


def _read(
    backend: Backend, spec: ModelSpec, path: Path, stated: ModelFile | None
) -> tuple[ModelContent, ModelFile, Backend]:
    if not path.is_file():
        step = making_of(backend, spec)
        raise BackendError(f"{path}: no such model file, expected {spec.name} for '{backend.name}'.", f"`{step}`")
    model = read_model(path, None if stated is None else stated.sha256)
    meaning = None
    if spec.imported is not None:
        _require_imported(spec.imported, model, stated)
        meaning = spec.imported.meaning
    engine = executing(backend, spec, model.content)
    return model, model_provenance(spec.name, model, engine.name, meaning), engine


def _require_imported(imported: Imported, model: ModelContent, stated: ModelFile | None) -> None:
    """Hold the file, or what it was made from, against the record that was imported; and that against the run's.

    Raises:
        StageError: one is another.
    """
    if model.path.name == imported.file:
        found, what = model.sha256, "the file"
        attempt: str | None = "put the file back that was imported, or `facepipe import` the new one with --overwrite."
    else:
        made_from = {} if model.record is None else model.record.made_from.inputs
        found, what = made_from.get("onnx", imported.sha256), "the model that it was made from"
        attempt = None if model.record is None else f"`{model.record.again}`"
    if found != imported.sha256:
        raise StageError(
            f"{model.path}: {what} has sha256 {found[:12]}..., expected {imported.sha256[:12]}... as the record of "
            f"{imported.file} says.",
            attempt,
        )
    if stated is not None and stated.weights_sha256 != imported.meaning:
        raise StageError(
            f"{model.path}: its record is another than this run began with (pixels, alignment, outputs).",
            "put it back and run the same command again, or --force to start over.",
        )


def _loaded(backend: Backend, spec: ModelSpec, path: Path, stated: ModelFile | None) -> tuple[Session, ModelFile]:
    """The session, and nothing that keeps the bytes."""
    model, file, engine = _read(backend, spec, path, stated)
    session = engine.load(spec, model)
    shot = spec.single_shot
    return session if shot is None or shot.batched else _OneInput(session), file


@dataclass(frozen=True, slots=True)
class _OneInput:
    """A session whose outputs have no axis of rows: one input in each call, and the axis is added."""

    inner: Session
    fixed_batch: int | None = 1

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return tuple(output[None] for output in self.inner.run(inputs))

    def close(self) -> None:
        self.inner.close()
