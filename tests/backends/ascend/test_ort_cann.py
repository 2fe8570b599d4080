# SPDX-License-Identifier: Apache-2.0
"""onnxruntime's CANN provider: it must never silently be the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import pytest
from small_networks import RNET, write_onnx

from facepipe.backends.ascend.ort_cann import PROVIDER, OnnxRuntimeCann, provider_options, require_f32
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import require_provider
from facepipe.catalogue.chips import SOCS
from facepipe.errors import BackendError
from facepipe.store.model_content import read_model


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
    monkeypatch.setattr(onnxruntime, "__version__", "1.24.4")
    with (
        pytest.warns(UserWarning, match="CANNExecutionProvider"),
        pytest.raises(BackendError, match=r"onnxruntime (cannot load it for CANN|runs it on CPUExecutionProvider)"),
        open_session(OnnxRuntimeCann(RuntimeOptions(precision="f16")), RNET, path),
    ):
        pass


def test_a_wheel_that_may_name_the_precision_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # onnxruntime PR 27970: precision_mode becomes precision_mode_v2, and an unknown option is an error of its own.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER])
    monkeypatch.setattr(onnxruntime, "__version__", "1.25.0")
    reason = OnnxRuntimeCann().why_unavailable()
    assert reason is not None and "onnxruntime-cann<1.25" in reason
    monkeypatch.setattr(onnxruntime, "__version__", "1.24.4")
    assert OnnxRuntimeCann().why_unavailable() is None


@pytest.mark.parametrize("soc", ["Ascend310", "Ascend310P3", "Ascend910A"])
def test_f32_is_refused_on_a_chip_that_multiplies_none(soc: str) -> None:
    with pytest.raises(BackendError, match=rf"{soc} multiplies no float32 matrices.*Try: --precision f16"):
        require_f32(SOCS[soc])
    with pytest.raises(BackendError, match="the board does not tell its chip"):
        require_f32(None)
    require_f32(SOCS["Ascend910B4"])


@pytest.mark.parametrize(
    ("name", "is_theirs"),
    [("graph_1234567_0_9876543210.om", True), ("subgraph_99_1.om", True), ("pnet.bs16.Ascend310.om", False),
     ("facenet.vggface2.bs16.Ascend910_9382.om", False)],
)  # fmt: skip
def test_a_folder_with_an_older_compile_is_refused(
    name: str, is_theirs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    path = write_onnx(RNET, tmp_path / "rnet.onnx")
    with pytest.raises(BackendError) as refused:
        OnnxRuntimeCann(RuntimeOptions(precision="f16")).load(RNET, read_model(path))
    assert ("loads such a file of the current folder" in str(refused.value)) is is_theirs


def test_precision_and_device_are_handed_on() -> None:
    options = provider_options(RuntimeOptions(device=2, precision="f16"))
    assert options["device_id"] == "2" and options["precision_mode"] == "force_fp16"
    assert options["dump_om_model"] == "0"  # else it saves into, and then loads from, the current folder
    # force_fp32 multiplies half-precision numbers: GE, --precision_mode, "the effect is identical" to cube_fp16in_...
    assert provider_options(RuntimeOptions())["precision_mode"] == "must_keep_origin_dtype"
