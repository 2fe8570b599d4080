# SPDX-License-Identifier: Apache-2.0
"""The back end `pyacl` against the strict stand-in for `acl`: see tests/fakes/acl_scenarios.py."""

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

from facepipe.backends.ascend import pyacl
from facepipe.backends.ascend.om import OmShapes, OmSidecar, check_sidecar
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.cli import main
from facepipe.errors import BackendError, StageError
from facepipe.store.model_content import read_model


@pytest.fixture(scope="module")
def oms(tmp_path_factory: pytest.TempPathFactory) -> om_files.OmFiles:
    return om_files.make(tmp_path_factory.mktemp("oms"))


@pytest.fixture
def acl(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(MODULES))
    importlib.invalidate_caches()
    yield importlib.import_module("acl")
    sys.modules.pop("acl", None)  # `facepipe backends` must not find it in another test


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_driver_passes(name: str, acl: ModuleType, oms: om_files.OmFiles) -> None:
    check(name, Bench(pyacl, acl, oms))


def test_without_cann_the_reason_says_what_to_source(oms: om_files.OmFiles) -> None:
    with (
        pytest.raises(
            BackendError, match=r"backend 'pyacl' is unavailable: no module named 'acl'; source .*set_env\.sh"
        ),
        open_session(pyacl.PyAcl(), om_files.RNET, oms.rnet),
    ):
        pass


def test_a_precision_cannot_be_chosen_at_run_time(acl: ModuleType) -> None:
    reason = pyacl.PyAcl(RuntimeOptions(precision="f16")).why_unavailable()
    assert reason is not None and "it is compiled in; `make om PRECISION=...`" in reason


def test_a_forked_process_may_not_use_the_parents_library(
    acl: ModuleType, oms: om_files.OmFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    acl.reset()
    pyacl.PyAcl().load(om_files.RNET, read_model(oms.rnet)).close()
    with monkeypatch.context() as child:
        child.setattr(pyacl.os, "getpid", lambda: -1)
        with pytest.raises(BackendError, match="this process was forked from one that uses the device"):
            pyacl.PyAcl().load(om_files.RNET, read_model(oms.rnet))
        pyacl.finalise()  # not the child's to finalise
        assert acl.live() == ["the library (finalize)"]
    pyacl.finalise()
    assert acl.live() == []


def test_a_range_compiled_for_another_host_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    # GE base/common/helper/model_helper.cc: a model of a range is bound to the system and processor of its host.
    shapes = OmShapes("range", (), (1, 3, 24, 24), (9, 3, 24, 24))
    told = OmSidecar("rnet", "rnet.Ascend310P3_linux_aarch64.om", "Ascend310P3", "force_fp16", False, shapes)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(
        BackendError, match=r"compiled for aarch64, this is x86_64.*Try: `facepipe om --host-cpu x86_64`"
    ):
        check_sidecar(told, om_files.RNET, Path("rnet.Ascend310P3.om"), "Ascend310P3")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    check_sidecar(told, om_files.RNET, Path("rnet.Ascend310P3.om"), "Ascend310P3")


def test_a_sidecar_that_is_no_sidecar_is_refused(acl: ModuleType, oms: om_files.OmFiles, tmp_path: Path) -> None:
    acl.reset()
    om = tmp_path / "rnet.Ascend310.om"
    om.write_bytes(oms.rnet.read_bytes())
    for content in ("{", "[]", '{"format": 2}', '{"format": 1}'):
        om.with_name(f"{om.name}.json").write_text(content)
        with pytest.raises(StageError, match=r"rnet\.Ascend310\.om\.json: .*Try: make rnet\.Ascend310\.om again"):
            pyacl.PyAcl().load(om_files.RNET, read_model(om))
    pyacl.finalise()
    assert acl.live() == []


def test_parity_on_another_device_leaves_the_reference_on_this_processor(
    acl: ModuleType, oms: om_files.OmFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    acl.reset(devices=2)
    (tmp_path / "rnet.Ascend310.om").write_bytes(oms.rnet.read_bytes())
    (tmp_path / "rnet.simplified.onnx").write_bytes((oms.rnet.parent / "rnet.onnx").read_bytes())
    assert main(["parity", "rnet", "--against", "pyacl", "--device", "1", "--weights", str(tmp_path)]) == 0
    assert "onnxruntime rnet.simplified.onnx and pyacl rnet.Ascend310.om" in capsys.readouterr().out
    pyacl.finalise()
    assert acl.live() == []
