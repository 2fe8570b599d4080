# SPDX-License-Identifier: Apache-2.0
"""onnxruntime on a GPU: never silently the CPU, and f32 never silently TF32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from small_networks import RNET, write_onnx

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort_gpu import CUDA, TENSORRT, TF32, cuda_options, tensorrt_options
from facepipe.errors import BackendError

PROVIDERS = {"onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_onnxruntime_without_it_says_what_to_install(name: str, tmp_path: Path) -> None:
    path = write_onnx(RNET, tmp_path / "rnet.onnx")
    with (
        pytest.raises(BackendError, match=rf"'{name}' is unavailable: this onnxruntime is built without .*-gpu in"),
        open_session(backend_by_name(name), RNET, path),
    ):
        pass


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_listed_provider_that_does_not_load_is_an_error_not_the_cpu(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The wheel onnxruntime-gpu lists both without CUDA: the plain wheel behaves alike when told that they are listed.
    path = write_onnx(RNET, tmp_path / "rnet.onnx")
    monkeypatch.setenv(TF32, "0")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDERS[name], "CPUExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="ExecutionProvider"),
        pytest.raises(BackendError, match=r"onnxruntime (cannot load it for|runs it on CPUExecutionProvider)"),
        open_session(backend_by_name(name), RNET, path),
    ):
        pass


def test_what_a_session_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Session:
        def __init__(self, content: bytes, settings: Any, providers: list[Any], **more: Any) -> None:
            told.append((settings.get_session_config_entry("session.disable_cpu_ep_fallback"), providers, more))
            raise RuntimeError("enough")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    path = write_onnx(RNET, tmp_path / "rnet.onnx")
    with (
        pytest.raises(BackendError, match=r"rnet\.onnx: onnxruntime cannot load it for CUDA \(enough\)"),
        open_session(backend_by_name("onnxruntime-cuda", RuntimeOptions(device=1)), RNET, path),
    ):
        pass
    ((fallback, ((provider, options),), more),) = told
    assert (fallback, provider, more) == ("1", CUDA, {"enable_fallback": 0})
    assert (options["device_id"], options["use_tf32"]) == ("1", "0")


def test_f32_by_tensorrt_wants_tf32_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT])
    monkeypatch.delenv(TF32, raising=False)
    reason = backend_by_name("onnxruntime-tensorrt").why_unavailable()
    assert reason is not None and f"{TF32}=0" in reason
    assert backend_by_name("onnxruntime-tensorrt", RuntimeOptions(precision="f16")).why_unavailable() is None
    monkeypatch.setenv(TF32, "0")
    assert backend_by_name("onnxruntime-tensorrt").why_unavailable() is None


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_what_it_cannot_compute_in_is_refused(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA])
    for name in PROVIDERS:
        reason = backend_by_name(name, RuntimeOptions(precision=precision)).why_unavailable()
        assert reason is not None and f"precision {precision} was asked for" in reason


def test_options_of_the_providers() -> None:
    assert cuda_options(RuntimeOptions(device=3))["device_id"] == "3"
    assert tensorrt_options(RuntimeOptions(precision="f16"))["trt_fp16_enable"] == "1"
    kept = tensorrt_options(RuntimeOptions(cache=Path("weights/cache")))
    assert kept["trt_fp16_enable"] == "0" and kept["trt_engine_cache_path"] == str(Path("weights/cache/tensorrt"))
