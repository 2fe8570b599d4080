# SPDX-License-Identifier: Apache-2.0
"""What is known of a converted model, and whether it has to be converted again. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from facepipe.specs import ModelSpec
from facepipe.store import owned
from facepipe.store.files import sha256_of_file, sha256_of_json
from facepipe.store.made_from import MadeFrom, Record, is_current, read_record, require_own, write_record

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
    """What the record beside `<name>.simplified.onnx` tells."""

    model: str
    weights_sha256: str
    onnx_sha256: str
    opset: int
    steps: tuple[Step, ...]
    versions: Mapping[str, str]


def conversion_digest(spec: ModelSpec) -> str:
    """Changes when a conversion of `spec` would have to be done again."""
    tensors = [asdict(tensor) for tensor in (*spec.inputs, *spec.outputs)]
    return sha256_of_json(
        [CONVERSION_VERSION, spec.network, str(spec.weights.origin), spec.opset, list(spec.passes), tensors]
    )


def write_report(
    spec: ModelSpec, out: Path, weights_sha256: str, steps: tuple[Step, ...], versions: Mapping[str, str]
) -> ConversionReport:
    """Write the record beside the final ONNX of `spec` in `out`, which is there already."""
    before = (path for path in (spec.exported(out), spec.fixed(out)) if path.is_file())
    facts = {
        "opset": spec.opset,
        "steps": [asdict(step) for step in steps],
        "files": {path.name: sha256_of_file(path) for path in before},
    }
    made_from = MadeFrom({"weights": weights_sha256}, _settings(spec), versions)
    again = f"facepipe onnx {spec.name} --force"
    return _report(write_record(spec.final(out), spec.name, made_from, facts, again=again))


def require_own_models(spec: ModelSpec, out: Path) -> None:
    """See to it, before work, that the files of a conversion may be written; see `made_from.require_own`.

    Raises:
        StageError: there is a file that nothing vouches for; it is named.
    """
    require_own(spec.final(out))
    record = read_record(spec.final(out))
    told = {} if record is None else record.facts.get("files", {})
    for path in (spec.exported(out), spec.fixed(out)):
        if path.is_file() and not path.is_symlink() and sha256_of_file(path) == told.get(path.name):
            owned.adopt(path)
        owned.require_free((path,), overwrite=False, attempt="move it away; nothing vouches for it.")


def finished(spec: ModelSpec, weights_sha256: str | None, out: Path) -> ConversionReport | None:
    """The report of a conversion that need not be done again; None when it has to be done.

    Args:
        spec: the model.
        weights_sha256: digest of the weight file at hand; None where there is no file to hold the report against.
        out: the folder of the converted models.
    """
    inputs = {} if weights_sha256 is None else {"weights": weights_sha256}
    if not is_current(spec.final(out), MadeFrom(inputs, _settings(spec))):
        return None
    record = read_record(spec.final(out))
    return None if record is None else _report(record)


def _settings(spec: ModelSpec) -> dict[str, object]:
    return {"conversion": conversion_digest(spec)}


def _report(record: Record) -> ConversionReport:
    made, facts = record.made_from, record.facts
    steps = tuple(Step(**step) for step in facts["steps"])
    return ConversionReport(
        record.model, made.inputs["weights"], record.sha256, int(facts["opset"]), steps, made.versions
    )
