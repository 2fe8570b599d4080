# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - mutations quote lines of the source
"""The Ascend driver, broken in many ways: each must fail a scenario that the whole driver passes.

One hand wrote driver and stand-in, so passing proves little by itself. Each mutation is an edit of the source, made in
memory: the same scenarios run on the broken module, and at least one must fail. A mutation that survives is a test that
is missing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import om_files
import pytest
from acl_scenarios import SCENARIOS, Bench, check
from stand_ins import MODULES

from facepipe.backends.ascend import om, pyacl

MUTATIONS: dict[str, tuple[ModuleType, str, str]] = {
    # name: (module, what is in the source exactly once, what it becomes)
    # Gears
    "the gear is never set": (pyacl, "            self._set_gear(shape)\n", ""),
    "height and width of the gear are exchanged": (pyacl, "shape[2], shape[3])", "shape[3], shape[2])"),
    "the batch gear is off by one axis": (pyacl, "self.gear_index, shape[0])", "self.gear_index, shape[1])"),
    "the gear goes to the wrong input": (pyacl, "self.gear_index, shape[2], shape[3]", "0, shape[2], shape[3]"),
    "the gear is set after the execution": (
        pyacl,
        '            self._set_gear(shape)\n            library.done(acl.mdl.execute(self.model.id, self.inputs.handle, self.outputs.handle), "mdl.execute")\n',
        '            library.done(acl.mdl.execute(self.model.id, self.inputs.handle, self.outputs.handle), "mdl.execute")\n            self._set_gear(shape)\n',
    ),
    "the gear's return code is dropped": (
        pyacl, '            library.done(ret, "mdl.set_dynamic_hw_size")\n', ""
    ),
    "the batch gear's return code is dropped": (
        pyacl, '            library.done(ret, "mdl.set_dynamic_batch_size")\n', ""
    ),
    "outputs are read as large as the largest gear": (
        pyacl, 'acl.mdl.get_cur_output_dims(self.model.desc, index), "mdl.get_cur', 'acl.mdl.get_output_dims(self.model.desc, index), "mdl.get_cur'
    ),
    "the hidden input is not found": (pyacl, "    if GEAR_INPUT not in names:", "    if True:"),
    "the hidden input gets no memory": (pyacl, "get_input_size_by_index(model.desc, i) for i in range(acl.mdl.get_num_inputs(model.desc))]",
                                        "get_input_size_by_index(model.desc, i) for i in range(1)]"),
    "batch gears are taken for image gears": (pyacl, "    elif dims[0] < 0:", "    elif dims[0] > 0:"),
    "letterboxing without leave": (pyacl, "for size in sizes_), letterbox=letterbox)", "for size in sizes_), letterbox=True)"),
    # Buffers and copies
    "memory of the wrong size": (pyacl, "library.value(acl.rt.malloc(size, HUGE_FIRST)", "library.value(acl.rt.malloc(size // 2, HUGE_FIRST)"),
    "copies in the wrong direction": (pyacl, "count, HOST_TO_DEVICE)", "count, DEVICE_TO_HOST)"),
    "the input is copied from elsewhere": (pyacl, "room, self.pinned_input.pointer, count", "room, self.pinned_output.pointer, count"),
    "the input is not written": (pyacl, "        self._write(feed)\n", ""),
    "the input is not sent": (pyacl, "        self._send(feed.shape)\n", ""),
    "half of the input is copied": (pyacl, "self.pinned_input.pointer, count, HOST", "self.pinned_input.pointer, count // 2, HOST"),
    "the copy in is not checked": (
        pyacl,
        'library.done(acl.rt.memcpy(memory, room, self.pinned_input.pointer, count, HOST_TO_DEVICE), "rt.memcpy")',
        "acl.rt.memcpy(memory, room, self.pinned_input.pointer, count, HOST_TO_DEVICE)",
    ),
    "the copy out is not checked": (pyacl, '        self.library.done(ret, "rt.memcpy")\n', ""),
    "answers are a view of memory that is used again": (pyacl, "return np.array(found, np.float32)", "return found.astype(np.float32, copy=False)"),
    "page-locked memory is never grown": (pyacl, "        if count > self.size:\n            self.close()", "        if not self.size:\n            self.close()"),
    "page-locked memory grows and the old one leaks": (pyacl, "        if count > self.size:\n            self.close()\n", "        if count > self.size:\n"),
    "page-locked memory of inputs is never given back": (pyacl, "                    self.pinned_input.close,\n", ""),
    "page-locked memory of outputs is never given back": (pyacl, "                    self.pinned_output.close,\n", ""),
    "half precision is read as single": (pyacl, "type_ = _type(self.library, self.library.acl.mdl.get_output_data_type(self.model.desc, index), \"output\")",
                                         "type_ = NUMPY_TYPES[FLOAT]"),
    "outputs stay in half precision": (pyacl, "np.array(found, np.float32)", "np.array(found)"),
    "memory is allocated for every call": (pyacl, "        count = math.prod(shape) * NUMPY_TYPES[self.input_type].itemsize\n",
                                           "        count = math.prod(shape) * NUMPY_TYPES[self.input_type].itemsize\n        acl.rt.malloc(count, HUGE_FIRST)\n"),
    "the first stage is counted": (pyacl, "for one in spent[1:]]", "for one in spent[:-1]]"),
    "a shape that would be cut is timed": (pyacl, 'self.shapes.kind != "range" and shape not in self.shapes.gears', "False"),
    # Return conventions
    "malloc's pair is not unpacked": (pyacl, 'library.value(acl.rt.malloc(size, HUGE_FIRST), "rt.malloc") if size else 0', "acl.rt.malloc(size, HUGE_FIRST) if size else 0"),
    "the model's pair is not unpacked": (pyacl, 'library.value(acl.mdl.load_from_file(str(path)), "mdl.load_from_file")', "acl.mdl.load_from_file(str(path))"),
    "the context's pair is not unpacked": (pyacl, 'library.value(acl.rt.create_context(number), "rt.create_context")', "acl.rt.create_context(number)"),
    "a bare handle is unpacked": (pyacl, 'library.handle(acl.mdl.create_desc(), "mdl.create_desc")', 'library.value(acl.mdl.create_desc(), "mdl.create_desc")'),
    "the path is no str": (pyacl, "acl.mdl.load_from_file(str(path))", "acl.mdl.load_from_file(path)"),
    "codes alone are never looked at": (pyacl, "        if ret != 0:\n            raise self.error(call, ret)\n\n", "        return\n\n"),
    "codes of pairs are never looked at": (pyacl, "        found, ret = pair\n        if ret != 0:", "        found, ret = pair\n        if False:"),
    "null handles are never looked at": (pyacl, "        if not found:\n            raise self.error(call, None)", "        if False:\n            raise self.error(call, None)"),
    "adding a buffer is not checked": (pyacl, 'library.value(acl.mdl.add_dataset_buffer(handle, buffer), "mdl.add_dataset_buffer")', "acl.mdl.add_dataset_buffer(handle, buffer)"),
    "get_desc is not checked": (pyacl, 'library.done(acl.mdl.get_desc(desc, number), "mdl.get_desc")', "acl.mdl.get_desc(desc, number)"),
    "execute is not checked": (pyacl, 'library.done(acl.mdl.execute(self.model.id, self.inputs.handle, self.outputs.handle), "mdl.execute")',
                               "acl.mdl.execute(self.model.id, self.inputs.handle, self.outputs.handle)"),
    "the error's own text is not read": (pyacl, "said = self._said()", 'said = ""'),
    # Contexts, threads, the process
    "the context is not entered": (pyacl, "            self.device.enter()\n            if self.shapes.kind == \"range\":", "            if self.shapes.kind == \"range\":"),
    "the context is not entered on close": (pyacl, "                    self.device.enter,\n", ""),
    "the library is initialised for every session": (pyacl, "            if self.library is None:\n                ret", "            if True:\n                ret"),
    "a repeated init is an error": (pyacl, "ALREADY_INITIALISED = 100002", "ALREADY_INITIALISED = 1"),
    "the library is never finalised": (pyacl, "library.done(library.acl.finalize(), \"finalize\")", "pass"),
    "the device is always the first": (pyacl, "acl.rt.set_device(number)", "acl.rt.set_device(0)"),
    "a device is not checked": (pyacl, "        if not 0 <= number < count:", "        if False:"),
    "the device is never reset": (pyacl, '        releases.insert(0, lambda: library.done(acl.rt.reset_device(number), "rt.reset_device"))\n', ""),
    "the context is never destroyed": (pyacl, '        releases.insert(0, lambda: library.done(acl.rt.destroy_context(context), "rt.destroy_context"))\n', ""),
    # Teardown
    "the device is reset before the context goes": (pyacl, 'releases.insert(0, lambda: library.done(acl.rt.destroy_context(context)', 'releases.append(lambda: library.done(acl.rt.destroy_context(context)'),
    "the description goes before the model": (pyacl, 'releases.insert(0, lambda: library.done(acl.mdl.unload(number)', 'releases.append(lambda: library.done(acl.mdl.unload(number)'),
    "the model is never unloaded": (pyacl, '            releases.insert(0, lambda: library.done(acl.mdl.unload(number), "mdl.unload"))\n', ""),
    "buffers go before their memory": (pyacl, "        memory = [pointer for pointer in self.memory if pointer]\n",
                                       "        memory = [pointer for pointer in self.memory if pointer]\n        [acl.destroy_data_buffer(buffer) for buffer in self.buffers]\n"),
    "memory is freed twice": (pyacl, "        memory = [pointer for pointer in self.memory if pointer]\n", "        memory = [pointer for pointer in self.memory if pointer] * 2\n"),
    "device memory leaks": (pyacl, "        memory = [pointer for pointer in self.memory if pointer]\n", "        memory = []\n"),
    "data buffers leak": (pyacl, "                for buffer in self.buffers\n", "                for buffer in self.buffers[1:]\n"),
    "outputs are never closed": (pyacl, "                    self.outputs.close,\n", ""),
    "the context goes before the model": (pyacl, "                    self.model.close,\n                    self.device.close,\n", "                    self.device.close,\n                    self.model.close,\n"),
    "teardown stops at the first failure": (pyacl, "        except BackendError as error:\n            failed.append(error)", "        except BackendError:\n            raise"),
    "failures of teardown are swallowed": (pyacl, "    if failed:\n        raise failed[0]", "    if False:\n        raise failed[0]"),
    "a dataset half made leaks": (pyacl, "        except BackendError:\n            made.close()\n            raise", "        except BackendError:\n            raise"),
    "a load half done leaks": (pyacl, "        except BaseException:\n            _give_back(opened)\n            raise", "        except BaseException:\n            raise"),
    "a model half loaded leaks": (pyacl, '            library.done(acl.mdl.get_desc(desc, number), "mdl.get_desc")\n        except BackendError:\n            _give_back(releases)\n', '            library.done(acl.mdl.get_desc(desc, number), "mdl.get_desc")\n        except BackendError:\n'),
    # Ranges
    "tensor descriptions leak": (pyacl, "            self.library.acl.destroy_tensor_desc(self.descriptions.pop())", "            self.descriptions.pop()"),
    "the shape of a range is not told": (pyacl, "                self.inputs.describe(0, self.input_type, shape)\n", "                pass\n"),
    "outputs of the runtime leak": (pyacl, "            for index in unknown:\n                self.outputs.free(index)\n", "            pass\n"),
    "outputs of the runtime stay in their buffers": (pyacl, '            self.library.done(self.library.acl.rt.free(memory), "rt.free")\n            self.update(index, 0, 0)', '            self.library.done(self.library.acl.rt.free(memory), "rt.free")'),
    "outputs of unknown size are allocated from size 0": (pyacl, '"rt.malloc") if size else 0)', '"rt.malloc"))'),
    "a range's buffer is not grown": (pyacl, "            self.inputs.resize(0, count)\n", "            self.inputs.sizes[0] or self.inputs.resize(0, count)\n"),
    "a range's buffer tells more than the shape": (pyacl, "            self.sizes[index] = size\n        self.update(index, self.memory[index], size)\n", "            self.sizes[index] = size\n            self.update(index, self.memory[index], size)\n"),
    "the upper bounds of a range are taken at once": (pyacl, '    if shapes.kind == "range":\n        return [0]\n', ""),
    "a range's own outputs are given away": (pyacl, "[index for index, size in enumerate(self.outputs.sizes) if not size]", "list(range(len(self.spec.outputs)))"),
    "NumPy's integers are handed over": (pyacl, "self.gear_index, shape[2], shape[3])", "self.gear_index, np.int64(shape[2]), np.int64(shape[3]))"),
    "NumPy's integers go into a description": (pyacl, "acl.create_tensor_desc(type_, list(shape), NCHW)", "acl.create_tensor_desc(type_, list(np.array(shape)), NCHW)"),
    "a message in GBK hides the code": (pyacl, "        except UnicodeDecodeError:", "        except ZeroDivisionError:"),
    "a range's shape is not checked": (pyacl, "        if not all(low <= size <= high for size, low, high in bounds):", "        if False:"),
    "a range's batch is not cut": (pyacl, "        if len(image) > most:", "        if False:"),
    # What the .om is
    "another chip's sidecar is believed": (pyacl, "check_sidecar(sidecar, spec, path, None if self.options.any_chip else library.acl.get_soc_name())", "pass"),
    "any chip is run unasked": (pyacl, "None if self.options.any_chip else", "None if True else"),
    "any chip is refused though asked": (pyacl, "None if self.options.any_chip else", "None if False else"),
    "another model is run": (pyacl, "        if not fits:\n            expected = \"x\".join(str(dim) for dim in spec.input.dims)", "        if False:\n            expected = \"x\".join(str(dim) for dim in spec.input.dims)"),
    "exchanged outputs are run": (pyacl, "            _check_outputs(library, loaded, spec)\n", ""),
    "another batch is run": (pyacl, "            check_batch(shapes, path)\n", ""),
    "AIPP gets normalised values": (pyacl, "            if self.aipp and image.dtype != np.uint8:\n", "            if False:\n"),
    "a static batch is not told": (pyacl, 'shapes.gears[0][0] if shapes.kind == "static" else None', "None"),
    # Cutting and padding
    "padded rows come back": (om, "        return tuple(array[:rows] for array in outputs)", "        return tuple(outputs)"),
    "only the first piece comes back": (om, "    if len(parts) == 1:", "    if parts:"),
    "padded cells come back": (om, "array[tuple(slice(size) for size in shape)]", "array[: shape[0]]"),
    "AIPP bytes stay N, C, H, W": (om, ".astype(np.uint8).transpose(0, 2, 3, 1)", ".astype(np.uint8)"),
    "values that were no bytes are rounded": (om, "np.abs(values - whole).max(initial=0) > 1e-3", "False"),
}  # fmt: skip


@pytest.fixture(scope="module")
def oms(tmp_path_factory: pytest.TempPathFactory) -> om_files.OmFiles:
    return om_files.make(tmp_path_factory.mktemp("oms"))


@pytest.fixture(scope="module")
def acl() -> Iterator[ModuleType]:
    sys.path.insert(0, str(MODULES))
    importlib.invalidate_caches()
    yield importlib.import_module("acl")
    sys.path.remove(str(MODULES))
    sys.modules.pop("acl", None)


def broken(module: ModuleType, old: str, new: str) -> ModuleType:
    """The driver with one edit, in its own file or in the one it leans on."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{source.count(old)} places in {module.__name__}, expected 1: {old!r}"
    edited = _module(module, source.replace(old, new))
    if module is pyacl:
        return edited
    driver = _module(pyacl, Path(str(pyacl.__file__)).read_text(encoding="utf-8"))
    for name in ("run_in_gears", "bytes_of_normalised", "check_batch", "check_sidecar", "read_sidecar", "OmShapes"):
        setattr(driver, name, getattr(edited, name))
    return driver


def _module(original: ModuleType, source: str) -> ModuleType:
    made = ModuleType(f"{original.__name__}_broken")
    sys.modules[made.__name__] = made  # dataclasses look their module up
    exec(compile(source, made.__name__, "exec"), made.__dict__)
    return made


def test_there_are_at_least_thirty_mutations() -> None:
    assert len(MUTATIONS) >= 30


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_driver_fails_a_scenario(name: str, acl: ModuleType, oms: om_files.OmFiles) -> None:
    bench = Bench(broken(*MUTATIONS[name]), acl, oms)
    for scenario in SCENARIOS:
        try:
            check(scenario, bench)
        except (Exception, pytest.fail.Exception):
            return
    pytest.fail(f"no scenario noticed that {name}")


def test_the_whole_driver_passes_the_same_way(acl: ModuleType, oms: om_files.OmFiles) -> None:
    """The control: the source as it is, through the same machinery."""
    bench = Bench(_module(pyacl, Path(str(pyacl.__file__)).read_text(encoding="utf-8")), acl, oms)
    for scenario in SCENARIOS:
        check(scenario, bench)
