# SPDX-License-Identifier: Apache-2.0
"""Compiled models (.om) on an Ascend chip through pyACL, CANN's Python module `acl`.

The module's conventions are irregular: some calls return `ret`, some `(value, ret)`, some a bare value or handle, two
`(dataset, ret)`. Every call goes through `_Library`, which unpacks each in its own way and turns a code into words.

Resources belong to small owners, each of which gives back what it holds in the documented order: for each dataset the
device memory, then the buffers, then the dataset; then the model, its description, the context, the device. The
library itself is initialised once for the process and finalised when the process ends; it cannot be initialised twice.
Source: AscendCL (Python) guide, CANN 5.0.4 to 9.0.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import importlib.util
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.backends.ascend.om import (
    OmShapes,
    bytes_of_normalised,
    check_batch,
    check_sidecar,
    run_in_gears,
    told_by,
    why_not_compiled,
)
from facepipe.backends.base import RuntimeOptions, Session, Traits
from facepipe.backends.timing import Spread, Stages
from facepipe.catalogue.chips import SET_ENV
from facepipe.errors import BackendError, TensorError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

HUGE_FIRST = 0  # memory policy
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # kinds of memcpy
NCHW = 0  # tensor format
NUMPY_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype(np.float32), 1: np.dtype(np.float16), 4: np.dtype(np.uint8)}
FLOAT, UINT8 = 0, 4
GEAR_INPUT = "ascend_mbatch_shape_data"  # hidden input of a model with gears
ALREADY_INITIALISED = 100002

_MEANINGS = {
    100000: "a parameter is bad",
    100001: "the library is not initialised",
    100003: "a file cannot be read",
    100011: "the model id is unknown",
    100012: "the .om cannot be deserialised; it is torn, or of another CANN release",
    100017: "the inputs do not match the model",
    100018: "the outputs do not match the model",
    100019: "the model has no gears",
    107002: "this thread has no context",
    145002: "the path of the .om is wrong",
    145003: "the model id is wrong",
    145006: "a buffer's size does not match the model",
    145011: "the gear input's address is wrong",
    145012: "the gear input's length is wrong",
    145013: "the model has no such gear",
    145020: "a format is wrong",
    145021: "a shape is wrong",
    145022: "a data type is wrong",
    200000: "memory is exhausted",
    200001: "the chip does not support this call",
    207001: "device memory is exhausted",
    245000: "device memory is exhausted",
    245002: "device memory is exhausted",
    500000: "an internal error",
    507011: "a kernel failed",
    507015: "an AI core failed",
    507018: "an AI CPU failed",
    507033: "the device cannot be opened; it is busy, absent, or not mapped into this container",
    545001: "the .om cannot be loaded; it was compiled for another chip or CANN release",
    545006: "the .om cannot be loaded; it was compiled for another chip or CANN release",
    545601: "a timeout",
}


@dataclass(frozen=True, slots=True)
class _Library:
    """The module `acl` with every return looked at."""

    acl: Any
    where: str

    def done(self, ret: int, call: str) -> None:
        """For calls that return a code alone."""
        if ret != 0:
            raise self.error(call, ret)

    def value(self, pair: tuple[Any, int], call: str) -> Any:
        """For calls that return (value, code)."""
        found, ret = pair
        if ret != 0:
            raise self.error(call, ret)
        return found

    def handle(self, found: int | None, call: str) -> int:
        """For calls that return a bare handle, which is null on failure."""
        if not found:
            raise self.error(call, None)
        return found

    def error(self, call: str, ret: int | None) -> BackendError:
        """The failure of one call in words, with the library's own text, which reading clears."""
        said = self._said()
        meaning = _MEANINGS.get(ret, "see the AscendCL guide") if ret is not None else "it returned no handle"
        code = "" if ret is None else f" {ret}"
        return BackendError(
            f"{self.where}: acl.{call} failed{code}, {meaning}. {' '.join(said.split())[:200]}".rstrip(),
            _ATTEMPTS.get(ret or 0, "`npu-smi info`; ~/ascend/log/debug/plog tells more."),
        )

    def _said(self) -> str:
        """The library's own text. The module decodes it as UTF-8 and raises where it is a message in GBK."""
        try:
            return self.acl.get_recent_err_msg() or ""
        except UnicodeDecodeError:
            return "(its message is no UTF-8; see ~/ascend/log/debug/plog)"


