# SPDX-License-Identifier: Apache-2.0
"""ONNX models on an Ascend chip through onnxruntime's CANN provider, which compiles one .om for each shape as it runs.

What was asked for is what runs, or it fails: `backends.ort.open_on`.
Source: onnxruntime.ai, CANN execution provider; wheel onnxruntime-cann 1.24.4.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

from facepipe.backends.base import RuntimeOptions, Session, Traits, why_not_honoured
from facepipe.backends.ort import open_on
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

PROVIDER = "CANNExecutionProvider"
_PRECISION = {"f32": "force_fp32", "f16": "force_fp16"}
_ATTEMPT = (
    "source /usr/local/Ascend/ascend-toolkit/set_env.sh: libascendcl.so must be found; or --backend pyacl. --backend "
    "onnxruntime is the CPU."
)


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
        return open_on("CANN", PROVIDER, provider_options(self.options), model, self.options, _ATTEMPT)


def provider_options(options: RuntimeOptions) -> dict[str, str]:
    """The provider's options, as strings."""
    return {
        "device_id": str(options.device),
        "precision_mode": _PRECISION[options.precision],
        "enable_cann_graph": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }
