# SPDX-License-Identifier: Apache-2.0
"""What every back end must do, over the whole table: docs/add-a-backend.md promises it.

A small network with PNet's inputs and outputs goes through each; those that need a board get its stand-in.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import om_files
import onnx
import onnxruntime
import pytest
from om_files import IMAGE_GEARS, pixels, reference, write_sidecar
from small_networks import PNET, write_onnx
from stand_ins import MODULES, stand_in

import facepipe.backends
from facepipe.backends import AUTO, FASTEST_FIRST, backend_by_name, backend_names, resolve_backend
from facepipe.backends.ascend import pyacl
from facepipe.backends.ascend.om import OmShapes
from facepipe.backends.ascend.ort_cann import PROVIDER as CANN
from facepipe.backends.base import RuntimeOptions, Session, executing, open_session
from facepipe.backends.by_model import ByModel, engines
from facepipe.backends.native.backend import LARGEST_FILE
from facepipe.backends.ort_gpu import CUDA, TENSORRT, TF32
from facepipe.errors import BackendError, StageError, TensorError
from facepipe.store.files import sha256_of_file, sidecar_of
from facepipe.store.made_from import MadeFrom, write_record
from facepipe.store.model_content import read_model
from facepipe.store.provenance import ModelFile

SRC = Path(facepipe.__file__).parent
NEEDS = {  # what is hidden, and what the reason must name: the thing itself and what to install
    "onnxruntime": (("onnxruntime",), "facepipe[ort]"),
    "openvino": (("openvino",), "facepipe[openvino]"),
    "native": (("llvmlite",), "facepipe[native]"),
    "native+onnxruntime": (("llvmlite",), "facepipe[native]"),
    "native+openvino": (("openvino",), "facepipe[openvino]"),
    "pyacl": (("acl",), "set_env.sh"),
    "msame": (("msame",), "github.com/Ascend/tools"),
    "ais_bench": (("ais_bench",), "github.com/Ascend/tools"),
    "onnxruntime-cann": (("onnxruntime",), "onnxruntime-cann"),
    "onnxruntime-cuda": (("onnxruntime",), "onnxruntime-gpu"),
    "onnxruntime-tensorrt": (("onnxruntime",), "onnxruntime-gpu"),
}
PROVIDERS = {"onnxruntime-cann": CANN, "onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}
SHAPES = ((2, 3, 14, 14), (2, 3, 20, 20), (1, 3, 27, 27))  # a board's image gears are among them


@dataclass(frozen=True)
class Case:
    """A back end that can run here, a model file for it, and the ONNX file behind that."""

    name: str
    path: Path
    swapped: Path  # the same network with its outputs exchanged
    onnx: Path

    def load(self) -> Session:
        return backend_by_name(self.name).load(PNET, read_model(self.path))


class OnTheDevice(onnxruntime.InferenceSession):  # type: ignore[misc]
    """onnxruntime's session as it is where the device is: asked for its provider, it says that it runs there."""

    def __init__(self, content: bytes, settings: Any, providers: list[Any], **more: Any) -> None:
        (self.asked,) = (provider for provider, _ in providers)
        assert self.asked in PROVIDERS.values()
        super().__init__(content, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return [self.asked, "CPUExecutionProvider"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> om_files.OmFiles:
    made = om_files.make(tmp_path_factory.mktemp("contract"))
    shapes = OmShapes("image", tuple(tuple(gear) for gear in IMAGE_GEARS))
    for om in (made.pnet, made.pnet_swapped):
        write_sidecar(om, PNET, shapes)
    return made


@pytest.fixture(params=backend_names())
def case(request: pytest.FixtureRequest, files: om_files.OmFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    name, folder = request.param, files.pnet.parent
    stand_in(monkeypatch, FAKE_SOC="Ascend910B4" if name == "onnxruntime-cann" else "Ascend310")  # f32 is for A2
    if backend_by_name(name).traits.compiled:
        monkeypatch.syspath_prepend(str(MODULES))
        importlib.invalidate_caches()
        found = Case(name, files.pnet, files.pnet_swapped, folder / "pnet.onnx")
    else:
        found = Case(name, folder / "pnet.onnx", folder / "swapped.onnx", folder / "pnet.onnx")
    if name in PROVIDERS:
        monkeypatch.setenv(TF32, "0")
        monkeypatch.setattr(onnxruntime, "__version__", "1.24.4")  # the last wheel of onnxruntime-cann that is known
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDERS[name]])
        monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheDevice)
    if name == "pyacl":
        importlib.import_module("acl").reset()
    elif (reason := backend_by_name(name).why_unavailable()) is not None:
        pytest.skip(reason)
    yield found
    if name == "pyacl":
        pyacl.finalise()
        assert sys.modules["acl"].live() == []
        sys.modules.pop("acl")


