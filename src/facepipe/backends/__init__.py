# SPDX-License-Identifier: Apache-2.0
"""What executes a network. Back ends know tensors; they know no faces and no images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from facepipe.backends.ascend.ais_bench import AisBench
from facepipe.backends.ascend.msame import Msame
from facepipe.backends.ascend.ort_cann import OnnxRuntimeCann
from facepipe.backends.ascend.pyacl import PyAcl
from facepipe.backends.base import Backend, MadeBy, RuntimeOptions
from facepipe.backends.by_model import ByModel
from facepipe.backends.native.backend import Native
from facepipe.backends.null import Null
from facepipe.backends.openvino import OpenVino
from facepipe.backends.ort import OnnxRuntime
from facepipe.backends.ort_gpu import OnnxRuntimeCuda, OnnxRuntimeTensorRt
from facepipe.errors import BackendError, did_you_mean

_BACKENDS: dict[str, Callable[[RuntimeOptions], Backend]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "native": Native,
    "native+onnxruntime": lambda options: ByModel(Native(options), OnnxRuntime(options)),
    "native+openvino": lambda options: ByModel(Native(options), OpenVino(options)),
    "pyacl": PyAcl,
    "msame": Msame,
    "ais_bench": AisBench,
    "onnxruntime-cann": OnnxRuntimeCann,
    "onnxruntime-cuda": OnnxRuntimeCuda,
    "onnxruntime-tensorrt": OnnxRuntimeTensorRt,
    "null": Null,
}

AUTO: Final = "auto"
"""In place of a name: the fastest of `FASTEST_FIRST` that can run here. See `resolve_backend`."""

FASTEST_FIRST: Final = ("native+openvino", "native+onnxruntime", "openvino", "onnxruntime")
"""Pairings for a host, by the processor time of a photograph in f32; docs/decisions/0001-native-engine.md measures."""


def backend_names() -> tuple[str, ...]:
    """Every name that `backend_by_name` takes."""
    return tuple(_BACKENDS)


def backend_by_name(name: str, options: RuntimeOptions | None = None) -> Backend:
    """The back end of that name, untouched as yet.

    Raises:
        BackendError: there is no such back end; the choices are listed.
    """
    if name not in _BACKENDS:
        choices = [AUTO, *_BACKENDS]
        raise BackendError(
            f"backend '{name}' is not known, expected one of {', '.join(_BACKENDS)}.", did_you_mean(name, choices)
        )
    return _BACKENDS[name](options or RuntimeOptions())


def takes_compiled(name: str) -> bool:
    """Whether the back end of that name, or of "auto", runs models that were compiled, for sizes that they tell.

    Raises:
        BackendError: there is no such back end.
    """
    return name != AUTO and backend_by_name(name).traits.compiled


def resolve_backend(
    name: str, options: RuntimeOptions | None = None, made_by: MadeBy | None = None, where: Path | None = None
) -> Backend:
    """The back end of that name; for "auto" what made `where`, else the fastest that can run here.

    It is resolved once, before any work begins; what is recorded and told afterwards is the name of what was found.

    Args:
        made_by: what made the run or the gallery `where`, if there is one.

    Raises:
        BackendError: there is no such back end; or none of those for a host can run here, each with its reason; or
            "auto" would go on with another arithmetic than `made_by`.
    """
    if name != AUTO:
        return backend_by_name(name, options)
    if made_by is not None:
        return _as_before(options or RuntimeOptions(), made_by, where)
    reasons = []
    for candidate in FASTEST_FIRST:
        backend = backend_by_name(candidate, options)
        reason = backend.why_unavailable()
        if reason is None:
            return backend
        reasons.append(f"{candidate}: {reason}")
    raise BackendError(
        f"backend 'auto': none can run here ({' '.join(reasons)}), expected one.", "pip install 'facepipe[ort]'."
    )


def _as_before(options: RuntimeOptions, made_by: MadeBy, where: Path | None) -> Backend:
    if made_by.precision != options.precision:
        raise BackendError(
            f"{where}: was made in {made_by.precision} by {made_by.backend}, this asks for {options.precision}.",
            f"--precision {made_by.precision}, or --backend with a name to have it otherwise.",
        )
    backend = backend_by_name(made_by.backend, options)
    if (reason := backend.why_unavailable()) is not None:
        raise BackendError(
            f"{where}: was made by '{made_by.backend}', which is unavailable here: {reason}",
            "--backend with the name of another, to have it otherwise.",
        )
    return backend
