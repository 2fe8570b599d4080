# SPDX-License-Identifier: Apache-2.0
"""Running a model over files: what msame does on a board, done here by onnxruntime with the same files and lines.

A folder runner takes a folder of `.bin` inputs and makes a folder of outputs. msame's conventions, which this file
keeps (github.com/Ascend/tools, msame):

- in a folder every visible file is an input, in the order of names as text: 0, 1, 10, 100, ...;
- outputs go to `<output>/<year><month><day>_<hour>_<minute>_<second>_<microsecond>`, no number filled with zeros;
- they are called `<input stem>_output_<i>.bin`, or `<model stem>_output_<i>.bin` where single files were given;
- a text output has six significant digits, a line feed after 100 numbers and an empty line between rows.

Unlike msame, the length of every file is held against the model, and a failure is an error.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from facepipe.backends.base import RuntimeOptions
from facepipe.backends.ort import OnnxRuntime, RawSession, RawTensor, load_raw
from facepipe.errors import BackendError, TensorError
from facepipe.store.files import write_bytes

Say = Callable[[str], None]

_COMPILED = re.compile(
    r"(?P<ours>.+?)\.(?:bs(?P<batch>\d+)\.)?Ascend[\w-]+\.om|(?P<theirs>.+?)_(?:bs(?P<their_batch>\d+)|dynamic)\.om"
)


@runtime_checkable
class FolderRunner(Protocol):
    """Something that runs a model file over a folder of `.bin` files: a vendor's tool, or the stand-in here."""

    @property
    def name(self) -> str: ...

    def why_unavailable(self) -> str | None:
        """None when it can be used here; else what is missing and what to install, in one line."""
        ...

    def run_folder(self, model: Path, inputs: Path, outputs: Path, say: Say) -> Path:
        """Run `model` over every visible file of `inputs`; return the new folder below `outputs` with the results.

        `say` gets the tool's lines.

        Raises:
            BackendError: the tool failed.
            TensorError: an input does not fit the model.
        """
        ...


@dataclass(frozen=True, slots=True)
class DynamicShape:
    """What msame's dym* options say of a model's open axes. At most one of the three is given."""

    batch: int | None = None  # --dymBatch
    height_width: tuple[int, int] | None = None  # --dymHW, axes 2 and 3 of the first input
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # --dymDims, --dymShape


@dataclass(frozen=True, slots=True)
class FilesJob:
    """One call of msame: the model, its inputs, and the options that change what is written."""

    model: Path
    inputs: tuple[Path, ...]  # one for each model input, all files or all folders; none: zeros
    outputs: Path
    text: bool = False
    loop: int = 1  # executions of single files; a folder is run once, as msame does
    dynamic: DynamicShape = field(default_factory=DynamicShape)
    output_sizes: tuple[int, ...] = ()  # --outputSize: room for each output in bytes
    describe: bool = False  # --debug: say what the model declares


