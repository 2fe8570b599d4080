# SPDX-License-Identifier: Apache-2.0
"""ONNX models on an Ascend chip through onnxruntime's CANN provider, which compiles one .om for each shape as it runs.

The provider falls back to the CPU without an error: the list of available providers names it even where there is no
CANN, and a session that asks for it is made on the CPU. So a session is held against what it says of itself, and
onnxruntime is told not to fall back. What was asked for is what runs, or it fails.
Source: onnxruntime.ai, CANN execution provider; wheel onnxruntime-cann 1.24.4.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from facepipe.backends.base import RuntimeOptions, Session, Traits, why_not_honoured
from facepipe.backends.onnx_wire import require_whole
from facepipe.backends.ort import OnnxRuntimeSession, let_go
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

PROVIDER = "CANNExecutionProvider"
_PRECISION = {"f32": "force_fp32", "f16": "force_fp16"}


@dataclass(frozen=True, slots=True)
class OnnxRuntimeCann:
    """The back end `onnxruntime-cann`. It computes in half precision unless the options say f32."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "onnxruntime-cann"
    traits: Traits = Traits(packages=("onnxruntime-cann",))

    def why_unavailable(self) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "no module named 'onnxruntime'; pip install onnxruntime-cann 'numpy<2'."
        import onnxruntime

        if PROVIDER not in onnxruntime.get_available_providers():
            return (
                "this onnxruntime is built without CANN; pip install onnxruntime-cann 'numpy<2' in an environment of "
                "its own: it takes the place of onnxruntime."
            )
        return why_not_honoured(self.options, tuple(_PRECISION), devices=True)

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session that runs on the chip.

        Raises:
            BackendError: onnxruntime made it on the CPU, or cannot load the file.
        """
        import onnxruntime

        path = model.path
        require_whole(model.content, path)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        # Nodes that the chip does not take would go to the CPU in silence; with this, loading fails instead.
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            inner = onnxruntime.InferenceSession(
                model.content, settings, providers=[(PROVIDER, provider_options(self.options))], enable_fallback=0
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated classes; all mean "this does not load"
            raise BackendError(
                f"{path}: onnxruntime cannot load it for CANN ({str(error).splitlines()[0].rpartition(') ')[2]}).",
                "source /usr/local/Ascend/ascend-toolkit/set_env.sh, or --backend pyacl.",
            ) from error
        inner.disable_fallback()
        let_go(inner)
        check_provider(inner, path)
        batch = inner.get_inputs()[0].shape[0]
        names = tuple(tensor.name for tensor in inner.get_inputs())
        return OnnxRuntimeSession(inner, names, batch if isinstance(batch, int) else None)


def provider_options(options: RuntimeOptions) -> dict[str, str]:
    """The provider's options, as strings."""
    return {
        "device_id": str(options.device),
        "precision_mode": _PRECISION[options.precision],
        "enable_cann_graph": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }


def check_provider(session: Any, path: Path) -> None:
    """Raise BackendError unless the session runs where it was asked to: the list of available ones proves nothing."""
    running = session.get_providers()
    if not running or running[0] != PROVIDER:
        raise BackendError(
            f"{path}: onnxruntime runs it on {', '.join(running) or 'nothing'}, expected {PROVIDER} "
            f"(onnxruntime-cann {_version()}).",
            "source /usr/local/Ascend/ascend-toolkit/set_env.sh: libascendcl.so must be found. --backend onnxruntime "
            "is the CPU.",
        )


def _version() -> str:
    try:
        return metadata.version("onnxruntime-cann")
    except metadata.PackageNotFoundError:
        return "not installed"
