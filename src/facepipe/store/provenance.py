# SPDX-License-Identifier: Apache-2.0
"""What a result came from: digests of model files and of the weights behind them, versions of what ran."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path

from facepipe.errors import StageError
from facepipe.store.files import read_json, sha256_of_file, sidecar_of

RECORDED = ("facepipe", "numpy", "Pillow", "onnxruntime", "openvino", "numba", "llvmlite", "torch", "onnx")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model file that ran."""

    model: str
    file: str
    sha256: str
    weights_sha256: str | None  # of the checkpoint it was converted from; None when no sidecar tells


def model_provenance(model: str, path: Path) -> ModelFile:
    """Digests of a model file, and of its weights as the sidecar `<file>.json` tells.

    Raises:
        StageError: the sidecar belongs to another file than the one beside it.
    """
    digest = sha256_of_file(path)
    sidecar = sidecar_of(path)
    weights = None
    if sidecar.is_file():
        content = read_json(sidecar)
        weights = content.get("weights_sha256")
        told = content.get("onnx_sha256")
        if path.suffix == ".onnx" and told is not None and told != digest:
            raise StageError(
                f"{path}: sha256 is {digest[:12]}..., its sidecar says {told[:12]}....",
                f"`facepipe onnx {model} --force`",
            )
    return ModelFile(model, path.name, digest, weights)


def versions() -> dict[str, str]:
    """The version of Python and of each installed package that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