_ATTEMPTS = {
    100012: "`make om` with the CANN release that runs it.",
    107002: "this is a defect of facepipe; tell its maintainers.",
    207001: "a smaller BATCH, or fewer gears; `facepipe plan` shows the memory.",
    245000: "a smaller BATCH, or fewer gears; `facepipe plan` shows the memory.",
    507033: "`npu-smi info`; in a container, map /dev/davinci0 and /dev/davinci_manager.",
    545001: "`make om SOC=...` with the chip that `npu-smi info` shows.",
    545006: "`make om SOC=...` with the chip that `npu-smi info` shows.",
}


def _give_back(releases: list[Callable[[], None]]) -> None:
    """Call every release, the first one first, whatever fails; then raise the first failure."""
    failed: list[BackendError] = []
    for release in releases:
        try:
            release()
        except BackendError as error:
            failed.append(error)
    releases.clear()
    if failed:
        raise failed[0]


@dataclass(slots=True)
class _Process:
    """The library's state, which belongs to the process: initialised once, finalised at its end."""

    library: _Library | None = None
    pid: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def initialise(self, library: _Library) -> None:
        with self.lock:
            if self.library is not None and self.pid != os.getpid():
                raise BackendError(
                    f"{library.where}: this process was forked from one that uses the device, and cannot use it.",
                    "open the back end in each process on its own.",
                )
            if self.library is None:
                ret = library.acl.init()
                if ret == ALREADY_INITIALISED:  # by the program that facepipe is a part of, which then finalises
                    return
                library.done(ret, "init")
                self.library, self.pid = library, os.getpid()
                atexit.register(self.finalise)

    def finalise(self) -> None:
        with self.lock:
            if self.library is not None and self.pid == os.getpid():
                library, self.library = self.library, None
                atexit.unregister(self.finalise)
                library.done(library.acl.finalize(), "finalize")


_PROCESS = _Process()  # not ours to choose: acl.init is once for a process


def finalise() -> None:
    """Finalise the library now instead of at the end of the process. It cannot be used in this process again."""
    _PROCESS.finalise()


@dataclass(slots=True)
class _Device:
    """A device and a context on it."""

    library: _Library
    context: int
    releases: list[Callable[[], None]]

    @staticmethod
    def open(library: _Library, number: int) -> _Device:
        acl, releases = library.acl, list[Callable[[], None]]()
        count = library.value(acl.rt.get_device_count(), "rt.get_device_count")
        if not 0 <= number < count:
            raise BackendError(
                f"{library.where}: device {number} is not here, expected 0 to {count - 1}.",
                "`npu-smi info` lists them.",
            )
        library.done(acl.rt.set_device(number), "rt.set_device")
        releases.insert(0, lambda: library.done(acl.rt.reset_device(number), "rt.reset_device"))
        try:
            context = library.value(acl.rt.create_context(number), "rt.create_context")
        except BackendError:
            _give_back(releases)
            raise
        releases.insert(0, lambda: library.done(acl.rt.destroy_context(context), "rt.destroy_context"))
        return _Device(library, context, releases)

    def enter(self) -> None:
        """Make the context this thread's own: a thread that has none fails with 107002."""
        self.library.done(self.library.acl.rt.set_context(self.context), "rt.set_context")

    def close(self) -> None:
        _give_back(self.releases)


@dataclass(slots=True)
class _Model:
    """A loaded .om and its description."""

    library: _Library
    id: int
    desc: int
    releases: list[Callable[[], None]]

    @staticmethod
    def open(library: _Library, path: Path) -> _Model:
        acl, releases = library.acl, list[Callable[[], None]]()
        desc = library.handle(acl.mdl.create_desc(), "mdl.create_desc")
        releases.insert(0, lambda: library.done(acl.mdl.destroy_desc(desc), "mdl.destroy_desc"))
        try:
            number = library.value(acl.mdl.load_from_file(str(path)), "mdl.load_from_file")
            releases.insert(0, lambda: library.done(acl.mdl.unload(number), "mdl.unload"))
            library.done(acl.mdl.get_desc(desc, number), "mdl.get_desc")
        except BackendError:
            _give_back(releases)
            raise
        return _Model(library, number, desc, releases)

    def close(self) -> None:
        _give_back(self.releases)


