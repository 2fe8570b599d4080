# SPDX-License-Identifier: Apache-2.0
"""onnxruntime on the CPU: the stand-in for every board, and the reference of every other back end."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facepipe.backends.base import RuntimeOptions, Session, Traits, why_not_honoured
from facepipe.backends.onnx_wire import require_whole
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent, read_model

if TYPE_CHECKING:
    import onnxruntime


PRECISIONS = ("f32", "int8", "int8-all")  # from quantised files; of which networks: see `network_precision`


@dataclass(frozen=True, slots=True)
class OnnxRuntimeSession:
    """One onnxruntime session. Every call may have another shape."""

    inner: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    fixed_batch: int | None

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        feeds = dict(zip(self.input_names, inputs, strict=True))
        try:
            return tuple(self.inner.run(None, feeds))
        except Exception as error:  # as in `_open`: its classes share no base below Exception
            shapes = ", ".join(str(list(array.shape)) for array in inputs)
            raise BackendError(
                f"onnxruntime: the model did not run on {shapes} ({str(error).splitlines()[0]}).",
                "`facepipe onnx` makes the model anew; it may be another network's.",
            ) from error

    def close(self) -> None:
        """onnxruntime frees with the object; there is no handle to give back."""


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """The back end `onnxruntime`."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "onnxruntime"
    traits: Traits = Traits(on_host=True, packages=("onnxruntime",))

    def why_unavailable(self) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "no module named 'onnxruntime'; pip install 'facepipe[ort]'."
        return why_not_honoured(self.options, PRECISIONS)

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session on the CPU provider alone, so that what runs is what was asked for.

        Raises:
            BackendError: the file is no ONNX model that onnxruntime can run.
        """
        return _session(_open(model, self.options, f"`facepipe onnx {spec.name}`"))


@dataclass(frozen=True, slots=True)
class RawTensor:
    """One input or output as an ONNX file itself declares it; an axis of any size is None."""

    name: str
    dtype: str  # NumPy's name
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class RawSession:
    """Any ONNX model, known by what its file says of itself: the catalogue is not asked."""

    inner: onnxruntime.InferenceSession
    inputs: tuple[RawTensor, ...]
    outputs: tuple[RawTensor, ...]

    def run(self, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """The outputs by position, for one array for each input.

        Raises:
            BackendError: onnxruntime refuses the arrays, or fails on them.
        """
        feeds = {tensor.name: array for tensor, array in zip(self.inputs, arrays, strict=True)}
        try:
            return tuple(np.asarray(output) for output in self.inner.run(None, feeds))
        except Exception as error:  # as in `_open`: its classes share no base below Exception
            raise BackendError(f"onnxruntime: the model did not run ({str(error).splitlines()[0]}).") from error


def load_raw(path: Path, options: RuntimeOptions) -> RawSession:
    """A session over any ONNX file, on the CPU provider.

    Raises:
        BackendError: the file is not there, is no ONNX model, or has an input or output that is no plain tensor.
    """
    if not path.is_file():
        raise BackendError(f"{path}: no such model file, expected an ONNX model.")
    return raw_session(read_model(path), options)


def raw_session(model: ModelContent, options: RuntimeOptions, attempt: str | None = None) -> RawSession:
    """`load_raw` of bytes that were read already; `attempt`: what the error advises."""
    inner, path = _open(model, options, attempt), model.path
    return RawSession(inner, _raw_tensors(path, inner.get_inputs()), _raw_tensors(path, inner.get_outputs()))


_DTYPES = {
    "float": "float32",
    "float16": "float16",
    "double": "float64",
    "bool": "bool",
    **{name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}


def _raw_tensors(path: Path, declared: list[Any]) -> tuple[RawTensor, ...]:
    tensors = []
    for tensor in declared:
        kind = tensor.type.removeprefix("tensor(").removesuffix(")")
        if kind not in _DTYPES:
            raise BackendError(f"{path}: '{tensor.name}' is {tensor.type}, expected a tensor of plain numbers.")
        axes = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in tensor.shape)
        tensors.append(RawTensor(tensor.name, _DTYPES[kind], axes))
    return tuple(tensors)


def _open(model: ModelContent, options: RuntimeOptions, attempt: str | None) -> onnxruntime.InferenceSession:
    import onnxruntime

    require_whole(model.content, model.path, attempt)
    settings = _settings(options)
    # It would keep a plan of the memory for every shape that it meets: more memory (`make bench`), and
    # no faster.
    settings.enable_mem_pattern = False
    try:
        opened = onnxruntime.InferenceSession(model.content, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes; all mean "this file does not load"
        where = model.path
        raise BackendError(f"{where}: onnxruntime cannot load it ({str(error).splitlines()[0]}).", attempt) from error
    let_go(opened)
    return opened


def _settings(options: RuntimeOptions) -> onnxruntime.SessionOptions:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    return settings


def _session(inner: onnxruntime.InferenceSession) -> OnnxRuntimeSession:
    batch = inner.get_inputs()[0].shape[0]
    names = tuple(tensor.name for tensor in inner.get_inputs())
    return OnnxRuntimeSession(inner, names, batch if isinstance(batch, int) else None)


def open_on(
    device: str,
    provider: str,
    provider_options: dict[str, str],
    model: ModelContent,
    options: RuntimeOptions,
    attempt: str,
) -> OnnxRuntimeSession:
    """A session on a device's provider, never on the CPU's in its place.

    The list of available providers names one whose libraries are not there; a session that asks for it is then made on
    the CPU without an error, and so are single nodes that a device does not take. onnxruntime is told to do neither,
    and the session is held against what it says of itself.

    Args:
        device: what it is called in errors: CANN, CUDA, TensorRT.
        attempt: what to do where it does not run there.

    Raises:
        BackendError: onnxruntime made it elsewhere, or cannot load the file.
    """
    import onnxruntime

    require_whole(model.content, model.path)
    settings = _settings(options)
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        inner = onnxruntime.InferenceSession(
            model.content, settings, providers=[(provider, provider_options)], enable_fallback=0
        )
    except Exception as error:  # onnxruntime raises a dozen unrelated classes; all mean "this does not load"
        reason = str(error).splitlines()[0].rpartition(") ")[2]
        raise BackendError(f"{model.path}: onnxruntime cannot load it for {device} ({reason}).", attempt) from error
    inner.disable_fallback()
    let_go(inner)
    require_provider(inner, provider, model.path, attempt)
    return _session(inner)


def require_provider(session: Any, provider: str, path: Path, attempt: str) -> None:
    """Raise BackendError unless the session runs where it was asked to."""
    running = session.get_providers()
    if not running or running[0] != provider:
        raise BackendError(
            f"{path}: onnxruntime runs it on {', '.join(running) or 'nothing'}, expected {provider}.", attempt
        )


def let_go(session: onnxruntime.InferenceSession) -> None:
    """Drop the model's bytes, which the session keeps to be made again on another provider: as large as the network."""
    session._model_bytes = None
