# SPDX-License-Identifier: Apache-2.0
"""A back end in a few words: the library that it runs by, with its version."""

from __future__ import annotations

from importlib import metadata

from facepipe.backends.base import Backend
from facepipe.backends.by_model import ByModel

# Distributions that a back end's module may come from, likeliest first.
_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-cann", "onnxruntime-openvino"),
    "onnxruntime-cuda": ("onnxruntime-gpu",),
    "onnxruntime-tensorrt": ("onnxruntime-gpu",),
    "openvino": ("openvino",),
    "native": ("llvmlite",),
}


def about(backend: Backend) -> str:
    """Which library an available back end is, or what each of a pair runs."""
    if isinstance(backend, ByModel):
        return f"{backend.first.name} runs small chains of layers in f32, {backend.second.name} the other networks"
    projects = _DISTRIBUTIONS.get(backend.name, ())
    project, version = next(((name, found) for name in projects if (found := version_of(name))), (None, None))
    if version is None:
        return f"runs {'.om' if backend.traits.compiled else '.onnx'} files"
    return f"version {version}" if project == backend.name else f"by {project} {version}"


def version_of(project: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(project)
    except metadata.PackageNotFoundError:
        return None