@dataclass(slots=True)
class _Dataset:
    """The buffers of a model's inputs or outputs, each with device memory of its own, or none as yet."""

    library: _Library
    handle: int
    memory: list[int]  # 0 where there is none
    sizes: list[int]
    buffers: list[int]
    descriptions: list[int]

    @staticmethod
    def open(library: _Library, sizes: list[int]) -> _Dataset:
        """One buffer for each size; a size of 0 gets no memory."""
        acl = library.acl
        handle = library.handle(acl.mdl.create_dataset(), "mdl.create_dataset")
        made = _Dataset(library, handle, [], [], [], [])
        try:
            for size in sizes:
                made.memory.append(library.value(acl.rt.malloc(size, HUGE_FIRST), "rt.malloc") if size else 0)
                made.sizes.append(size)
                buffer = library.handle(acl.create_data_buffer(made.memory[-1], size), "create_data_buffer")
                made.buffers.append(buffer)
                library.value(acl.mdl.add_dataset_buffer(handle, buffer), "mdl.add_dataset_buffer")
        except BackendError:
            made.close()
            raise
        return made

    def resize(self, index: int, size: int) -> None:
        """Let one buffer tell exactly `size` bytes; memory grows where it is smaller, and what was there goes first."""
        if size > self.sizes[index]:
            self.free(index)
            self.memory[index] = self.library.value(self.library.acl.rt.malloc(size, HUGE_FIRST), "rt.malloc")
            self.sizes[index] = size
        self.update(index, self.memory[index], size)

    def free(self, index: int) -> None:
        """Give one buffer's memory back; the buffer then points at nothing."""
        memory, self.memory[index], self.sizes[index] = self.memory[index], 0, 0
        if memory:
            self.library.done(self.library.acl.rt.free(memory), "rt.free")
            self.update(index, 0, 0)

    def update(self, index: int, memory: int, size: int) -> None:
        self.library.done(self.library.acl.update_data_buffer(self.buffers[index], memory, size), "update_data_buffer")

    def describe(self, index: int, type_: int, shape: tuple[int, ...]) -> None:
        """Tell the shape of one input of a model that takes a range."""
        acl, library = self.library.acl, self.library
        description = library.handle(acl.create_tensor_desc(type_, list(shape), NCHW), "create_tensor_desc")
        self.descriptions.append(description)
        library.value(acl.mdl.set_dataset_tensor_desc(self.handle, description, index), "mdl.set_dataset_tensor_desc")

    def forget_descriptions(self) -> None:
        while self.descriptions:
            self.library.acl.destroy_tensor_desc(self.descriptions.pop())

    def close(self) -> None:
        acl, library = self.library.acl, self.library
        memory = [pointer for pointer in self.memory if pointer]
        self.forget_descriptions()
        releases: list[Callable[[], None]] = [
            *(lambda pointer=pointer: library.done(acl.rt.free(pointer), "rt.free") for pointer in memory),
            *(
                lambda buffer=buffer: library.done(acl.destroy_data_buffer(buffer), "destroy_data_buffer")
                for buffer in self.buffers
            ),
            lambda: library.done(acl.mdl.destroy_dataset(self.handle), "mdl.destroy_dataset"),
        ]
        self.memory, self.buffers = [], []
        _give_back(releases)


