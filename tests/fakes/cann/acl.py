# SPDX-License-Identifier: Apache-2.0
"""pyACL as its guide describes it, stricter than the real one: what it forgives on a board fails a test here.

Every function has the documented name, arguments and return convention. Handles are integers in tables; memory is real
and separate for host and device; contexts belong to threads. A misuse raises `Misuse` and is kept in `state.misuses`,
so that a driver which swallows it still fails. The network runs in onnxruntime (see fake_om.py).

For tests alone: `reset`, `live`, `state.fail` (inject an error), `state.calls`. Environment of a whole process:
FAKE_SOC, FAKE_DEVICES, FAKE_CANN; FAKE_ACL_FAIL="name:nth:code"; FAKE_ACL_REPORT=file that gets what was still alive
at exit; FAKE_ACL_TAPE and FAKE_ACL_WAIT, see `_results` and `_wait`.
"facts N.N": see tests/fakes/README.md.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import functools
import json
import math
import os
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_om
import numpy as np

ACTUAL_NO_CONTEXT = 107002  # facts 4.2
RELEASES = frozenset(
    ("free", "free_host", "destroy_data_buffer", "destroy_dataset", "unload", "destroy_desc", "destroy_context",
     "reset_device", "finalize")
)  # fmt: skip


class Misuse(AssertionError):
    """The driver did what the guide forbids."""


@dataclass
class Memory:
    """One allocation. `valid` is how many bytes from its start hold something that may be read."""

    content: Any  # bytearray, or of the host a ctypes array
    device: int  # -1: host
    context: int
    valid: int = 0


@dataclass
class Dataset:
    buffers: list[int] = field(default_factory=list)
    descs: dict[int, int] = field(default_factory=dict)
    own_descs: dict[int, int] = field(default_factory=dict)
    gear: tuple[int, ...] | None = None


@dataclass
class Buffer:
    pointer: int
    size: int


@dataclass
class Model:
    om: fake_om.Om
    context: int
    device: int
    gear: tuple[int, ...] | None = None


@dataclass
class Desc:
    model: int = 0


@dataclass
class TensorDesc:
    type: int
    dims: tuple[int, ...]


@dataclass
class Context:
    device: int


@dataclass
class State:
    """Everything the library knows."""

    soc: str = "Ascend310"
    cann: tuple[int, int, int] = fake_om.version("8.0")
    devices: int = 1
    fail: tuple[str, int, int] | None = None  # (name, nth call from 1, code; 0 returns a null handle)
    initialised: bool = False
    finalised: bool = False
    device_references: Counter[int] = field(default_factory=Counter)
    things: dict[int, Any] = field(default_factory=dict)
    dead: dict[int, str] = field(default_factory=dict)
    graves: list[Any] = field(default_factory=list)
    next_handle: int = 0x1000
    calls: list[str] = field(default_factory=list)
    misuses: list[str] = field(default_factory=list)
    threads: threading.local = field(default_factory=threading.local)
    executions: list[tuple[int, ...]] = field(default_factory=list)
    injected: bool = False
    waited: float = 0.0  # seconds, see `_wait`
    gbk: bool = False  # messages are in GBK
    sisters: bool = False  # the runtime takes an .om of another chip of the family


state = State()


def reset(soc: str = "Ascend310", devices: int = 1) -> None:
    """A library that was never used."""
    global state
    state = State(soc=soc, devices=devices)


def live() -> list[str]:
    """What was made and not given back, and every misuse."""
    found = [f"{type(thing).__name__} {handle:#x}" for handle, thing in state.things.items()]
    found += [f"device {device} x{count}" for device, count in state.device_references.items() if count]
    if state.initialised:
        found.append("the library (finalize)")
    return found + state.misuses


def misuse(text: str) -> Misuse:
    state.misuses.append(text)
    return Misuse(text)


def api(name: str, returns: str, *, context: bool = True):  # type: ignore[no-untyped-def]
    """Count the call, inject an error, and look at library and thread before the function runs.

    returns: "ret", "pair" (value, ret), "handle" (bare; null on failure), "bare" (cannot fail), "none".
    """

    def decorate(function):  # type: ignore[no-untyped-def]
        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            state.calls.append(name)
            if any(isinstance(argument, np.generic) for argument in arguments):
                # pyACL's C++ parses "k" and "K" by PyArg_ParseTuple: "must be int, not numpy.int64" up to Python 3.13
                raise misuse(f"{name}: a NumPy number among {arguments!r}; it takes Python's own")
            code = _code_before(name, context, returns)
            if code:
                state.threads.message = (
                    f"EE{code % 10000:04d}: {name} failed"  # facts 4.1: per thread, cleared by reading
                )
                if returns == "ret":
                    if code != ACTUAL_NO_CONTEXT and name.rpartition(".")[2] in RELEASES:
                        function(*arguments)  # an injected failure of a release: it is gone all the same
                    return code
                if returns == "pair":
                    return (0, code)
                if returns == "handle":
                    return 0
                raise misuse(f"{name}: called in a state in which it crashes ({code})")
            return function(*arguments)

        return call

    return decorate


def _code_before(name: str, context: bool, returns: str) -> int:
    if name != "init" and not state.initialised:
        return 100001  # facts 4.2
    if state.fail is not None:
        wanted, nth, code = state.fail
        if wanted == name and state.calls.count(name) == nth and returns in ("ret", "pair", "handle"):
            state.injected = True
            return code or 500000
    if context and returns in ("ret", "pair") and not getattr(state.threads, "context", 0):
        return ACTUAL_NO_CONTEXT  # facts 4.2: no context on this thread
    return 0


def fails(code: int, text: str = "") -> int:
    """A documented failure of a call that was itself in order."""
    state.threads.message = f"EE{code % 10000:04d}: {text}"
    return code


def add(thing: Any) -> int:
    state.next_handle += 0x10
    state.things[state.next_handle] = thing
    return state.next_handle


def get(handle: Any, kind: type, where: str) -> Any:
    """The thing behind a handle. A tuple that was not unpacked, a handle of another kind or a dead one is a misuse."""
    if type(handle) is not int:
        raise misuse(f"{where}: handle is {handle!r}, expected an int; was a return value unpacked?")
    thing = state.things.get(handle)
    if not isinstance(thing, kind):
        what = state.dead.get(handle, type(thing).__name__ if thing is not None else "nothing")
        raise misuse(f"{where}: {handle:#x} is {what}, expected a {kind.__name__}")
    return thing


def drop(handle: int, kind: type, where: str) -> None:
    get(handle, kind, where)
    state.dead[handle] = f"a {kind.__name__} that was given back by {where}"
    del state.things[handle]


def whole(value: Any, where: str) -> int:
    if type(value) is not int:
        raise misuse(f"{where}: {value!r} is no int; was a return value unpacked?")
    return value


# acl -----------------------------------------------------------------------------------------------------------------


@api("init", "ret", context=False)
def init(config: str | None = None) -> int:
    if state.initialised:
        return fails(100002, "repeat initialization")  # facts 4.3
    if state.finalised:
        raise misuse("init: after finalize in the same process (facts 4.3: unconfirmed, avoid)")
    state.initialised = True
    return 0


@api("finalize", "ret", context=False)
def finalize() -> int:
    if +state.device_references:
        raise misuse("finalize: before reset_device (facts 4.6)")
    if state.finalised:
        return fails(100037, "repeat finalize")  # facts 4.3
    state.initialised, state.finalised = False, True
    return 0


def get_recent_err_msg() -> str | None:
    """facts 4.1: a bare value, per thread, cleared by reading."""
    message = getattr(state.threads, "message", None)
    state.threads.message = None
    if message is not None and state.gbk:  # Py_BuildValue("s") decodes as UTF-8
        "设备".encode("gbk").decode("utf-8")
    return message


def get_soc_name() -> str:
    return state.soc


@api("create_data_buffer", "handle")
def create_data_buffer(pointer: int, size: int) -> int:
    _check_device_range(pointer, size, "create_data_buffer")
    return add(Buffer(pointer, size))


@api("destroy_data_buffer", "ret")
def destroy_data_buffer(handle: int) -> int:
    buffer = get(handle, Buffer, "destroy_data_buffer")
    if buffer.pointer in state.things:
        raise misuse("destroy_data_buffer: before its device memory was freed (facts 4.6)")
    drop(handle, Buffer, "destroy_data_buffer")
    return 0


@api("update_data_buffer", "ret")
def update_data_buffer(handle: int, pointer: int, size: int) -> int:
    buffer = get(handle, Buffer, "update_data_buffer")
    _check_device_range(pointer, size, "update_data_buffer")
    buffer.pointer, buffer.size = pointer, size
    return 0


@api("get_data_buffer_addr", "bare")
def get_data_buffer_addr(handle: int) -> int:
    return int(get(handle, Buffer, "get_data_buffer_addr").pointer)


@api("get_data_buffer_size", "bare")
def get_data_buffer_size(handle: int) -> int:
    return int(get(handle, Buffer, "get_data_buffer_size").size)


@api("create_tensor_desc", "handle")
def create_tensor_desc(type_: int, shape: list[int], format_: int) -> int:
    if type(shape) is not list or any(type(size) is not int for size in shape):
        raise misuse(f"create_tensor_desc: shape is {shape!r}, expected a list of ints")
    return add(TensorDesc(whole(type_, "create_tensor_desc"), tuple(shape)))


@api("destroy_tensor_desc", "none")
def destroy_tensor_desc(handle: int) -> None:
    drop(handle, TensorDesc, "destroy_tensor_desc")


@api("get_tensor_desc_num_dims", "bare")
def get_tensor_desc_num_dims(handle: int) -> int:
    return len(_tensor_desc(handle).dims)


@api("get_tensor_desc_size", "bare")
def get_tensor_desc_size(handle: int) -> int:
    desc = _tensor_desc(handle)
    return math.prod(desc.dims) * fake_om.NUMPY[desc.type].itemsize


@api("get_tensor_desc_dim_v2", "pair")
def get_tensor_desc_dim_v2(handle: int, axis: int) -> tuple[int, int]:
    dims = _tensor_desc(handle).dims
    return (dims[axis], 0) if 0 <= axis < len(dims) else (0, fails(100000, "axis"))


def _tensor_desc(handle: int) -> TensorDesc:
    for dataset in (thing for thing in state.things.values() if isinstance(thing, Dataset)):
        if handle in dataset.own_descs.values():
            return OWN_DESCS[handle]
    found: TensorDesc = get(handle, TensorDesc, "get_tensor_desc")
    return found


OWN_DESCS: dict[int, TensorDesc] = {}
"""Descriptions that a dataset owns: nobody destroys them."""


# acl.rt --------------------------------------------------------------------------------------------------------------


@api("rt.set_device", "ret", context=False)
def set_device(device: int) -> int:
    if not 0 <= whole(device, "set_device") < state.devices:
        return fails(507033, f"device {device}")  # facts 4.2: device open failed
    state.device_references[device] += 1  # facts 4.3: reference counted
    return 0


@api("rt.reset_device", "ret", context=False)
def reset_device(device: int) -> int:
    if state.device_references[whole(device, "reset_device")] < 1:
        raise misuse(f"reset_device: device {device} was not set, or was reset before")
    last = state.device_references[device] == 1
    if last and any(isinstance(thing, Context) and thing.device == device for thing in state.things.values()):
        raise misuse("reset_device: before destroy_context (facts 4.6)")
    state.device_references[device] -= 1
    return 0


@api("rt.get_device_count", "pair", context=False)
def get_device_count() -> tuple[int, int]:
    return state.devices, 0


@api("rt.get_run_mode", "pair")
def get_run_mode() -> tuple[int, int]:
    return 1, 0  # facts 4.1: ACL_HOST


@api("rt.create_context", "pair", context=False)
def create_context(device: int) -> tuple[int, int]:
    if state.device_references[whole(device, "create_context")] < 1:
        return 0, fails(107000, "set_device first")
    handle = add(Context(device))
    state.threads.context = handle  # facts 4.3: current in that thread
    return handle, 0


@api("rt.destroy_context", "ret", context=False)
def destroy_context(handle: int) -> int:
    get(handle, Context, "destroy_context")
    for thing in state.things.values():
        if isinstance(thing, (Memory, Model)) and thing.context == handle:
            raise misuse(f"destroy_context: a {type(thing).__name__} of it is still alive (facts 4.6)")
    drop(handle, Context, "destroy_context")
    if getattr(state.threads, "context", 0) == handle:
        state.threads.context = 0
    return 0


@api("rt.set_context", "ret", context=False)
def set_context(handle: int) -> int:
    get(handle, Context, "set_context")
    state.threads.context = handle
    return 0


@api("rt.get_context", "pair")
def get_context() -> tuple[int, int]:
    return state.threads.context, 0


def _context() -> Context:
    found: Context = get(state.threads.context, Context, "the thread's context")
    return found


@api("rt.malloc", "pair")
def malloc(size: int, policy: int) -> tuple[int, int]:
    if whole(size, "malloc") <= 0:
        raise misuse("malloc: of 0 bytes; a size of 0 means a dynamic output (facts 4.5)")
    if policy not in (0, 1, 2):
        return 0, fails(100000, "policy")
    memory = Memory(bytearray(b"\xff") * size, _context().device, state.threads.context)
    return add(memory), 0


@api("rt.free", "ret")
def free(pointer: int) -> int:
    if get(pointer, Memory, "free").device < 0:
        raise misuse("free: of host memory")
    drop(pointer, Memory, "free")
    return 0


@api("rt.malloc_host", "pair")
def malloc_host(size: int) -> tuple[int, int]:
    if whole(size, "malloc_host") <= 0:
        raise misuse("malloc_host: of 0 bytes")
    # Real memory at a real address: NumPy sees it, as it sees the page-locked memory of the real one. Nobody has
    # written to it yet, so it holds something that no test expects.
    # There is room behind it, so that a driver which writes past its end fails a test and not the process.
    content = (ctypes.c_uint8 * size).from_buffer(bytearray(b"\xff") * (size + (1 << 20)))
    address = ctypes.addressof(content)
    state.things[address] = Memory(content, -1, state.threads.context)
    state.dead.pop(address, None)
    return address, 0


@api("rt.free_host", "ret")
def free_host(pointer: int) -> int:
    memory = get(pointer, Memory, "free_host")
    if memory.device >= 0:
        raise misuse("free_host: of device memory")
    memory.content[:] = b"\xff" * len(memory.content)  # whoever still looks at it sees no numbers of the network
    state.graves.append(memory.content)  # a view of it must not be a fault
    drop(pointer, Memory, "free_host")
    return 0


@api("rt.memcpy", "ret")
def memcpy(target: int, most: int, source: int, count: int, kind: int) -> int:
    for value in (most, count, kind):
        whole(value, "memcpy")
    if kind not in (1, 2):
        raise misuse(f"memcpy: kind {kind}; this driver needs host to device (1) and back (2)")
    if count > most:
        return fails(100000, "count above the destination's size")
    if kind == 1:
        host, memory = get(source, Memory, "memcpy source"), get(target, Memory, "memcpy destination")
        if host.device >= 0:
            raise misuse("memcpy: source is device memory")
        if memory.device != _context().device or most > len(memory.content):
            raise misuse("memcpy: destination on another device, or smaller than it is said to be")
        if count > len(host.content):
            raise misuse(f"memcpy: {count} bytes of a host buffer of {len(host.content)}")
        memory.content[:count], memory.valid = bytes(host.content[:count]), count
        return 0
    host, device = get(target, Memory, "memcpy destination"), get(source, Memory, "memcpy source")
    if host.device >= 0 or device.device != _context().device or most > len(host.content):
        raise misuse("memcpy: kind, device or sizes do not fit")
    if count > device.valid:
        raise misuse(f"memcpy: {count} bytes of an output of {device.valid}; read past its gear")
    host.content[:count], host.valid = bytes(device.content[:count]), count
    return 0


def _check_device_range(pointer: int, size: int, where: str) -> None:
    if whole(pointer, where) == 0 and whole(size, where) == 0:
        return  # facts 4.5: (0, 0) lets the runtime allocate
    memory = get(pointer, Memory, where)
    if memory.device < 0 or whole(size, where) > len(memory.content):
        raise misuse(f"{where}: host memory, or {size} bytes of {len(memory.content)}")


# acl.mdl -------------------------------------------------------------------------------------------------------------


@api("mdl.load_from_file", "pair")
def load_from_file(path: str) -> tuple[int, int]:
    if type(path) is not str:
        raise misuse(f"load_from_file: path is {type(path).__name__}, expected str")
    if not Path(path).is_file():
        return 0, fails(145002, path)
    try:
        om = fake_om.load(path)
    except fake_om.NotAnOm:
        return 0, fails(100012, "deserialize")
    if om.soc != state.soc and not (state.sisters and om.soc[:-1] == state.soc[:-1]):
        return 0, fails(545001, f"{om.soc} on {state.soc}")
    if om.cann > state.cann:  # GE --soc_version: the runtime's CANN is not older than the compiler's
        return 0, fails(545001, f"the model is of CANN {om.cann}, the runtime of {state.cann}")
    return add(Model(om, state.threads.context, _context().device)), 0


@api("mdl.unload", "ret")
def unload(handle: int) -> int:
    drop(handle, Model, "unload")
    return 0


@api("mdl.create_desc", "handle")
def create_desc() -> int:
    return add(Desc())


@api("mdl.get_desc", "ret")
def get_desc(desc: int, model: int) -> int:
    get(model, Model, "get_desc")
    get(desc, Desc, "get_desc").model = model
    return 0


@api("mdl.destroy_desc", "ret")
def destroy_desc(handle: int) -> int:
    desc = get(handle, Desc, "destroy_desc")
    if desc.model in state.things:
        raise misuse("destroy_desc: before unload (facts 4.6)")
    drop(handle, Desc, "destroy_desc")
    return 0


def _model(desc: int, where: str) -> Model:
    found: Model = get(get(desc, Desc, where).model, Model, where)
    return found


@api("mdl.get_num_inputs", "bare")
def get_num_inputs(desc: int) -> int:
    return 1 + (_model(desc, "get_num_inputs").om.kind in ("batch", "image"))


@api("mdl.get_num_outputs", "bare")
def get_num_outputs(desc: int) -> int:
    return len(_model(desc, "get_num_outputs").om.output_names)


@api("mdl.get_input_name_by_index", "bare")
def get_input_name_by_index(desc: int, index: int) -> str:
    return [_model(desc, "get_input_name").om.input_name, fake_om.HIDDEN_INPUT][index]


@api("mdl.get_input_index_by_name", "pair")
def get_input_index_by_name(desc: int, name: str) -> tuple[int, int]:
    om = _model(desc, "get_input_index_by_name").om
    names = [om.input_name] + [fake_om.HIDDEN_INPUT] * (om.kind in ("batch", "image"))
    return (names.index(name), 0) if name in names else (0, fails(100000, name))


@api("mdl.get_input_size_by_index", "bare")
def get_input_size_by_index(desc: int, index: int) -> int:
    om = _model(desc, "get_input_size_by_index").om
    if index == 1:
        return 8 if om.kind == "batch" else 16
    return (
        0 if om.is_unbounded else om.input_bytes(om.greatest)
    )  # GE model_om2.cpp, aclmdlGetTensorSize: the upper bounds; 0 for -1


@api("mdl.get_output_size_by_index", "bare")
def get_output_size_by_index(desc: int, index: int) -> int:
    om = _model(desc, "get_output_size_by_index").om
    return 0 if om.is_unbounded else om.output_bytes(om.greatest)[index]


@api("mdl.get_input_data_type", "bare")
def get_input_data_type(desc: int, index: int) -> int:
    return _model(desc, "get_input_data_type").om.input_type if index == 0 else 9


@api("mdl.get_output_data_type", "bare")
def get_output_data_type(desc: int, index: int) -> int:
    return _model(desc, "get_output_data_type").om.output_type


def _dims(name: str, dims: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name[:127], "dimCount": len(dims), "dims": list(dims)}  # facts 4.1


@api("mdl.get_input_dims", "pair")
def get_input_dims(desc: int, index: int) -> tuple[dict[str, Any], int]:
    om = _model(desc, "get_input_dims").om
    if om.kind == "static":
        dims = om.device_shape(om.gears[0])
    elif om.kind == "batch":
        dims = (-1, *om.gears[0][1:])
    elif om.kind == "image":
        dims = (*om.gears[0][:2], -1, -1)
    else:
        low, high = om.header["low"], om.header["high"]
        dims = tuple(size if size == most else -1 for size, most in zip(low, high, strict=True))
    return _dims(om.input_name, dims), 0


@api("mdl.get_output_dims", "pair")
def get_output_dims(desc: int, index: int) -> tuple[dict[str, Any], int]:
    om = _model(desc, "get_output_dims").om
    if om.kind == "range":  # GE: known axes are told, others are -1
        low, high = (om.output_shapes(tuple(om.header[bound]))[index] for bound in ("low", "high"))
        return _dims(om.output_names[index], tuple(a if a == b else -1 for a, b in zip(low, high, strict=True))), 0
    return _dims(om.output_names[index], om.output_shapes(om.largest)[index]), 0  # facts 4.5: the largest


@api("mdl.get_cur_output_dims", "pair")
def get_cur_output_dims(desc: int, index: int) -> tuple[dict[str, Any], int]:
    model = _model(desc, "get_cur_output_dims")
    gear = model.gear or model.om.largest
    return _dims(model.om.output_names[index], model.om.output_shapes(gear)[index]), 0


@api("mdl.get_dynamic_batch", "pair")
def get_dynamic_batch(desc: int) -> tuple[dict[str, Any], int]:
    om = _model(desc, "get_dynamic_batch").om
    batches = [gear[0] for gear in om.gears] if om.kind == "batch" else []
    return {"batchCount": len(batches), "batch": batches}, 0


@api("mdl.get_dynamic_hw", "pair")
def get_dynamic_hw(desc: int, index: int) -> tuple[dict[str, Any], int]:
    if index != -1:
        return {}, fails(100000, "index is reserved, expected -1")
    om = _model(desc, "get_dynamic_hw").om
    sizes = [list(gear[2:]) for gear in om.gears] if om.kind == "image" else []
    return {"hwCount": len(sizes), "hw": sizes}, 0


@api("mdl.create_dataset", "handle")
def create_dataset() -> int:
    return add(Dataset())


@api("mdl.add_dataset_buffer", "pair")
def add_dataset_buffer(dataset: int, buffer: int) -> tuple[int, int]:
    get(buffer, Buffer, "add_dataset_buffer")
    get(dataset, Dataset, "add_dataset_buffer").buffers.append(buffer)
    return dataset, 0


@api("mdl.destroy_dataset", "ret")
def destroy_dataset(handle: int) -> int:
    dataset = get(handle, Dataset, "destroy_dataset")
    if any(buffer in state.things for buffer in dataset.buffers):
        raise misuse("destroy_dataset: before its data buffers (facts 4.6)")
    drop(handle, Dataset, "destroy_dataset")
    return 0


@api("mdl.get_dataset_num_buffers", "bare")
def get_dataset_num_buffers(dataset: int) -> int:
    return len(get(dataset, Dataset, "get_dataset_num_buffers").buffers)


@api("mdl.get_dataset_buffer", "bare")
def get_dataset_buffer(dataset: int, index: int) -> int:
    return int(get(dataset, Dataset, "get_dataset_buffer").buffers[index])


@api("mdl.set_dataset_tensor_desc", "pair")
def set_dataset_tensor_desc(dataset: int, desc: int, index: int) -> tuple[int, int]:
    if state.soc == "Ascend310" or state.soc.startswith("Ascend310B"):
        return 0, fails(200001, "set_dataset_tensor_desc")  # facts 2.3: unsupported on 310 and 310B
    get(desc, TensorDesc, "set_dataset_tensor_desc")
    get(dataset, Dataset, "set_dataset_tensor_desc").descs[index] = desc
    return dataset, 0


@api("mdl.get_dataset_tensor_desc", "handle")
def get_dataset_tensor_desc(dataset: int, index: int) -> int:
    found = get(dataset, Dataset, "get_dataset_tensor_desc")
    return int(found.descs.get(index) or found.own_descs.get(index, 0))


def _gear_call(model: int, dataset: int, index: int, kind: str, gear: tuple[int, ...] | None) -> int:
    loaded, inputs = get(model, Model, "set gear"), get(dataset, Dataset, "set gear")
    if loaded.om.kind != kind:
        return fails(100019, "not a dynamic model of this kind")
    if index != 1 or index >= len(inputs.buffers):
        return fails(145011, "the gear input's index")
    buffer = get(inputs.buffers[index], Buffer, "set gear")
    if buffer.pointer == 0 or buffer.size < (8 if kind == "batch" else 16):
        return fails(145012, "the gear input's length")
    if gear is None:
        return fails(145013, "no such gear")
    state.things[buffer.pointer].valid = buffer.size
    inputs.gear = loaded.gear = gear
    return 0


@api("mdl.set_dynamic_batch_size", "ret")
def set_dynamic_batch_size(model: int, dataset: int, index: int, batch: int) -> int:
    om = get(model, Model, "set_dynamic_batch_size").om
    gear = next((gear for gear in om.gears if gear[0] == whole(batch, "set_dynamic_batch_size")), None)
    return _gear_call(model, dataset, index, "batch", gear)


@api("mdl.set_dynamic_hw_size", "ret")
def set_dynamic_hw_size(model: int, dataset: int, index: int, height: int, width: int) -> int:
    om = get(model, Model, "set_dynamic_hw_size").om
    wanted = (whole(height, "set_dynamic_hw_size"), whole(width, "set_dynamic_hw_size"))
    return _gear_call(model, dataset, index, "image", next((gear for gear in om.gears if gear[2:] == wanted), None))


@api("mdl.execute", "ret")
def execute(model: int, input_dataset: int, output_dataset: int) -> int:
    loaded = get(model, Model, "execute")
    inputs, outputs = get(input_dataset, Dataset, "execute"), get(output_dataset, Dataset, "execute")
    om = loaded.om
    if loaded.context != state.threads.context:
        raise misuse("execute: the thread's context is another session's")
    geared = om.kind in ("batch", "image")
    if len(inputs.buffers) != 1 + geared:
        return fails(100017, "inputs do not match")  # facts 4.2
    if len(outputs.buffers) != len(om.output_names):
        return fails(100018, "outputs do not match")
    shape = _shape_of_execution(loaded, inputs, geared)
    if isinstance(shape, int):
        return shape
    source = get(inputs.buffers[0], Buffer, "execute")
    memory, needed = get(source.pointer, Memory, "execute: input buffer"), om.input_bytes(shape)
    least = om.input_bytes(om.largest) if om.kind != "range" else needed
    # GE takes a larger buffer of a range as it is and checks the shape alone: not promised, so not relied on.
    if source.size < least or (om.kind == "range" and source.size != least):
        return fails(145006, f"input buffer of {source.size}, expected {least}")
    if memory.valid != needed:
        raise misuse(f"execute: the input holds {memory.valid} bytes, the gear {shape} takes {needed}")
    results = _results(om, bytes(memory.content[:needed]), shape)
    _wait(math.prod(shape[:1] + shape[2:]), loaded.device)
    state.executions.append(shape)
    inputs.gear = None  # facts 4.5: the setter is called before each execute
    return _deliver(om, outputs, results)


def _results(om: fake_om.Om, raw: bytes, shape: tuple[int, ...]) -> list[np.ndarray]:
    """By the network; or, where FAKE_ACL_TAPE names a folder, recorded there at first and replayed ever after, so that
    this processor's own time for the network does not stand for the chip's."""
    folder = os.environ.get("FAKE_ACL_TAPE")
    if folder is None:
        return om.execute(raw, shape)
    name = f"{zlib.crc32(om.onnx_bytes):08x}-{zlib.crc32(raw):08x}-{'x'.join(map(str, shape))}"
    tape = Path(folder) / f"{name}.npz"
    if tape.is_file():
        with np.load(tape) as arrays:
            return [arrays[key] for key in arrays.files]
    results = om.execute(raw, shape)
    part = tape.with_name(f"{name}.{os.getpid()}.npz")
    np.savez(part, *results)
    part.rename(tape)
    return results


def _wait(pixels: int, device: int) -> None:
    """FAKE_ACL_WAIT="NANOSECONDS:held": the chip's time for each pixel of the input; one process at a time has it.

    "held" keeps the interpreter lock, as pyACL's WrapAclMdlExecute does, which has no Py_BEGIN_ALLOW_THREADS; with
    "released" other threads run meanwhile. What synchronize_stream does is in no source.
    """
    told = os.environ.get("FAKE_ACL_WAIT")
    if told is None:
        return
    cost, _, lock = told.partition(":")
    seconds = pixels * float(cost) * 1e-9
    with Path(f"{os.environ['FAKE_ACL_TAPE']}.device{device}").open("w") as turnstile:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        if lock == "held":
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        else:
            time.sleep(seconds)
    state.waited += seconds


def _shape_of_execution(loaded: Model, inputs: Dataset, geared: bool) -> tuple[int, ...] | int:
    """The input shape, or an error code."""
    if geared:
        if inputs.gear is None:
            raise misuse("execute: the gear was not set; the largest would run (facts 2.3)")
        return inputs.gear
    if loaded.om.kind == "static":
        return loaded.om.gears[0]
    if 0 not in inputs.descs:
        return fails(145021, "no tensor desc on the input of a model with a range")
    dims = get(inputs.descs[0], TensorDesc, "execute: input description").dims
    low, high = loaded.om.header["low"], loaded.om.header["high"]
    if not all(least <= size <= most for size, least, most in zip(dims, low, high, strict=True)):
        return fails(145021, f"{dims} is outside the range")
    return tuple(dims)


def _deliver(om: fake_om.Om, outputs: Dataset, results: list[np.ndarray]) -> int:
    """Results into the output buffers; what lies behind a gear's own bytes is made unreadable."""
    for index, result in enumerate(results):
        buffer, content = get(outputs.buffers[index], Buffer, "execute"), result.tobytes()
        if om.kind == "range":
            handle = outputs.own_descs.setdefault(index, add_own_desc())
            OWN_DESCS[handle] = TensorDesc(om.output_type, result.shape)
            if buffer.pointer == 0:  # facts 4.5: allocated by the runtime, to be freed by the caller
                memory = Memory(bytearray(len(content)), _context().device, state.threads.context)
                buffer.pointer, buffer.size = add(memory), len(content)
        elif buffer.size < om.output_bytes(om.largest)[index]:
            return fails(145006, f"output buffer of {buffer.size}")
        if buffer.size < len(content):
            return fails(145006, f"output buffer of {buffer.size}, needed {len(content)}")
        memory = get(buffer.pointer, Memory, "execute: output buffer")
        memory.content[:] = content + b"\xff" * (len(memory.content) - len(content))
        memory.valid = len(content)
    return 0


