# SPDX-License-Identifier: Apache-2.0
"""onnxruntime on the CPU: the stand-in for every board, and the reference of every other back end."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facepipe.backends.base import RuntimeOptions, Session
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True, slots=True)
class OnnxRuntimeSession:
    """One onnxruntime session. Every call may have another shape."""

    inner: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    fixed_batch: int | None

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        feeds = dict(zip(self.input_names, inputs, strict=True))
        return tuple(self.inner.run(None, feeds))

    def close(self) -> None:
        """onnxruntime frees with the object; there is no handle to give back."""


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """The back end `onnxruntime`."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "onnxruntime"
    suffix: str = ".onnx"

    def why_unavailable(self) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "no module named 'onnxruntime'; pip install 'facepipe[ort]'."
        if self.options.precision != "f32":
            return f"it computes in f32 only, and precision {self.options.precision} was asked for."
        return None

    def load(self, spec: ModelSpec, path: Path) -> Session:
        """A session on the CPU provider alone, so that what runs is what was asked for.

        Raises:
            BackendError: the file is no ONNX model that onnxruntime can run.
        """
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            inner = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes; all mean "this file does not load"
            raise BackendError(
                f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]}).", f"`facepipe onnx {spec.name}`"
            ) from error
        batch = inner.get_inputs()[0].shape[0]
        return OnnxRuntimeSession(
            inner, tuple(i.name for i in inner.get_inputs()), batch if isinstance(batch, int) else None
        )