def test_the_table_of_what_each_needs_is_whole() -> None:
    assert {*NEEDS, "null"} == set(backend_names())


def test_answers_and_their_order_are_onnxruntime_s(case: Case) -> None:
    with open_session(backend_by_name(case.name), PNET, case.path) as session:
        for shape in SHAPES:
            if session.fixed_batch not in (None, shape[0]):
                continue
            image = pixels(sum(shape), *shape)
            found = session.run(image)
            for one, wanted in zip(found, reference(case.onnx, image), strict=True):
                assert one.dtype == np.float32
                if case.name != "null":  # zeros of the least declared size
                    assert one.shape == wanted.shape
                    np.testing.assert_allclose(one, wanted, rtol=1e-4, atol=1e-5)


def test_outputs_belong_to_the_caller(case: Case) -> None:
    session, (first, second) = case.load(), (pixels(seed, 2, 3, 14, 14) for seed in (1, 2))
    found = session.run((first,))
    kept = [array.copy() for array in found]
    session.run((second,))
    for array, copy in zip(found, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    for array in found:
        array[...] = np.nan  # what a caller writes into an answer is in no later one
    for array, copy in zip(session.run((first,)), kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    session.close()


def test_inputs_are_left_as_they_are(case: Case) -> None:
    session, image = case.load(), pixels(3, 2, 3, 14, 14)
    kept = image.copy()
    image.setflags(write=False)
    session.run((image,))
    np.testing.assert_array_equal(image, kept)
    session.close()


def test_a_fixed_batch_is_none_or_a_number(case: Case) -> None:
    session = case.load()
    assert session.fixed_batch is None or session.fixed_batch >= 1
    session.close()


@pytest.mark.parametrize(
    "image", [np.zeros((2, 3, 14, 14)), np.zeros((2, 1, 14, 14), np.float32), np.zeros((3, 14, 14), np.float32)]
)
def test_another_dtype_or_shape_is_refused(case: Case, image: np.ndarray) -> None:
    with (
        open_session(backend_by_name(case.name), PNET, case.path) as session,
        pytest.raises(TensorError, match="pnet input: 'image' is"),
    ):
        session.run(image)


def test_exchanged_outputs_are_refused(case: Case) -> None:
    """A file whose outputs stand in another order than the specification's: at loading, or by the first answer."""
    if case.name == "null":
        return  # it reads no file
    with (
        pytest.raises((BackendError, TensorError)),
        open_session(backend_by_name(case.name), PNET, case.swapped) as session,
    ):
        session.run(pixels(0, 2, 3, 14, 14))


def test_what_is_loaded_is_what_was_read_and_nothing_is_read_there_again(case: Case) -> None:
    """The bytes, not the path: another file lies there by then, or none, at the load and at every call."""
    read, image = read_model(case.path), pixels(7, 2, 3, 14, 14)
    first = case.load()
    wanted = first.run((image,))
    first.close()
    elsewhere = replace(read, path=case.path.parent / "gone" / case.path.name)
    session = backend_by_name(case.name).load(PNET, elsewhere)
    for _ in range(2):
        for one, same in zip(session.run((image,)), wanted, strict=True):
            np.testing.assert_array_equal(one, same)
    session.close()


def test_a_file_that_was_not_stated_is_refused_and_the_loaded_one_is_told(case: Case) -> None:
    backend, digest = backend_by_name(case.name), sha256_of_file(case.path)

    def stated(sha256: str) -> ModelFile:
        return ModelFile("pnet", case.path.name, sha256, None, case.name)

    with open_session(backend, PNET, case.path, {"pnet": stated(digest)}) as session:
        assert (session.file.model, session.file.file, session.file.sha256) == ("pnet", case.path.name, digest)
    other = "ab" * 32
    told = rf"{re.escape(case.path.name)}: sha256 is {digest[:12]}\.\.\., expected {other[:12]}\.\.\., [^\n]*$"
    with pytest.raises(StageError, match=told), open_session(backend, PNET, case.path, {"pnet": stated(other)}):
        pass


def test_a_file_that_its_record_is_not_of_is_refused(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.path.name
    path.write_bytes(case.path.read_bytes() + b"\x7a\x01x")  # an empty field that every library passes over
    if case.path.suffix != ".om":
        write_record(case.path, "pnet", MadeFrom({}), {}, again="make it")
    shutil.copy(sidecar_of(case.path), sidecar_of(path))
    with (
        pytest.raises(StageError, match=rf"{re.escape(path.name)}: sha256 is .*, its record says .*Try: `make"),
        open_session(backend_by_name(case.name), PNET, path),
    ):
        pass
    if case.path.suffix != ".om":
        sidecar_of(case.path).unlink()


def test_a_model_that_keeps_numbers_in_another_file_is_refused(case: Case, tmp_path: Path) -> None:
    """Nobody hashed that file; one library looks for it beside the model, another in the current folder."""
    if case.name == "null" or backend_by_name(case.name).traits.compiled:
        return
    path = tmp_path / "pnet.onnx"
    onnx.save(onnx.load(case.onnx), path, save_as_external_data=True, location="numbers", size_threshold=0)
    with pytest.raises(BackendError, match="keeps numbers in another file"):
        backend_by_name(case.name).load(PNET, read_model(path))


def test_it_can_be_closed_twice(case: Case) -> None:
    session = case.load()
    session.run((pixels(0, 2, 3, 14, 14),))
    session.close()
    session.close()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"precision": "f8"}, "f8"),
        ({"hint": "sideways"}, "hint sideways"),
        ({"device": 1}, "device 1"),
        ({"devices": (0, 1)}, "device 0, 1"),
        ({"threads": 2}, "2 threads"),
        ({"any_chip": True}, "--any-chip"),
    ],
)
def test_an_option_is_honoured_or_refused(case: Case, option: dict[str, Any], told: str) -> None:
    backend = backend_by_name(case.name, RuntimeOptions(**option))
    honoured = {
        "devices": not backend.traits.on_host,
        "device": not backend.traits.on_host,
        "threads": not backend.traits.compiled,
        "any_chip": backend.traits.compiled,
    }
    if case.name == "null" or honoured.get(*option):
        assert backend.why_unavailable() is None
        return
    reason = backend.why_unavailable()
    assert reason is not None and told in reason and "\n" not in reason