@dataclass(frozen=True, slots=True)
class OnnxRuntimeFolder:
    """The folder runner over onnxruntime."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "onnxruntime"

    def why_unavailable(self) -> str | None:
        return OnnxRuntime(self.options).why_unavailable()

    def run_folder(self, model: Path, inputs: Path, outputs: Path, say: Say) -> Path:
        return run_files(FilesJob(model, (inputs,), outputs), self.options, say)


def run_files(job: FilesJob, options: RuntimeOptions, say: Say) -> Path:
    """Run the job; return the new folder that holds the outputs.

    Args:
        job: what to run.
        options: threads and precision of onnxruntime.
        say: gets every line that msame would print at the same place.

    Raises:
        BackendError: onnxruntime is unavailable, the model does not load or run, an input path is not there.
        TensorError: a file's length, the number of inputs or an output size does not fit the model.
    """
    reason = OnnxRuntime(options).why_unavailable()
    if reason is not None:
        raise BackendError(f"backend 'onnxruntime' is unavailable: {reason}")
    session = load_raw(job.model, options)
    say(f"[INFO] load model {job.model} success")
    if job.describe:
        _describe(session, say)
    batches = _input_files(job, session)
    folder = job.outputs / _time_line(datetime.now())
    folder.mkdir(parents=True)
    say(str(folder))
    if job.inputs and job.inputs[0].is_dir():
        _run_each(job, session, batches, folder, say)
    else:
        _run_once(job, session, batches[0], folder, say)
    say("[INFO] unload model success, model Id is 1")
    return folder


def onnx_of(om: Path) -> tuple[Path, int | None]:
    """The ONNX file beside an .om that it was compiled from, by name, and the batch that the .om's name fixes.

        facenet.vggface2.bs16.Ascend310.om    facenet.vggface2.simplified.onnx       16
        Inception_facenet_vggface2_bs16.om    Inception_facenet_vggface2_fix.onnx    16    (the vendor's names)
        PNet_dynamic.om                       PNet_truncated_fix.onnx                any

    Raises:
        BackendError: none of them is there.
    """
    match = _COMPILED.fullmatch(om.name)
    base = match["ours"] or match["theirs"] if match else om.stem
    batch = match["batch"] or match["their_batch"] if match else None
    names = (
        [f"{base}.simplified.onnx"] if match and match["ours"] else [f"{base}_fix.onnx", f"{base}_truncated_fix.onnx"]
    )
    there = next((path for path in map(om.with_name, [*names, f"{base}.onnx"]) if path.is_file()), None)
    if there is None:
        raise BackendError(
            f"{om}: onnxruntime runs no .om, and none of {', '.join(names)}, {base}.onnx lies beside it.",
            "--model with the ONNX file, or msame on the board.",
        )
    return there, int(batch) if batch else None


def newest_folder(parent: Path, before: frozenset[str]) -> Path:
    """The one folder that a runner made below `parent`, told by what was there `before`, never by its name.

    Raises:
        BackendError: no folder is new, or several are.
    """
    new = sorted(folders(parent) - before)
    if len(new) != 1:
        raise BackendError(
            f"{parent}: {len(new)} new folders after the run ({', '.join(new) or 'none'}), expected 1.",
            "let one runner at a time write there." if new else "read the runner's own messages.",
        )
    return parent / new[0]


def folders(parent: Path) -> frozenset[str]:
    """Names of the folders in `parent`; none where it does not exist."""
    return frozenset(path.name for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else frozenset()


def _run_each(job: FilesJob, session: RawSession, batches: Sequence[tuple[Path, ...]], folder: Path, say: Say) -> None:
    """A folder of inputs: every file once."""
    times = []
    for files in batches:
        for file in files:
            say(f"[INFO] start to process file:{file}")
        arrays = tuple(_read(file, tensor, job.dynamic, i) for i, (file, tensor) in _numbered(files, session.inputs))
        outputs, elapsed_ms = _timed(session, arrays, say)
        times.append(elapsed_ms)
        _write(folder, files[0].stem, outputs, job, say)
        say("[INFO] destroy model input success")
    say(f"Inference average time : {sum(times) / len(times):.2f} ms")
    if len(times) > 1:
        say(f"Inference average time without first time: {sum(times[1:]) / (len(times) - 1):.2f} ms")


def _run_once(job: FilesJob, session: RawSession, files: tuple[Path, ...], folder: Path, say: Say) -> None:
    """Single files, or zeros where none is given: `loop` times, the last result is written."""
    for file in files:
        say(f"[INFO] start to process file:{file}")
    if files:
        arrays = tuple(_read(file, tensor, job.dynamic, i) for i, (file, tensor) in _numbered(files, session.inputs))
    else:
        arrays = tuple(_zeros(tensor, job.dynamic, i) for i, tensor in enumerate(session.inputs))
    times = []
    for _ in range(job.loop):
        outputs, elapsed_ms = _timed(session, arrays, say)
        times.append(elapsed_ms)
    _write(folder, job.model.stem, outputs, job, say)
    say(f"Inference average time: {sum(times) / len(times):f} ms")
    if len(times) > 1:
        say(f"Inference average time without first time: {sum(times[1:]) / (len(times) - 1):f} ms")


def _numbered(files: tuple[Path, ...], inputs: tuple[RawTensor, ...]) -> list[tuple[int, tuple[Path, RawTensor]]]:
    return list(enumerate(zip(files, inputs, strict=True)))


def _timed(session: RawSession, arrays: tuple[np.ndarray, ...], say: Say) -> tuple[tuple[np.ndarray, ...], float]:
    start = time.perf_counter()
    outputs = session.run(arrays)
    elapsed_ms = 1000 * (time.perf_counter() - start)
    say("[INFO] model execute success")
    say(f"Inference time: {elapsed_ms:g}ms")
    return outputs, elapsed_ms


def _input_files(job: FilesJob, session: RawSession) -> list[tuple[Path, ...]]:
    """For every execution the files of its inputs; one empty tuple where no input is given.

    Raises:
        BackendError: a path is not there, or a folder is empty.
        TensorError: another number of inputs than the model has, or folders that do not hold the same names.
    """
    if not job.inputs:
        return [()]
    if len(job.inputs) != len(session.inputs):
        names = ", ".join(tensor.name for tensor in session.inputs)
        raise TensorError(f"{job.model}: {len(job.inputs)} inputs are given, expected {len(session.inputs)} ({names}).")
    for path in job.inputs:
        if not path.exists():
            raise BackendError(f"{path}: no such file or folder, expected the model's input.")
    if not any(path.is_dir() for path in job.inputs):
        return [job.inputs]
    if not all(path.is_dir() for path in job.inputs):
        raise BackendError(f"{job.inputs[0]}: files and folders are mixed, expected all of one kind.")
    first = _visible_files(job.inputs[0])
    for folder in job.inputs:
        there = _visible_files(folder)
        if not there:
            raise BackendError(f"{folder}: holds no file, expected one for each batch.")
        if there != first:
            odd = min(set(there) ^ set(first))
            raise TensorError(f"{folder}: differs from {job.inputs[0]} in '{odd}', expected the same names.")
    return [tuple(folder / name for folder in job.inputs) for name in first]


def _visible_files(folder: Path) -> list[str]:
    """As msame lists them: not hidden, sorted as text."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _read(file: Path, tensor: RawTensor, dynamic: DynamicShape, position: int) -> np.ndarray:
    """The file as an array of the model's shape; its length settles one open axis.

    Raises:
        TensorError: the length does not fit.
    """
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    shape = _settled(tensor, dynamic, position)
    length = file.stat().st_size
    row = math.prod(axis for axis in shape if axis is not None) * dtype.itemsize
    unknown = shape.count(None)
    if unknown > 1:
        raise TensorError(
            f"{file}: '{tensor.name}' is {_shown(tensor)}, and its length settles one axis only.",
            f'--dymShape "{tensor.name}:1,3,160,160", with the real sizes.',
        )
    if unknown == 0 and length != row:
        raise TensorError(f"{file}: {length} bytes, expected {row} for '{tensor.name}' {_shown(tensor, shape)}.")
    if unknown == 1 and (length == 0 or length % row):
        raise TensorError(
            f"{file}: {length} bytes, expected a multiple of {row} for '{tensor.name}' {_shown(tensor, shape)}."
        )
    whole = tuple(length // row if axis is None else axis for axis in shape)
    return np.fromfile(file, dtype).astype(tensor.dtype, copy=False).reshape(whole)


def _zeros(tensor: RawTensor, dynamic: DynamicShape, position: int) -> np.ndarray:
    shape = tuple(axis for axis in _settled(tensor, dynamic, position) if axis is not None)
    if len(shape) != len(tensor.shape):
        raise TensorError(
            f"'{tensor.name}' is {_shown(tensor)}, and no input says how large its open axes are.",
            "--dymBatch 1, or --dymShape with every size.",
        )
    return np.zeros(shape, tensor.dtype)


def _settled(tensor: RawTensor, dynamic: DynamicShape, position: int) -> tuple[int | None, ...]:
    """The declared shape with what the dym* options say put in.

    Raises:
        TensorError: an option contradicts what the model declares.
    """
    asked = list(tensor.shape)
    if tensor.name in dynamic.shapes:
        asked = list(dynamic.shapes[tensor.name])
    elif dynamic.batch is not None and asked:
        asked[0] = dynamic.batch
    elif dynamic.height_width is not None and position == 0 and len(asked) == 4:
        asked[2:] = dynamic.height_width
    fits = len(asked) == len(tensor.shape) and all(
        declared in (None, size) for declared, size in zip(tensor.shape, asked, strict=True)
    )
    if not fits:
        raise TensorError(f"'{tensor.name}' is {_shown(tensor)} in the model, and {asked} is asked for.")
    return tuple(asked)


def _shown(tensor: RawTensor, shape: Sequence[int | None] | None = None) -> str:
    axes = ", ".join("?" if axis is None else str(axis) for axis in (tensor.shape if shape is None else shape))
    return f"{tensor.dtype} [{axes}]"


def _describe(session: RawSession, say: Say) -> None:
    for kind, tensors in (("input", session.inputs), ("output", session.outputs)):
        for number, tensor in enumerate(tensors):
            say(f"[INFO] model {kind}[{number}]: {tensor.name} {_shown(tensor)}")


def _write(folder: Path, stem: str, outputs: tuple[np.ndarray, ...], job: FilesJob, say: Say) -> None:
    """One file for each output, each whole or not at all.

    Raises:
        TensorError: --outputSize leaves less room than an output takes.
    """
    sizes = job.output_sizes or tuple(output.nbytes for output in outputs)
    if len(sizes) != len(outputs):
        raise TensorError(f"{job.model}: {len(sizes)} output sizes are given, expected {len(outputs)}.")
    for number, (output, room) in enumerate(zip(outputs, sizes, strict=True)):
        if output.nbytes > room:
            raise TensorError(f"{stem}: output {number} takes {output.nbytes} bytes, and --outputSize leaves {room}.")
        path = folder / f"{stem}_output_{number}.{'txt' if job.text else 'bin'}"
        content = _as_text(output).encode() if job.text else output.astype(output.dtype.newbyteorder("<")).tobytes()
        write_bytes(path, content)
    say("[INFO] output data success")


def _as_text(output: np.ndarray) -> str:
    """msame's text form: a blank after every number, rows of the first axis apart by an empty line."""
    row = math.prod(output.shape[1:])
    values = output.reshape(-1).astype(np.int64 if output.dtype == np.bool_ else output.dtype)
    last, pieces = len(values) - 1, []
    for place, value in enumerate(values.tolist()):
        pieces.append(f"{value:g} " if isinstance(value, float) else f"{value} ")
        if place != last and place and (place + 1) % row == 0:
            pieces.append("\n\n")
        elif place != last and (place + 1) % 100 == 0:
            pieces.append("\n")
    return "".join(pieces)


def _time_line(now: datetime) -> str:
    """msame's name for a run: no number is filled with zeros, so these names do not sort by time."""
    return f"{now.year}{now.month}{now.day}_{now.hour}_{now.minute}_{now.second}_{now.microsecond}"
