# SPDX-License-Identifier: Apache-2.0
"""What a result came from: digests of model files and of the weights behind them, versions of what ran."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path

from facepipe.store.files import sha256_of_file
from facepipe.store.made_from import verified_record

RECORDED = (
    *("facepipe", "numpy", "Pillow", "onnxruntime", "openvino", "numba", "llvmlite"),
    *("torch", "onnx", "onnxsim", "nncf"),
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model file that ran."""

    model: str
    file: str
    sha256: str
    weights_sha256: str | None  # of the checkpoint it was converted from; None when no record tells
    engine: str  # the back end that executed it; of a pair such as native+openvino the one of the two


def model_provenance(model: str, path: Path, engine: str) -> ModelFile:
    """Digests of a model file, and of its weights as the record beside it tells; and what executes it.

    Raises:
        StageError: the record cannot be read, or belongs to another file than the one beside it.
    """
    record = verified_record(path)
    digest = sha256_of_file(path) if record is None else record.sha256
    return ModelFile(
        model, path.name, digest, None if record is None else record.made_from.inputs.get("weights"), engine
    )


def versions() -> dict[str, str]:
    """The version of Python and of each installed package that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
