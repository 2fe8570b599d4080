# SPDX-License-Identifier: Apache-2.0
"""What a pyACL driver must get right, as functions of the driver: run against the real one, and against broken ones.

A scenario gets the driver's module, the stand-in `acl` freshly reset, and the .om files. It ends with everything
closed; `check` then finalises and looks for what is still alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from om_files import OmFiles, pixels, reference
from small_networks import EMBEDDER, PNET, RNET

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.errors import BackendError, TensorError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import read_model


@dataclass(frozen=True)
class Bench:
    """The driver under test, the stand-in, the files."""

    driver: ModuleType
    acl: Any
    oms: OmFiles

    @contextmanager
    def session(self, spec: ModelSpec, path: Path, device: int = 0) -> Iterator[Any]:
        """A session through the front door."""
        backend = self.driver.PyAcl(RuntimeOptions(device=device))
        with open_session(backend, spec, path) as session:
            yield session


SCENARIOS: dict[str, Callable[[Bench], None]] = {}


def scenario(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
    SCENARIOS[function.__name__] = function
    return function


def check(name: str, bench: Bench) -> None:
    """Run one scenario on a fresh library; nothing may be alive afterwards, and nothing was misused."""
    bench.acl.reset()
    try:
        SCENARIOS[name](bench)
        bench.driver.finalise()
        left = bench.acl.live()
        assert left == [], f"still alive: {left}"
    finally:
        bench.driver._PROCESS.library = None  # a scenario that failed half-way must not disturb the next


def same(outputs: Any, expected: list[np.ndarray]) -> None:
    assert len(outputs) == len(expected)
    for found, wanted in zip(outputs, expected, strict=True):
        assert found.dtype == np.float32 and found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@scenario
def image_gears(bench: Bench) -> None:
    with bench.session(PNET, bench.oms.pnet) as session:
        for seed, (rows, height, width) in enumerate(
            [(1, 14, 14), (2, 20, 20), (3, 16, 40), (5, 27, 27), (2, 14, 14), (1, 27, 27), (1, 20, 20)]
        ):
            image = pixels(seed, rows, 3, height, width)
            before = len(bench.acl.state.executions)
            same(session.run(image), reference(bench.oms.pnet.parent / "pnet.onnx", image))
            ran = bench.acl.state.executions[before:]
            assert ran == [(2, 3, height, width)] * -(-rows // 2), ran
        assert session.fixed_batch is None


@scenario
def batch_gears(bench: Bench) -> None:
    with bench.session(RNET, bench.oms.rnet) as session:
        for rows, expected in ((1, [1]), (3, [4]), (8, [8]), (19, [8, 8, 4]), (2, [2]), (9, [8, 1])):
            image = pixels(rows, rows, 3, 24, 24)
            before = len(bench.acl.state.executions)
            same(session.run(image), reference(bench.oms.rnet.parent / "rnet.onnx", image))
            assert [shape[0] for shape in bench.acl.state.executions[before:]] == expected


@scenario
def static_batch(bench: Bench) -> None:
    with bench.session(EMBEDDER, bench.oms.embedder) as session:
        assert session.fixed_batch == 4
        for rows in (4, 1, 6):
            image = pixels(rows, rows, 3, 6, 6)
            same(session.run(image), reference(bench.oms.embedder.parent / "small.embedder.onnx", image))


@scenario
def aipp_takes_bytes(bench: Bench) -> None:
    with bench.session(EMBEDDER, bench.oms.embedder_aipp) as session:
        image = pixels(3, 5, 3, 6, 6)
        same(session.run(image), reference(bench.oms.embedder.parent / "small.embedder.onnx", image))
        raw = np.rint(image * 128 + 127.5).astype(np.uint8).transpose(0, 2, 3, 1)  # N, H, W, C, as a packer writes it
        same(session.session.run((raw,)), reference(bench.oms.embedder.parent / "small.embedder.onnx", image))
        with pytest.raises(TensorError, match="does not come from bytes"):
            session.run(image + np.float32(0.002))


@scenario
def half_precision_outputs_become_float32(bench: Bench) -> None:
    with bench.session(EMBEDDER, bench.oms.embedder_fp16) as session:
        image = pixels(4, 3, 3, 6, 6)
        (wanted,) = reference(bench.oms.embedder.parent / "small.embedder.onnx", image)
        same(session.run(image), [wanted.astype(np.float16).astype(np.float32)])


@scenario
def ranges_with_outputs_of_unknown_size(bench: Bench) -> None:
    bench.acl.reset(soc="Ascend310P3")
    with bench.session(PNET, bench.oms.pnet_range) as session:
        for seed, (rows, height, width) in enumerate([(1, 14, 18), (4, 40, 40), (2, 12, 13), (9, 20, 31), (4, 40, 40)]):
            image = pixels(seed, rows, 3, height, width)
            same(session.run(image), reference(bench.oms.pnet.parent / "pnet.onnx", image))
        with pytest.raises(
            TensorError, match=r"input is \[1, 3, 41, 40\], expected \[1, 3, 12, 12\] to \[4, 3, 40, 40\]"
        ):
            session.run(pixels(0, 1, 3, 41, 40))


@scenario
def a_range_takes_its_memory_by_the_call_and_keeps_its_outputs(bench: Bench) -> None:
    bench.acl.reset(soc="Ascend310P3")
    with bench.session(PNET, bench.oms.pnet_range) as session:
        least = pixels(1, 1, 3, 12, 13)
        taken = [len(memory.content) for memory in bench.acl.state.things.values() if hasattr(memory, "valid")]
        assert 4 * 4 * 3 * 40 * 40 not in taken, "the upper bounds of the input were taken at once"
        session.run(least)
        before = bench.acl.state.calls.count("rt.malloc")
        session.run(least)
        assert bench.acl.state.calls.count("rt.malloc") == before and bench.acl.state.calls.count("rt.free") == 0


@scenario
def ranges_without_an_upper_bound(bench: Bench) -> None:
    bench.acl.reset(soc="Ascend310P3")
    with bench.session(PNET, bench.oms.pnet_unbounded) as session:
        for seed, (rows, height, width) in enumerate([(1, 14, 18), (4, 40, 40), (2, 12, 13)]):
            image = pixels(seed, rows, 3, height, width)
            same(session.run(image), reference(bench.oms.pnet.parent / "pnet.onnx", image))


@scenario
def an_om_of_a_newer_cann(bench: Bench) -> None:
    bench.acl.state.cann = (7, 0, 99)
    with pytest.raises(BackendError, match=r"load_from_file failed 545001.*another chip or CANN release"):
        bench.driver.PyAcl().load(RNET, read_model(bench.oms.rnet))


@scenario
def a_message_in_gbk_does_not_hide_the_code(bench: Bench) -> None:
    with bench.session(RNET, bench.oms.rnet) as session:
        bench.acl.state.gbk = True
        bench.acl.state.fail = ("mdl.execute", bench.acl.state.calls.count("mdl.execute") + 1, 507015)
        with pytest.raises(BackendError, match=r"mdl\.execute failed 507015, an AI core failed.*is no UTF-8"):
            session.run(pixels(0, 1, 3, 24, 24))
        bench.acl.state.gbk = False


@scenario
def ranges_report_every_failure(bench: Bench) -> None:
    for om in (bench.oms.pnet_range, bench.oms.pnet_unbounded):
        _inject_everywhere(bench, PNET, om, pixels(1, 2, 3, 14, 18), soc="Ascend310P3")


@scenario
def buffers_are_allocated_once(bench: Bench) -> None:
    with bench.session(PNET, bench.oms.pnet) as session:
        session.run(pixels(0, 2, 3, 27, 27))
        before = [bench.acl.state.calls.count(name) for name in ("rt.malloc", "rt.malloc_host", "mdl.create_dataset")]
        for size in (14, 20, 27):
            session.run(pixels(0, 2, 3, size, size))
        after = [bench.acl.state.calls.count(name) for name in ("rt.malloc", "rt.malloc_host", "mdl.create_dataset")]
        assert before == after


@scenario
def any_thread_may_call(bench: Bench) -> None:
    found: list[Any] = []
    image = pixels(1, 3, 3, 24, 24)
    with bench.session(RNET, bench.oms.rnet) as session:
        threads = [threading.Thread(target=lambda: found.append(session.run(image))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 3
    for outputs in found:
        same(outputs, reference(bench.oms.rnet.parent / "rnet.onnx", image))


@scenario
def closing_from_another_thread(bench: Bench) -> None:
    session = bench.driver.PyAcl().load(RNET, read_model(bench.oms.rnet))
    failures: list[BaseException] = []

    def close() -> None:
        try:
            session.close()
        except BaseException as error:  # a thread's error must reach the test
            failures.append(error)

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert failures == []


@scenario
def sessions_side_by_side(bench: Bench) -> None:
    with bench.session(PNET, bench.oms.pnet) as pnet, bench.session(RNET, bench.oms.rnet) as rnet:
        for seed in range(2):
            image = pixels(seed, 1, 3, 20, 20)
            same(pnet.run(image), reference(bench.oms.pnet.parent / "pnet.onnx", image))
            crops = pixels(seed, 3, 3, 24, 24)
            same(rnet.run(crops), reference(bench.oms.rnet.parent / "rnet.onnx", crops))


@scenario
def one_session_after_another(bench: Bench) -> None:
    for _ in range(2):
        with bench.session(RNET, bench.oms.rnet) as session:
            session.run(pixels(0, 1, 3, 24, 24))
    assert bench.acl.state.calls.count("init") == 1 and bench.acl.state.calls.count("finalize") == 0


@scenario
def a_library_that_others_initialised_is_theirs_to_finalise(bench: Bench) -> None:
    assert bench.acl.init() == 0
    with bench.session(RNET, bench.oms.rnet) as session:
        session.run(pixels(0, 1, 3, 24, 24))
    bench.driver.finalise()
    assert bench.acl.live() == ["the library (finalize)"]
    assert bench.acl.finalize() == 0


@scenario
def any_strides_are_written_and_the_answers_are_the_callers_own(bench: Bench) -> None:
    with bench.session(PNET, bench.oms.pnet) as session:
        image = pixels(0, 3, 3, 16, 40)[:, :, ::-1]  # not contiguous
        first = session.run(image)
        kept = [array.copy() for array in first]
        same(first, reference(bench.oms.pnet.parent / "pnet.onnx", np.ascontiguousarray(image)))
        session.run(pixels(1, 3, 3, 16, 40))
        for array, before in zip(first, kept, strict=True):
            np.testing.assert_array_equal(array, before)
            assert array.flags.owndata or (array.base is not None and array.base.flags.owndata)


@scenario
def stages_are_timed_apart_and_the_first_is_not_counted(bench: Bench) -> None:
    with bench.session(RNET, bench.oms.rnet) as session:
        ticks = iter(float(2**number) for number in range(100))
        before = len(bench.acl.state.executions)
        image = pixels(0, 4, 3, 24, 24)
        stages = session.session.time_stages(image, 2, lambda: next(ticks))
        seconds = [(stage.mean_ms / 1000, stage.least_ms / 1000) for stage in (stages.copy_in, stages.execute)]
        assert seconds == [(136.0, 16.0), (272.0, 32.0)] and stages.copy_out.median_ms == 544000
        assert bench.acl.state.executions[before:] == [(4, 3, 24, 24)] * 3
        with pytest.raises(
            BackendError, match=r"3x3x24x24 is to be timed, and it was compiled for 1x3x24x24; .*static"
        ):
            session.session.time_stages(pixels(0, 3, 3, 24, 24), 2)
    with bench.session(EMBEDDER, bench.oms.embedder_aipp) as session:
        assert session.session.time_stages(pixels(0, 4, 3, 6, 6), 3).execute.least_ms > 0


@scenario
def stages_of_a_range(bench: Bench) -> None:
    bench.acl.reset(soc="Ascend310P3")
    for om in (bench.oms.pnet_range, bench.oms.pnet_unbounded):
        with bench.session(PNET, om) as session:
            assert session.session.time_stages(pixels(0, 2, 3, 14, 18), 3).execute.least_ms > 0


@scenario
def the_second_of_two_devices(bench: Bench) -> None:
    bench.acl.reset(devices=2)
    with bench.session(RNET, bench.oms.rnet, device=1) as session:
        assert +bench.acl.state.device_references == {1: 1}
        image = pixels(0, 2, 3, 24, 24)
        same(session.run(image), reference(bench.oms.rnet.parent / "rnet.onnx", image))


@scenario
def a_device_that_does_not_exist(bench: Bench) -> None:
    with pytest.raises(BackendError, match=r"device 3 is not here, expected 0 to 0\. Try: `npu-smi info`"):
        bench.driver.PyAcl(RuntimeOptions(device=3)).load(RNET, read_model(bench.oms.rnet))
    with pytest.raises(BackendError, match="device -1 is not here"):
        bench.driver.PyAcl(RuntimeOptions(device=-1)).load(RNET, read_model(bench.oms.rnet))


@scenario
def an_om_of_another_chip(bench: Bench) -> None:
    with pytest.raises(BackendError, match=r"mdl\.load_from_file failed 545001.*another chip.*Try: `make om SOC="):
        bench.driver.PyAcl().load(RNET, read_model(bench.oms.rnet_of_310p3))
    with pytest.raises(
        BackendError, match=r"was compiled for Ascend310P3, this chip is Ascend310\. Try: `make om SOC=A"
    ):
        bench.driver.PyAcl().load(PNET, read_model(bench.oms.pnet_range))


@scenario
def an_om_of_a_sister_chip_goes_to_the_runtime_where_any_is_allowed(bench: Bench) -> None:
    bench.acl.reset(soc="Ascend310B4")
    bench.acl.state.sisters = True  # what a runtime of 310B might take; nobody here knows whether it does
    image = pixels(5, 3, 3, 24, 24)
    with pytest.raises(BackendError, match=r"was compiled for Ascend310B1, this chip is Ascend310B4\..*--any-chip"):
        bench.driver.PyAcl().load(RNET, read_model(bench.oms.rnet_of_310b1))
    backend = bench.driver.PyAcl(RuntimeOptions(any_chip=True))
    with open_session(backend, RNET, bench.oms.rnet_of_310b1) as session:
        same(session.run(image), reference(bench.oms.rnet.parent / "rnet.onnx", image))
    bench.acl.state.sisters = False
    with pytest.raises(BackendError, match=r"mdl\.load_from_file failed 545001"):
        backend.load(RNET, read_model(bench.oms.rnet_of_310b1))


@scenario
def an_om_of_another_model(bench: Bench) -> None:
    with pytest.raises(BackendError, match=r"it takes 1x3x24x24, expected .*3x48x48 of onet; it is of another model"):
        from facepipe.catalogue import model

        bench.driver.PyAcl().load(model("onet"), read_model(bench.oms.rnet))
    with pytest.raises(BackendError, match="was compiled from pnet, expected rnet"):
        bench.driver.PyAcl().load(RNET, read_model(bench.oms.pnet_letterbox))
    with pytest.raises(
        BackendError, match=r"output 0 is 2x2x\d+x\d+, expected 'box_offsets'.*outputs are in another order"
    ):
        bench.driver.PyAcl().load(PNET, read_model(bench.oms.pnet_swapped))


@scenario
def an_om_of_another_batch(bench: Bench) -> None:
    wrong = bench.oms.pnet.with_name("pnet.bs16.Ascend310.om")
    if not wrong.exists():
        wrong.write_bytes(bench.oms.pnet.read_bytes())
    with pytest.raises(
        BackendError, match=r"its name says batch 16, it was compiled for batch 2\. Try: `make om BATCH=16`"
    ):
        bench.driver.PyAcl().load(PNET, read_model(wrong))


@scenario
def a_torn_om(bench: Bench) -> None:
    with pytest.raises(BackendError, match=r"load_from_file failed 100012, the \.om cannot be deserialised.*EE0012"):
        bench.driver.PyAcl().load(RNET, read_model(bench.oms.torn))


@scenario
def a_shape_without_a_gear(bench: Bench) -> None:
    with bench.session(PNET, bench.oms.pnet) as session:
        with pytest.raises(TensorError, match=r"pnet: no gear for 3x15x17, it was compiled for 3x14x14; 3x16x40"):
            session.run(pixels(0, 1, 3, 15, 17))
        session.run(pixels(0, 1, 3, 14, 14))


@scenario
def a_letterboxed_shape_gives_its_own_cells(bench: Bench) -> None:
    with bench.session(PNET, bench.oms.pnet_letterbox) as session:
        even = pixels(0, 3, 3, 14, 18)
        found = session.run(even)
        padded = np.zeros((3, 3, 20, 20), np.float32)
        padded[:, :, :14, :18] = even
        wanted = [array[:, :, :2, :4] for array in reference(bench.oms.pnet.parent / "pnet.onnx", padded)]
        same(found, wanted)
        same(found, reference(bench.oms.pnet.parent / "pnet.onnx", even))  # even sides lose nothing
        assert found[0].shape == (3, 4, 2, 4)


@scenario
def every_failure_of_image_gears_is_reported(bench: Bench) -> None:
    _inject_everywhere(bench, PNET, bench.oms.pnet, pixels(1, 3, 3, 14, 14))


@scenario
def every_failure_of_batch_gears_is_reported(bench: Bench) -> None:
    _inject_everywhere(bench, RNET, bench.oms.rnet, pixels(1, 3, 3, 24, 24))


@scenario
def a_failed_execution_can_be_repeated(bench: Bench) -> None:
    image = pixels(2, 3, 3, 24, 24)
    with bench.session(RNET, bench.oms.rnet) as session:
        for code, words in (
            (507015, "an AI core failed"),
            (145013, "the model has no such gear"),
            (1, "see the AscendCL"),
        ):
            bench.acl.state.fail = ("mdl.execute", bench.acl.state.calls.count("mdl.execute") + 1, code)
            with pytest.raises(
                BackendError, match=rf"device 0: acl\.mdl\.execute failed {code}, {words}.*EE{code % 10000:04d}"
            ):
                session.run(image)
            bench.acl.state.fail = None
            same(session.run(image), reference(bench.oms.rnet.parent / "rnet.onnx", image))


@scenario
def a_message_is_read_only_for_its_own_failure(bench: Bench) -> None:
    with bench.session(RNET, bench.oms.rnet) as session:
        bench.acl.state.fail = ("rt.memcpy", bench.acl.state.calls.count("rt.memcpy") + 1, 507018)
        with pytest.raises(BackendError, match=r"EE7018: rt\.memcpy failed"):
            session.run(pixels(0, 1, 3, 24, 24))
        assert bench.acl.get_recent_err_msg() is None


def _inject_everywhere(bench: Bench, spec: ModelSpec, path: Path, image: np.ndarray, soc: str = "Ascend310") -> None:
    """Load, run, close; once undisturbed, then with an error at each single call in turn."""
    bench.acl.reset(soc=soc)
    bench.driver.finalise()
    _life(bench, spec, path, image)
    calls = list(bench.acl.state.calls)
    bench.driver.finalise()
    injected = 0
    for name in dict.fromkeys(calls):
        for nth in range(1, calls.count(name) + 1):
            bench.acl.reset(soc=soc)
            bench.acl.state.fail = (name, nth, 507011)
            try:
                _life(bench, spec, path, image)
            except BackendError as error:
                assert f"acl.{name} failed" in str(error) and "Try:" in str(error), str(error)
                injected += 1
                assert bench.acl.state.calls.count(name) >= nth
            else:
                assert not bench.acl.state.injected, f"{name} failed and nobody noticed"
            bench.acl.state.fail = None
            left = [thing for thing in bench.acl.live() if thing != "the library (finalize)"]
            assert left == [], f"after {name} failed: {left}"
            bench.driver.finalise()
            bench.driver._PROCESS.library = None
    assert injected >= 25, injected


def _life(bench: Bench, spec: ModelSpec, path: Path, image: np.ndarray) -> None:
    session = bench.driver.PyAcl().load(spec, read_model(path))
    try:
        session.run((image,))
    finally:
        session.close()