@pytest.mark.parametrize("name", NEEDS)
def test_what_is_missing_is_said_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, remedy = NEEDS[name]
    hide(monkeypatch, *hidden)
    reason = backend_by_name(name).why_unavailable()
    assert reason is not None and "\n" not in reason and f"'{hidden[0]}'" in reason and remedy in reason


def test_openvino_needs_nothing_of_the_other_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its users were told that llvmlite is missing."""
    pytest.importorskip("openvino")
    hide(monkeypatch, "llvmlite", "onnx")
    assert backend_by_name("openvino").why_unavailable() is None


def test_to_make_one_loads_no_library() -> None:
    code = (
        "import sys\n"
        "from facepipe.backends import backend_by_name, backend_names\n"
        "made = [backend_by_name(name) for name in backend_names()]\n"
        "print([name for name in ('onnxruntime', 'openvino', 'llvmlite', 'onnx', 'acl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_pair_gives_each_model_its_engine_by_the_file_and_not_by_the_name(files: om_files.OmFiles) -> None:
    pytest.importorskip("llvmlite")
    pair = backend_by_name("native+onnxruntime")
    assert isinstance(pair, ByModel)
    folder = files.pnet.parent
    chain, dense = folder / "pnet.onnx", folder / "rnet.onnx"
    assert [executing(pair, PNET, path.read_bytes()).name for path in (chain, dense)] == ["native", "onnxruntime"]
    assert executing(backend_by_name("onnxruntime"), PNET, chain.read_bytes()).name == "onnxruntime"
    rough = backend_by_name("native+onnxruntime", RuntimeOptions(precision="int8-all"))
    assert executing(rough, PNET, chain.read_bytes()).name == "onnxruntime"  # native computes in f32


def test_what_is_told_of_a_pair_before_it_loads_is_what_it_will_do(files: om_files.OmFiles, tmp_path: Path) -> None:
    """It looks at the beginning of a large file alone, whose size decides."""
    pytest.importorskip("llvmlite")
    pair, chain = backend_by_name("native+onnxruntime"), (files.pnet.parent / "pnet.onnx").read_bytes()
    assert engines(pair, [PNET], tmp_path, 1) == {}
    for more, engine in ((b"", "native"), (bytes([0x7A, 0x80, 0x80, 0x80, 0x04, *bytes(LARGEST_FILE)]), "onnxruntime")):
        PNET.final(tmp_path).write_bytes(chain + more)
        assert engines(pair, [PNET], tmp_path, 1) == {"pnet": engine}
        assert executing(pair, PNET, chain + more).name == engine


def test_auto_is_the_first_that_can_run_and_keeps_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    available = [name for name in FASTEST_FIRST if backend_by_name(name).why_unavailable() is None]
    assert resolve_backend(AUTO).name == available[0]
    assert resolve_backend("onnxruntime").name == "onnxruntime"
    hide(monkeypatch, "llvmlite", "openvino")
    assert resolve_backend(AUTO).name == "onnxruntime"
    hide(monkeypatch, "onnxruntime")
    with pytest.raises(BackendError, match=r"auto.*native\+openvino: no module named 'llvmlite'.*facepipe\[ort\]"):
        resolve_backend(AUTO)


def test_a_back_end_made_by_the_page_is_run_as_a_host_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The class of docs/add-a-backend.md, put into the table: crops, strips and workers are those of a host."""
    from facepipe.cli.run_options import worker_count
    from facepipe.detect import fitted
    from facepipe.detect.mtcnn import MtcnnSettings
    from facepipe.engine.cores import cores

    page = (SRC.parents[1] / "docs" / "add-a-backend.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    written = tmp_path / "page_backend.py"
    written.write_text(code)
    spec = importlib.util.spec_from_file_location("page_backend", written)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "page_backend", module)
    spec.loader.exec_module(module)
    made = of_the_page(module)
    monkeypatch.setitem(facepipe.backends._BACKENDS, "reference", made)
    backend = backend_by_name("reference")
    assert backend.name == "reference" and backend.why_unavailable() is None
    assert fitted(MtcnnSettings(), backend.traits, 16) == fitted(MtcnnSettings(), backend_by_name("null").traits, 16)
    assert worker_count(argparse.Namespace(workers=None, backend="reference", threads=1, devices=None)) == cores()
    path, image = write_onnx(PNET, tmp_path / "pnet.onnx"), pixels(1, 2, 3, 14, 14)
    with open_session(backend, PNET, path) as session:
        for one, wanted in zip(session.run(image), reference(path, image), strict=True):
            np.testing.assert_allclose(one, wanted, rtol=1e-4, atol=1e-5)


def of_the_page(module: ModuleType) -> Any:
    (made,) = (value for name, value in vars(module).items() if isinstance(value, type) and hasattr(value, "traits"))
    return made


def test_nobody_asks_a_back_end_for_its_name() -> None:
    """No set of names, no comparison with one, no suffix: what counts of a back end are its traits."""
    found = [
        f"{path.relative_to(SRC).as_posix()}: {line}"
        for path in sorted(SRC.rglob("*.py"))
        for line in asks_for_names(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == [
        "runs/rehearse.py: job.backend != 'onnxruntime'",  # it rewrites ONNX files, and onnxruntime runs what it writes
        "runs/unpack.py: tool == 'msame'",  # how a program names its files
    ]
    makefile = (SRC.parents[1] / "Makefile").read_text(encoding="utf-8")
    assert [name for name in backend_names() if f" {name}" in makefile.partition("\n\n.DEFAULT")[2]] == []


def asks_for_names(tree: ast.AST) -> Iterator[str]:
    names = set(backend_names())

    def constants(node: ast.AST) -> set[object]:
        elements = node.elts if isinstance(node, (ast.Set, ast.Tuple, ast.List)) else [node]
        return {element.value for element in elements if isinstance(element, ast.Constant)}

    for node in ast.walk(tree):
        is_compared = isinstance(node, ast.Compare) and any(
            constants(part) & names for part in (node.left, *node.comparators)
        )
        is_set = isinstance(node, ast.Set) and constants(node) & names
        is_suffix = isinstance(node, ast.Attribute) and node.attr == "suffix" and "backend" in ast.unparse(node.value)
        if is_compared or is_set or is_suffix:
            yield ast.unparse(node)


@pytest.mark.parametrize(
    "code", ["backend in ('onnxruntime', 'null')", "frozenset({'msame'})", "backend.suffix", "b.name == 'pyacl'"]
)
def test_such_a_line_would_be_found(code: str) -> None:
    assert len(list(asks_for_names(ast.parse(code)))) == 1


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these modules and programs were not installed."""
    find, which = importlib.util.find_spec, shutil.which
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in names else find(name, *more))
    monkeypatch.setattr(shutil, "which", lambda name, *more: None if name in names else which(name, *more))


def test_processes_share_a_device_where_one_would_leave_it_idle() -> None:
    from facepipe.cli.run_options import worker_count

    def count(backend: str, devices: list[int] | None) -> int:
        return worker_count(argparse.Namespace(workers=None, backend=backend, threads=1, devices=devices))

    assert (count("pyacl", None), count("pyacl", [0, 1, 3])) == (2, 6)
    assert (count("msame", None), count("msame", [0, 1])) == (1, 2)
    assert [RuntimeOptions(devices=(4, 7)).of_worker(worker).device for worker in range(4)] == [4, 7, 4, 7]
