# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU: the same ONNX files, compiled for this processor, in f32, bf16 or INT8.

What a network computes in is read back from the compiled model, layer by layer, and a difference to what was asked for
is an error: OpenVINO itself answers a wish for bf16 on a processor without it with f32, and says nothing.
"""

from __future__ import annotations

import importlib.util
import io
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facepipe.backends.base import RuntimeOptions, Session, Traits, network_precision, why_not_honoured
from facepipe.backends.cache import kept
from facepipe.backends.onnx_wire import require_whole
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

if TYPE_CHECKING:
    import openvino

PRECISIONS: Final = ("f32", "bf16", "int8", "bf16-all")
HEAVY_LAYERS: Final = ("Convolution", "FullyConnected", "MatMul")  # where nearly all of the arithmetic is
INT8_SHARE: Final = 0.8  # least share of the heavy layers of a quantised network that must run in eight bits


@dataclass(frozen=True, slots=True)
class OpenVinoSession:
    """One compiled model. Every call may have another shape, unless the file itself fixes it. Threads take turns: a
    request has one memory for its outputs.

    Attributes:
        requests: inference requests; a call is shared among them, so that each computes on threads of its own.
        precision: what the heavy layers compute in, as the compiled model tells.
    """

    requests: tuple[openvino.InferRequest, ...]
    fixed_batch: int | None
    precision: str
    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        try:
            with self.lock:
                if len(self.requests) == 1 or self.fixed_batch is not None:
                    self.requests[0].infer(list(inputs), share_inputs=True)
                    return _outputs(self.requests[0])
                return self._run_shared(inputs)
        except RuntimeError as error:  # the only class that OpenVINO's own errors have
            raise BackendError(f"{self.path}: OpenVINO failed ({_last_line(error)}).") from error

    def _run_shared(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """The rows of one call dealt out among the requests, which run at the same time."""
        rows = len(inputs[0])
        size = -(-rows // len(self.requests))
        started = []
        for request, low in zip(self.requests, range(0, rows, size), strict=False):
            request.start_async([np.ascontiguousarray(array[low : low + size]) for array in inputs], share_inputs=True)
            started.append(request)
        for request in started:
            request.wait()
        parts = [_outputs(request) for request in started]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def close(self) -> None:
        """OpenVINO frees with the object; there is no handle to give back."""


@dataclass(frozen=True, slots=True)
class OpenVino:
    """The back end `openvino`.

    Precisions: `f32`; `bf16` and `int8`, where the recogniser computes in that and detectors stay in f32, so that the
    boxes stay; and `bf16-all`, where detectors compute in bf16 too, which moves boxes.
    """

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "openvino"
    traits: Traits = Traits(on_host=True, packages=("openvino",))

    def why_unavailable(self) -> str | None:
        if importlib.util.find_spec("openvino") is None:
            return "no module named 'openvino'; pip install 'facepipe[openvino]'."
        return why_not_honoured(self.options, PRECISIONS, hints=("latency", "throughput"))

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A model compiled for the CPU device alone.

        Raises:
            BackendError: the file is no ONNX model that OpenVINO can run, or this processor does not compute in the
                precision that was asked for.
        """
        import openvino

        asked, path, attempt = (
            network_precision(spec, self.options.precision),
            model.path,
            f"`facepipe onnx {spec.name}`",
        )
        require_whole(model.content, path, attempt)
        try:
            compiled = _compiled(openvino.Core(), model, _properties(self.options, asked), self.options.cache)
            precision = _precision_that_runs(compiled)
            streams = int(compiled.get_property("NUM_STREAMS"))
            requests = tuple(compiled.create_infer_request() for _ in range(streams))
        except RuntimeError as error:
            raise BackendError(f"{path}: OpenVINO cannot load it ({_last_line(error)}).", attempt) from error
        if precision != asked:
            raise BackendError(
                f"{path}: OpenVINO would compute {spec.name} in {precision}, expected {asked} as was asked for.",
                "--precision f32; bf16 wants a processor with avx512_bf16 or amx_bf16, int8 a quantised model.",
            )
        batch = compiled.input(0).get_partial_shape()[0]
        return OpenVinoSession(requests, batch.get_length() if batch.is_static else None, precision, path)


def _compiled(
    core: openvino.Core, model: ModelContent, properties: dict[str, Any], cache: Path | None
) -> openvino.CompiledModel:
    """Compiled, or read from the cache, which is ours: OpenVINO's own knows a model by path, time and size, so that
    another of the same three is taken for it, and uses what it reads there however damaged."""
    import openvino

    if cache is None:
        return core.compile_model(core.read_model(model.content), "CPU", properties)

    def make() -> bytes:
        stream = io.BytesIO()
        with model.copied() as copy:  # from bytes OpenVINO makes two more copies of them in memory
            compiled = core.compile_model(core.read_model(copy), "CPU", properties)
        compiled.export_model(stream)
        return stream.getvalue()

    processor = {name: core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")}
    made_of = json.dumps([model.sha256, openvino.get_version(), processor, properties])
    blob = kept(cache, "openvino", made_of, ".blob", make)
    # Also what was compiled just now: it holds the model's own numbers beside those that it computes with.
    return core.import_model(blob, "CPU", properties)


def _properties(options: RuntimeOptions, precision: str) -> dict[str, Any]:
    # The layers that a quantised file leaves in floating point stay in f32.
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": options.threads if options.hint == "throughput" else 1,
        "PERFORMANCE_HINT": options.hint.upper(),
        "ENABLE_CPU_PINNING": False,  # two worker processes would pin themselves to the same core
    }


def _precision_that_runs(compiled: openvino.CompiledModel) -> str:
    """What the heavy layers of a compiled model compute in: "f32", "bf16" or "int8"; several joined by "+"."""
    seen = []
    for layer in compiled.get_runtime_model().get_ops():
        about = layer.get_rt_info()
        if _text(about["layerType"]) in HEAVY_LAYERS:
            seen.append(_text(about["runtimePrecision"]))
    if not seen:
        return _text(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    eight = sum(name in ("i8", "u8") for name in seen)
    if eight >= INT8_SHARE * len(seen):
        return "int8"
    return "+".join(sorted(set(seen)))


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))


def _outputs(request: openvino.InferRequest) -> tuple[np.ndarray, ...]:
    """Copies: the request writes its next answers into the same memory."""
    return tuple(np.array(tensor.data) for tensor in request.output_tensors)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
