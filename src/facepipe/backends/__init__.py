# SPDX-License-Identifier: Apache-2.0
"""What executes a network. Back ends know tensors; they know no faces and no images."""

from __future__ import annotations

from collections.abc import Callable

from facepipe.backends.ascend.ais_bench import AisBench
from facepipe.backends.ascend.msame import Msame
from facepipe.backends.ascend.ort_cann import OnnxRuntimeCann
from facepipe.backends.ascend.pyacl import PyAcl
from facepipe.backends.base import Backend, RuntimeOptions
from facepipe.backends.null import Null
from facepipe.backends.openvino import OpenVino
from facepipe.backends.ort import OnnxRuntime
from facepipe.errors import BackendError

_BACKENDS: dict[str, Callable[[RuntimeOptions], Backend]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "pyacl": PyAcl,
    "msame": Msame,
    "ais_bench": AisBench,
    "onnxruntime-cann": OnnxRuntimeCann,
    "null": Null,
}

PROCESS_PER_CALL = frozenset({"msame", "ais_bench"})
"""Back ends whose every call starts a program and loads the model."""

ON_THE_HOST = frozenset({"onnxruntime", "openvino", "null"})
"""Back ends that compute on this processor, any shape, call after call in its own caches."""

GATHERED = 256
"""Rows that are gathered for one call of those: as many as a shard has, within what a float32 batch may weigh."""


def backend_names() -> tuple[str, ...]:
    """Every name that `backend_by_name` takes."""
    return tuple(_BACKENDS)


def rows_per_call(name: str, batch: int) -> int:
    """Rows worth gathering for one call of a back end: its batch, or many where every call starts a program."""
    return max(batch, GATHERED) if name in PROCESS_PER_CALL else batch


def backend_by_name(name: str, options: RuntimeOptions | None = None) -> Backend:
    """The back end of that name, untouched as yet.

    Raises:
        BackendError: there is no such back end; the choices are listed.
    """
    if name not in _BACKENDS:
        raise BackendError(f"backend '{name}' is not known, expected one of {', '.join(_BACKENDS)}.")
    return _BACKENDS[name](options or RuntimeOptions())
