# SPDX-License-Identifier: Apache-2.0
"""What is known of a converted model, in a JSON file beside it. Needs no torch: asking what is done costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facepipe.errors import StageError
from facepipe.specs import ModelSpec
from facepipe.store.files import read_json, sha256_of_file, sha256_of_json, sidecar_of, write_json

CONVERSION_VERSION = 1
"""Raised whenever a network, a pass or a step changes: models that an older facepipe converted are then redone."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a conversion and how far its model is from the PyTorch network, over all probes and outputs."""

    step: str
    nodes: int
    edits: int
    max_abs_difference: float
    cosine: float


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What `<final>.json` holds."""

    model: str
    weights_sha256: str
    onnx_sha256: str
    opset: int
    conversion: str  # digest of the conversion's version and of what the catalogue asks of it
    steps: tuple[Step, ...]
    versions: Mapping[str, str]


def sidecar_path(spec: ModelSpec, out: Path) -> Path:
    """The JSON file beside the final ONNX of `spec` in the folder `out`."""
    return sidecar_of(spec.final(out))


def weights_digest(model_file: Path) -> str | None:
    """The digest of the checkpoint behind a model file, as its sidecar tells; None where none does."""
    sidecar = sidecar_of(model_file)
    return read_json(sidecar).get("weights_sha256") if sidecar.is_file() else None


def conversion_digest(spec: ModelSpec) -> str:
    """Changes when a conversion of `spec` would have to be done again."""
    tensors = [asdict(tensor) for tensor in (*spec.inputs, *spec.outputs)]
    return sha256_of_json(
        [CONVERSION_VERSION, spec.network, str(spec.weights.origin), spec.opset, list(spec.passes), tensors]
    )


def write_report(report: ConversionReport, path: Path) -> None:
    """Write the sidecar whole."""
    write_json(path, asdict(report))


def read_report(path: Path) -> ConversionReport | None:
    """The sidecar's content; None when there is none, or another version of facepipe wrote it in another form."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = read_json(path)
        steps = tuple(Step(**step) for step in content.pop("steps"))
        return ConversionReport(steps=steps, **content)
    except (StageError, TypeError, KeyError, AttributeError):
        return None


def finished(spec: ModelSpec, weights_sha256: str | None, out: Path) -> ConversionReport | None:
    """The report of a conversion that need not be done again; None when it has to be done.

    Args:
        spec: the model.
        weights_sha256: digest of the weight file at hand; None where there is no file to hold the report against.
        out: the folder of the converted models.
    """
    report = read_report(sidecar_path(spec, out))
    if report is None or report.conversion != conversion_digest(spec):
        return None
    if weights_sha256 is not None and report.weights_sha256 != weights_sha256:
        return None
    final = spec.final(out)
    return report if final.is_file() and sha256_of_file(final) == report.onnx_sha256 else None
