# SPDX-License-Identifier: Apache-2.0
"""onnxruntime's CANN provider: it must never silently be the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import pytest
from small_networks import RNET, write_onnx

from facepipe.backends.ascend.ort_cann import PROVIDER, OnnxRuntimeCann, provider_options
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import require_provider
from facepipe.errors import BackendError


@dataclass
class Providers:
    """What a session says of itself."""

    running: list[str]

    def get_providers(self) -> list[str]:
        return self.running


@pytest.mark.parametrize("running", [["CPUExecutionProvider"], [], ["CPUExecutionProvider", PROVIDER]])
def test_a_session_that_is_on_the_cpu_is_refused(running: list[str]) -> None:
    with pytest.raises(BackendError, match=r"x\.onnx: onnxruntime runs it on .*, expected CANNExecutionProvider"):
        require_provider(Providers(running), PROVIDER, Path("x.onnx"), "try")


def test_a_session_on_the_chip_passes() -> None:
    require_provider(Providers([PROVIDER, "CPUExecutionProvider"]), PROVIDER, Path("x.onnx"), "try")


def test_an_onnxruntime_without_cann_says_what_to_install(tmp_path: Path) -> None:
    path = write_onnx(RNET, tmp_path / "rnet.onnx")
    with (
        pytest.raises(BackendError, match="'onnxruntime-cann' is unavailable: this onnxruntime is built without CANN"),
        open_session(OnnxRuntimeCann(), RNET, path),
    ):
        pass


def test_a_listed_provider_that_does_not_load_is_an_error_not_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The wheel onnxruntime-cann lists CANN without CANN: the plain wheel behaves alike when told that it is listed.
    path = write_onnx(RNET, tmp_path / "rnet.onnx")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER, "CPUExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="CANNExecutionProvider"),
        pytest.raises(BackendError, match=r"onnxruntime (cannot load it for CANN|runs it on CPUExecutionProvider)"),
        open_session(OnnxRuntimeCann(), RNET, path),
    ):
        pass


def test_precision_and_device_are_handed_on() -> None:
    options = provider_options(RuntimeOptions(device=2, precision="f16"))
    assert options["device_id"] == "2" and options["precision_mode"] == "force_fp16"
    assert provider_options(RuntimeOptions())["precision_mode"] == "force_fp32"
