# SPDX-License-Identifier: Apache-2.0
"""ONNX models on an NVIDIA GPU through onnxruntime's CUDA and TensorRT providers.

What was asked for is what runs, or it fails: `backends.ort.open_on`. That holds for the arithmetic too. Both libraries
multiply float32 in TF32, which has the mantissa of half precision, unless they are told not to: CUDA's provider by an
option, TensorRT's by nothing but NVIDIA's environment variable, so that f32 is refused there without it.

onnxruntime-gpu writes over onnxruntime's files, so it needs an environment of its own.
Sources: onnxruntime.ai, CUDA and TensorRT execution providers; microsoft/onnxruntime #19357 and #26029.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from typing import Final

from facepipe.backends.base import RuntimeOptions, Session, Traits, why_not_honoured
from facepipe.backends.ort import open_on
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
TF32: Final = "NVIDIA_TF32_OVERRIDE"
"""NVIDIA's variable: "0" keeps every library in the process from TF32."""

_INSTALL = (
    "pip install onnxruntime-gpu in an environment of its own: it takes the place of onnxruntime's files (first `pip "
    "uninstall onnxruntime` where both are)."
)
_TRAITS = Traits(packages=("onnxruntime-gpu",))


@dataclass(frozen=True, slots=True)
class OnnxRuntimeCuda:
    """The back end `onnxruntime-cuda`, in f32."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "onnxruntime-cuda"
    traits: Traits = _TRAITS

    def why_unavailable(self) -> str | None:
        return _why_absent(CUDA, "CUDA") or why_not_honoured(self.options, ("f32",), devices=True)

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session that runs on the GPU.

        Raises:
            BackendError: onnxruntime made it elsewhere, or cannot load the file.
        """
        attempt = (
            "nvidia-smi must list the GPU, and CUDA's and cuDNN's libraries of the versions of "
            "onnxruntime.ai/docs/execution-providers be found; --backend onnxruntime is the CPU."
        )
        return open_on("CUDA", CUDA, cuda_options(self.options), model, self.options, attempt)


@dataclass(frozen=True, slots=True)
class OnnxRuntimeTensorRt:
    """The back end `onnxruntime-tensorrt`, in f16, or in f32 where TF32 is off.

    It builds an engine for the shapes that it meets, in minutes, and keeps it in the cache of the options.
    """

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "onnxruntime-tensorrt"
    traits: Traits = _TRAITS

    def why_unavailable(self) -> str | None:
        reason = _why_absent(TENSORRT, "TensorRT") or why_not_honoured(self.options, ("f32", "f16"), devices=True)
        if reason is None and self.options.precision == "f32" and os.environ.get(TF32) != "0":
            return f"TensorRT multiplies float32 in TF32 unless {TF32}=0 stands in the environment."
        return reason

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session that runs on the GPU.

        Raises:
            BackendError: onnxruntime made it elsewhere, or cannot load the file.
        """
        attempt = (
            "libnvinfer of the version of onnxruntime.ai/docs/execution-providers must be found (pip install "
            "tensorrt); or --backend onnxruntime-cuda."
        )
        return open_on("TensorRT", TENSORRT, tensorrt_options(self.options), model, self.options, attempt)


def cuda_options(options: RuntimeOptions) -> dict[str, str]:
    """The provider's options, as strings. Every photograph's pyramid has shapes of its own: no search for each."""
    return {
        "device_id": str(options.device),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def tensorrt_options(options: RuntimeOptions) -> dict[str, str]:
    """The provider's options, as strings."""
    kept = {}
    if options.cache is not None:
        folder = str(options.cache / "tensorrt")
        kept = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder, "trt_timing_cache_enable": "1"}
    return {"device_id": str(options.device), "trt_fp16_enable": str(int(options.precision == "f16")), **kept}


def _why_absent(provider: str, device: str) -> str | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return f"no module named 'onnxruntime'; {_INSTALL}"
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        return f"this onnxruntime is built without {device}; {_INSTALL}"
    return None