def add_own_desc() -> int:
    state.next_handle += 0x10
    return state.next_handle


rt = SimpleNamespace(
    **{
        function.__name__: function
        for function in (
            set_device, reset_device, get_device_count, get_run_mode, create_context, destroy_context, set_context,
            get_context, malloc, free, malloc_host, free_host, memcpy,
        )
    }
)  # fmt: skip
mdl = SimpleNamespace(
    **{
        function.__name__: function
        for function in (
            load_from_file, unload, create_desc, get_desc, destroy_desc, get_num_inputs, get_num_outputs,
            get_input_name_by_index, get_input_index_by_name, get_input_size_by_index, get_output_size_by_index,
            get_input_data_type, get_output_data_type, get_input_dims, get_output_dims, get_cur_output_dims,
            get_dynamic_batch, get_dynamic_hw, create_dataset, add_dataset_buffer, destroy_dataset,
            get_dataset_num_buffers, get_dataset_buffer, set_dataset_tensor_desc, get_dataset_tensor_desc,
            set_dynamic_batch_size, set_dynamic_hw_size, execute,
        )
    }
)  # fmt: skip


def _begin_process() -> None:
    """What the environment says, for a process that a test starts."""
    state.soc = os.environ.get("FAKE_SOC", state.soc)
    state.cann = fake_om.version(os.environ.get("FAKE_CANN", "8.0"))
    state.devices = int(os.environ.get("FAKE_DEVICES", state.devices))
    told = os.environ.get("FAKE_ACL_FAIL")
    if told:
        name, nth, code = told.split(":")
        state.fail = (name, int(nth), int(code))
    report = os.environ.get("FAKE_ACL_REPORT")
    if report:
        atexit.register(_report, Path(report), os.getpid())


def _report(path: Path, pid: int) -> None:
    if os.getpid() == pid and state.calls:
        line = {"pid": pid, "live": live(), "calls": Counter(state.calls), "executions": len(state.executions)}
        line["waited"] = state.waited
        with path.open("a") as target:
            target.write(json.dumps(line) + "\n")


_begin_process()
