# SPDX-License-Identifier: Apache-2.0
"""What executes a network. Back ends know tensors; they know no faces and no images."""

from __future__ import annotations

from facepipe.backends.base import Backend, RuntimeOptions
from facepipe.backends.null import Null
from facepipe.backends.ort import OnnxRuntime
from facepipe.errors import BackendError

_BACKENDS = {"onnxruntime": OnnxRuntime, "null": Null}


def backend_names() -> tuple[str, ...]:
    """Every name that `backend_by_name` takes."""
    return tuple(_BACKENDS)


def backend_by_name(name: str, options: RuntimeOptions | None = None) -> Backend:
    """The back end of that name, untouched as yet.

    Raises:
        BackendError: there is no such back end; the choices are listed.
    """
    if name not in _BACKENDS:
        raise BackendError(f"backend '{name}' is not known, expected one of {', '.join(_BACKENDS)}.")
    return _BACKENDS[name](options or RuntimeOptions())