@dataclass(slots=True)
class _Pinned:
    """Page-locked host memory that NumPy sees and the device copies from and to, as large as the largest use so far.

    pyACL's memcpy takes plain addresses (its C++ parses "kkkki"), and NumPy views any: neither needs the helpers of
    `acl.util`, which differ between releases and copy.
    """

    library: _Library
    pointer: int = 0
    size: int = 0

    def numbers(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """A view of the memory's beginning, good until the next call that is larger, or `close`."""
        count = math.prod(shape) * dtype.itemsize
        if count > self.size:
            self.close()
            found = self.library.value(self.library.acl.rt.malloc_host(count), "rt.malloc_host")
            self.pointer = self.library.handle(found, "rt.malloc_host")  # NumPy at address 0 would end the process
            self.size = count
        return np.frombuffer(memoryview((ctypes.c_uint8 * count).from_address(self.pointer)), dtype).reshape(shape)

    def close(self) -> None:
        pointer, self.pointer, self.size = self.pointer, 0, 0
        if pointer:
            self.library.done(self.library.acl.rt.free_host(pointer), "rt.free_host")


@dataclass(slots=True)
class PyAclSession:
    """One .om on one device. Buffers are allocated once and reused; threads take turns.

    An input is written once, into page-locked memory, and an output is copied once, out of it: to the caller.
    """

    spec: ModelSpec
    library: _Library
    device: _Device
    model: _Model
    shapes: OmShapes
    aipp: bool
    input_type: int
    gear_index: int  # of the hidden input; -1 where there is none
    inputs: _Dataset
    outputs: _Dataset
    pinned_input: _Pinned
    pinned_output: _Pinned
    fixed_batch: int | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Any batch; it is cut and padded to the gears here."""
        (image,) = inputs
        with self.lock:
            self.device.enter()
            if self.shapes.kind == "range":
                return self._execute_range(image)
            if self.aipp and image.dtype != np.uint8:
                image = bytes_of_normalised(image, self.spec.pixels, self.library.where)
            return run_in_gears(image, self.spec, self.shapes, self._execute_all)

    def close(self) -> None:
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
            _give_back(
                [
                    self.device.enter,
                    self.pinned_input.close,
                    self.pinned_output.close,
                    self.inputs.close,
                    self.outputs.close,
                    self.model.close,
                    self.device.close,
                ]
            )

    def _execute_all(self, feeds: list[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        for feed in feeds:
            yield self._execute(feed)

    def time_stages(self, image: np.ndarray, loops: int, clock: Callable[[], float] = time.perf_counter) -> Stages:
        """The copy in, the execution and the copy out, `loops` of each after one that is not counted.

        Args:
            image: of exactly a shape that the model was compiled for, or within its range.

        Raises:
            BackendError: of another shape: it would be cut or padded, and what is timed would be another thing.
        """
        with self.lock:
            self.device.enter()
            if self.aipp:
                image = np.zeros([image.shape[axis] for axis in (0, 2, 3, 1)], np.uint8)  # what it holds costs nothing
            shape = image.shape
            if self.shapes.kind != "range" and shape not in self.shapes.gears:
                compiled = "; ".join("x".join(map(str, gear)) for gear in self.shapes.gears)
                raise BackendError(
                    f"{self.library.where}: {'x'.join(map(str, shape))} is to be timed, and it was compiled for "
                    f"{compiled}.",
                    "`facepipe om --shapes static` at that very shape.",
                )
            self._write(image)
            spent = list[tuple[float, ...]]()
            for _ in range(loops + 1):
                readings = [clock()]
                for step in (self._send, self._run, self._fetch):
                    step(image.shape)
                    readings.append(clock())
                spent.append(tuple(after - before for before, after in pairwise(readings)))
        return Stages(*(Spread.of([1000 * one[stage] for one in spent[1:]]) for stage in range(3)))

    def _execute(self, feed: np.ndarray) -> tuple[np.ndarray, ...]:
        """One execution of exactly one gear, or of a shape within the range."""
        self._write(feed)
        self._send(feed.shape)
        self._run(feed.shape)
        return self._fetch(feed.shape)

    def _write(self, feed: np.ndarray) -> None:
        """The input into page-locked memory, in the model's own type; any strides."""
        np.copyto(self.pinned_input.numbers(feed.shape, NUMPY_TYPES[self.input_type]), feed, casting="same_kind")

    def _send(self, shape: tuple[int, ...]) -> None:
        """What was written, packed at the start of the device's buffer, which is as large as the largest gear."""
        acl, library = self.library.acl, self.library
        count = math.prod(shape) * NUMPY_TYPES[self.input_type].itemsize
        if self.shapes.kind == "range":
            self.inputs.resize(0, count)
        memory, room = self.inputs.memory[0], self.inputs.sizes[0]
        library.done(acl.rt.memcpy(memory, room, self.pinned_input.pointer, count, HOST_TO_DEVICE), "rt.memcpy")

    def _run(self, shape: tuple[int, ...]) -> None:
        acl, library = self.library.acl, self.library
        try:
            if self.shapes.kind == "range":
                self.inputs.describe(0, self.input_type, shape)
            self._set_gear(shape)
            library.done(acl.mdl.execute(self.model.id, self.inputs.handle, self.outputs.handle), "mdl.execute")
        finally:
            self.inputs.forget_descriptions()

    def _fetch(self, _: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """The outputs; those of unknown size were allocated by the runtime, and are given back."""
        unknown = [index for index, size in enumerate(self.outputs.sizes) if not size]
        try:
            self._adopt_outputs(unknown)
            return tuple(self._output(index) for index in range(len(self.spec.outputs)))
        finally:
            for index in unknown:
                self.outputs.free(index)

    def _set_gear(self, shape: tuple[int, ...]) -> None:
        """Before every execution: a model whose gear is not set runs its largest, on whatever the buffer holds."""
        acl, library = self.library.acl, self.library
        if self.shapes.kind == "batch":
            ret = acl.mdl.set_dynamic_batch_size(self.model.id, self.inputs.handle, self.gear_index, shape[0])
            library.done(ret, "mdl.set_dynamic_batch_size")
        elif self.shapes.kind == "image":
            ret = acl.mdl.set_dynamic_hw_size(self.model.id, self.inputs.handle, self.gear_index, shape[2], shape[3])
            library.done(ret, "mdl.set_dynamic_hw_size")

    def _output(self, index: int) -> np.ndarray:
        """One output of what ran: its own bytes, not the rest of the buffer."""
        acl, library = self.library.acl, self.library
        if self.shapes.kind == "range":
            shape = self._described(index)
        elif self.gear_index >= 0:
            dims = library.value(acl.mdl.get_cur_output_dims(self.model.desc, index), "mdl.get_cur_output_dims")
            shape = tuple(dims["dims"])
        else:
            shape = tuple(library.value(acl.mdl.get_output_dims(self.model.desc, index), "mdl.get_output_dims")["dims"])
        return self._read(index, self.outputs.memory[index], self.outputs.sizes[index], shape)

    def _read(self, index: int, memory: int, size: int, shape: tuple[int, ...]) -> np.ndarray:
        type_ = _type(self.library, self.library.acl.mdl.get_output_data_type(self.model.desc, index), "output")
        count = math.prod(shape) * type_.itemsize
        if count > size:
            raise BackendError(f"{self.library.where}: output {index} has {count} bytes, its buffer {size}.")
        found = self.pinned_output.numbers(shape, type_)
        pinned = self.pinned_output
        ret = self.library.acl.rt.memcpy(pinned.pointer, pinned.size, memory, count, DEVICE_TO_HOST)
        self.library.done(ret, "rt.memcpy")
        return np.array(found, np.float32)  # the caller's own: the memory is the next output's

    def _execute_range(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Any shape within the range; longer batches in pieces of the greatest."""
        most = self.shapes.high[0]
        if len(image) > most:
            pieces = [self._execute_range(image[start : start + most]) for start in range(0, len(image), most)]
            return tuple(np.concatenate(column) for column in zip(*pieces, strict=True))
        bounds = zip(image.shape, self.shapes.low, self.shapes.high, strict=True)
        if not all(low <= size <= high for size, low, high in bounds):
            raise TensorError(
                f"{self.library.where}: input is {list(image.shape)}, expected {list(self.shapes.low)} to "
                f"{list(self.shapes.high)}."
            )
        return self._execute(image)

    def _adopt_outputs(self, unknown: list[int]) -> None:
        """Outputs of unknown size were allocated by the runtime; from here on they are ours to free."""
        acl = self.library.acl
        for index in unknown:
            buffer = self.outputs.buffers[index]
            self.outputs.memory[index] = acl.get_data_buffer_addr(buffer)
            self.outputs.sizes[index] = acl.get_data_buffer_size(buffer)

    def _described(self, index: int) -> tuple[int, ...]:
        """The shape that one output of a range has got."""
        acl, library = self.library.acl, self.library
        description = acl.mdl.get_dataset_tensor_desc(self.outputs.handle, index)
        library.handle(description, "mdl.get_dataset_tensor_desc")
        return tuple(
            library.value(acl.get_tensor_desc_dim_v2(description, axis), "get_tensor_desc_dim_v2")
            for axis in range(acl.get_tensor_desc_num_dims(description))
        )


@dataclass(frozen=True, slots=True)
class PyAcl:
    """The back end `pyacl`."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "pyacl"
    # pyACL's execute holds the interpreter lock (its C++, WrapAclMdlExecute): one process would decode, resize and
    # suppress only while the chip idles.
    traits: Traits = Traits(compiled=True, processes_per_device=2)

    def why_unavailable(self) -> str | None:
        if importlib.util.find_spec("acl") is None:
            return f"no module named 'acl'; {SET_ENV}."
        return why_not_compiled(self.options)

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """The .om on the device of the options, its shapes and its chip checked.

        Raises:
            BackendError: a call failed, or the .om is of another model, chip or batch.
        """
        path = model.path
        library = _Library(importlib.import_module("acl"), f"{path} on device {self.options.device}")
        _PROCESS.initialise(library)
        device = _Device.open(library, self.options.device)
        opened: list[Callable[[], None]] = [device.close]
        try:
            sidecar = told_by(model.record, path)
            if sidecar is not None:
                check_sidecar(sidecar, spec, path, None if self.options.any_chip else library.acl.get_soc_name())
            with model.copied() as copy:  # `mdl.load_from_mem` wants host or device memory by how the board runs
                loaded = _Model.open(library, copy)
            opened.insert(0, loaded.close)
            gear_index = _gear_index(library, loaded)
            input_type = library.acl.mdl.get_input_data_type(loaded.desc, 0)
            _type(library, input_type, "input")
            aipp = input_type == UINT8
            shapes = _shapes(library, loaded, spec, gear_index, aipp, sidecar is not None and sidecar.shapes.letterbox)
            if sidecar is not None and shapes.kind == "range":
                shapes = sidecar.shapes
            check_batch(shapes, path)
            _check_outputs(library, loaded, spec)
            inputs = _Dataset.open(library, _input_sizes(library, loaded, shapes))
            opened.insert(0, inputs.close)
            outputs = _Dataset.open(library, _output_sizes(library, loaded))
            opened.insert(1, outputs.close)
        except BaseException:
            _give_back(opened)
            raise
        return PyAclSession(
            spec,
            library,
            device,
            loaded,
            shapes,
            aipp,
            input_type,
            gear_index,
            inputs,
            outputs,
            _Pinned(library),
            _Pinned(library),
            shapes.gears[0][0] if shapes.kind == "static" else None,
        )


def _type(library: _Library, number: int, side: str) -> np.dtype[Any]:
    if number not in NUMPY_TYPES:
        raise BackendError(f"{library.where}: its {side} has data type {number}, expected {sorted(NUMPY_TYPES)}.")
    return NUMPY_TYPES[number]


def _gear_index(library: _Library, model: _Model) -> int:
    """The place of the hidden input that tells the gear; -1 where the model has no gears."""
    acl = library.acl
    names = [acl.mdl.get_input_name_by_index(model.desc, i) for i in range(acl.mdl.get_num_inputs(model.desc))]
    visible = [name for name in names if name != GEAR_INPUT]
    if len(visible) != 1:
        raise BackendError(f"{library.where}: it has the inputs {', '.join(visible)}, expected one image.", "`make om`")
    if GEAR_INPUT not in names:
        return -1
    return int(library.value(acl.mdl.get_input_index_by_name(model.desc, GEAR_INPUT), "mdl.get_input_index_by_name"))


def _shapes(
    library: _Library, model: _Model, spec: ModelSpec, gear_index: int, aipp: bool, letterbox: bool
) -> OmShapes:
    """What the model says of its own input, held against the specification."""
    acl = library.acl
    dims = tuple(library.value(acl.mdl.get_input_dims(model.desc, 0), "mdl.get_input_dims")["dims"])
    if aipp:
        # Which of the two calls for dims tells N, H, W, C under AIPP is not documented; the byte count is.
        sizes = tuple(dim.low for dim in spec.input.dims[1:])
        count = acl.mdl.get_input_size_by_index(model.desc, 0)
        batch, rest = divmod(count, math.prod(sizes))
        if rest or not batch:
            raise BackendError(
                f"{library.where}: its input has {count} bytes, expected a multiple of {math.prod(sizes)}."
            )
        return OmShapes("static", ((batch, sizes[1], sizes[2], sizes[0]),))
    if gear_index < 0 and min(dims) >= 0:
        found = OmShapes("static", (dims,))
    elif gear_index < 0:
        low = tuple(dim.low if size < 0 else size for dim, size in zip(spec.input.dims, dims, strict=True))
        high = tuple(dim.high if size < 0 else size for dim, size in zip(spec.input.dims, dims, strict=True))
        return OmShapes("range", (), low, high)
    elif dims[0] < 0:
        batches = library.value(acl.mdl.get_dynamic_batch(model.desc), "mdl.get_dynamic_batch")["batch"]
        found = OmShapes("batch", tuple((batch, *dims[1:]) for batch in batches))
    else:
        sizes_ = library.value(acl.mdl.get_dynamic_hw(model.desc, -1), "mdl.get_dynamic_hw")["hw"]
        found = OmShapes("image", tuple((*dims[:2], *size) for size in sizes_), letterbox=letterbox)
    if not found.gears:
        raise BackendError(
            f"{library.where}: it has gears of a kind that is not known here (--dynamic_dims).", "`make om`"
        )
    for gear in found.gears:
        fits = len(gear) == len(spec.input.dims) and all(
            dim.low <= size <= dim.high for dim, size in zip(spec.input.dims, gear, strict=True)
        )
        if not fits:
            expected = "x".join(str(dim) for dim in spec.input.dims)
            raise BackendError(
                f"{library.where}: it takes {'x'.join(map(str, gear))}, expected {expected} of {spec.name}; it is of "
                "another model.",
                "`make om`",
            )
    return found


def _check_outputs(library: _Library, model: _Model, spec: ModelSpec) -> None:
    """Number, rank and fixed sizes of the outputs, by position: names are lost or decorated in an .om."""
    acl = library.acl
    count = acl.mdl.get_num_outputs(model.desc)
    if count != len(spec.outputs):
        raise BackendError(
            f"{library.where}: it has {count} outputs, expected {len(spec.outputs)} of {spec.name}.", "`make om`"
        )
    for index, tensor in enumerate(spec.outputs):
        dims = library.value(acl.mdl.get_output_dims(model.desc, index), "mdl.get_output_dims")["dims"]
        fits = len(dims) == len(tensor.dims) and all(
            size < 0 or dim.low <= size <= dim.high for dim, size in zip(tensor.dims, dims, strict=True)
        )
        if not fits:
            expected = "x".join(str(dim) for dim in tensor.dims)
            raise BackendError(
                f"{library.where}: output {index} is {'x'.join(map(str, dims))}, expected '{tensor.name}' {expected}; "
                "it is of another model, or its outputs are in another order.",
                "`make om`",
            )


def _input_sizes(library: _Library, model: _Model, shapes: OmShapes) -> list[int]:
    """Bytes of each input's buffer: of the largest gear; 0 for a range, whose size is known at each call.

    Of a bounded range the model tells the product of the upper bounds (GE model_om2.cpp, aclmdlGetTensorSize), which no
    call need ever reach: PNet at 16 x 3 x 1500 x 1500 would take 432 MB of device memory.
    """
    acl = library.acl
    if shapes.kind == "range":
        return [0]
    return [acl.mdl.get_input_size_by_index(model.desc, i) for i in range(acl.mdl.get_num_inputs(model.desc))]


def _output_sizes(library: _Library, model: _Model) -> list[int]:
    """Bytes of each output's buffer: the greatest, of a bounded range too; 0 where only execution tells the size."""
    acl = library.acl
    return [acl.mdl.get_output_size_by_index(model.desc, i) for i in range(acl.mdl.get_num_outputs(model.desc))]
