# SPDX-License-Identifier: Apache-2.0
"""Models of a user's own: what is known of one is a flat TOML file, `<name>.toml`, in the folder of its ONNX.

Nothing is kept between calls: whoever looks a name up says in which folder, and the record is read there.
docs/file-formats.md tells of each field; docs/decisions/0025-own-models.md says why so.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from facepipe.catalogue.own_detectors import DETECTOR_FORMS, LANDMARKS, STRIDES
from facepipe.errors import DataError
from facepipe.specs import (
    Alignment,
    AtcOptions,
    Dim,
    FivePoint,
    Imported,
    MarginCrop,
    ModelSpec,
    Pixels,
    TensorSpec,
    UserFile,
    Weights,
    fixed,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT: Final = "facepipe.model.1"
SUFFIX: Final = ".toml"
NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
MOST_ROWS: Final = 1024
"""Of a model that takes any batch."""
_MOST_SIDE: Final = 8192
_HEADER: Final = (
    "# What facepipe knows of this model, by `facepipe import`; docs/file-formats.md tells of each field.\n"
)

Value = str | bool | int | float | Sequence["Value"]


def record_path(name: str, weights: Path) -> Path:
    """Where the record of the model `name` lies in the folder `weights`."""
    return weights / f"{name}{SUFFIX}"


def imported_names(weights: Path | None) -> tuple[str, ...]:
    """The names of the records in a folder, sorted; a TOML file that is no record of ours is none."""
    if weights is None or not weights.is_dir():
        return ()
    return tuple(sorted(path.stem for path in weights.glob(f"*{SUFFIX}") if _is_ours(path)))


def read_imported(name: str, weights: Path) -> ModelSpec | None:
    """The model `name` as its record in the folder `weights` tells; None where there is none.

    Raises:
        DataError: the record cannot be read, or a field is not what it has to be; it is named.
    """
    path = record_path(name, weights)
    if not NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        return spec_of(path.read_text(encoding="utf-8"), name)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}.", "mend it, or `facepipe import` it again, with --overwrite.") from error


def spec_of(text: str, name: str) -> ModelSpec:
    """The model that a record's text tells of.

    Raises:
        ValueError: it is no TOML, or a field is not what it has to be; in words.
    """
    fields = tomllib.loads(text)
    if fields.get("format") != FORMAT:
        raise ValueError(f"format is {fields.get('format')!r}, expected '{FORMAT}'")
    task = _taken(fields, "task", _one_of(*FIELDS))
    form = FIELDS[task]
    unknown = sorted(fields.keys() - form.keys() - {"format", "task"})
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no field of it, expected {', '.join(form)}")
    make = {"embed": _recogniser, "detect": _detector}[task]
    return make({key: _taken(fields, key, check) for key, check in form.items()}, name)


def record_text(spec: ModelSpec) -> str:
    """The record of an imported model, as `spec_of` reads it.

    Raises:
        ValueError: a text holds half a surrogate pair.
    """
    assert spec.imported is not None, f"{spec.name} is of the catalogue"
    fields = {"format": FORMAT, "task": spec.task, **_fields(spec, spec.imported)}
    return _HEADER + toml_lines(fields)


def toml_lines(fields: Mapping[str, Value]) -> str:
    """A flat mapping as TOML: a line for each field, its name a bare key.

    Raises:
        ValueError: a text that UTF-8 cannot hold, or a number that is none.
    """
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in fields.items())
    lines.encode()  # half a surrogate pair
    return lines


def _toml(value: Value) -> str:
    if isinstance(value, str):
        # A basic string of TOML is JSON's, but for DEL, which it wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number")
        return repr(value)
    return f"[{', '.join(map(_toml, value))}]"


def as_imported(
    spec: ModelSpec, file: str, sha256: str, threshold: float | None = None, checkpoint: str | None = None
) -> ModelSpec:
    """The same model as one that a record tells of; arguments as the fields of `specs.Imported`.

    What its answers depend on is the file, and what is shown to it and made of its outputs: no threshold, no licence,
    and nothing that a compiler is told.
    """
    told = {name: value for name, value in asdict(spec).items() if name in _ANSWERS}
    if spec.single_shot is not None:
        told["single_shot"] = {**told["single_shot"], "threshold": None, "suppression": None}  # settings of a run
    meaning = hashlib.sha256(json.dumps([sha256, told], sort_keys=True).encode()).hexdigest()
    return replace(spec, imported=Imported(file, sha256, meaning, threshold, checkpoint))


_ANSWERS: Final = ("task", "inputs", "outputs", "pixels", "alignment", "single_shot")


def _is_ours(path: Path) -> bool:
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("format", "")).startswith("facepipe.model.")
    except (OSError, ValueError):
        return False


def _fields(spec: ModelSpec, imported: Imported) -> dict[str, Value]:
    alignment = spec.alignment
    batch, _, height, width = spec.input.dims
    told: dict[str, Value] = {
        "file": imported.file,
        "sha256": imported.sha256,
        "network": spec.network,
        "opset": spec.opset,
        "input": spec.input.name,
        "batch": batch.low if batch.is_fixed else 0,
        "size": [height.low, width.low],
        "outputs": [tensor.name for tensor in spec.outputs],
        "pixels": spec.pixels.order,
        "mean": list(spec.pixels.mean),
        "scale": list(spec.pixels.scale),
        "parity_tolerance": spec.parity_tolerance,
        "aipp": spec.atc.aipp,
        "licence": spec.weights.licence,
    }
    if (shot := spec.single_shot) is not None:
        moving = not (height.is_fixed and width.is_fixed)
        told |= {"size": list(shot.size), "any_size": moving, "batched": shot.batched}
        return told | {"least_score": shot.threshold, "overlap": shot.suppression.overlap}
    told["dimension"] = spec.outputs[0].dims[1].low
    if isinstance(alignment, FivePoint):
        told |= {"alignment": "five-point", "template": [list(point) for point in alignment.template]}
    elif isinstance(alignment, MarginCrop):
        told |= {"alignment": "margin", "margin": alignment.margin}
    if imported.threshold is not None:
        told["threshold"] = imported.threshold
    if imported.checkpoint is not None:
        told["checkpoint"] = imported.checkpoint
    return told


def _recogniser(told: Mapping[str, Any], name: str) -> ModelSpec:
    batch = rows_of(told["batch"])
    height, width = told["size"]
    if len(told["outputs"]) != 1:
        raise ValueError(f"outputs are {', '.join(told['outputs'])}, expected one")
    spec = ModelSpec(
        name=name,
        task="embed",
        network=told["network"],
        inputs=(TensorSpec(told["input"], (batch, fixed(3), fixed(height), fixed(width))),),
        outputs=(TensorSpec(told["outputs"][0], (batch, fixed(told["dimension"]))),),
        pixels=Pixels(told["pixels"], told["mean"], told["scale"]),
        weights=own_weights(told["file"], told["sha256"], told["licence"]),
        opset=told["opset"],
        passes=(),
        atc=AtcOptions(aipp=told["aipp"]),
        alignment=_alignment(told),
        parity_tolerance=told["parity_tolerance"],
    )
    return as_imported(spec, told["file"], told["sha256"], told["threshold"], told["checkpoint"])


def _detector(told: Mapping[str, Any], name: str) -> ModelSpec:
    shot = DETECTOR_FORMS[told["network"]].single_shot
    spec = ModelSpec(
        name=name,
        task="detect",
        network=told["network"],
        inputs=(detector_input(told["input"], told["batch"], told["size"], any_size=told["any_size"]),),
        outputs=detector_outputs(told["outputs"], told["network"], told["batch"]),
        pixels=Pixels(told["pixels"], told["mean"], told["scale"]),
        weights=own_weights(told["file"], told["sha256"], told["licence"]),
        opset=told["opset"],
        passes=(),
        atc=AtcOptions(aipp=told["aipp"]),
        parity_tolerance=told["parity_tolerance"],
        single_shot=replace(
            shot,
            size=told["size"],
            threshold=told["least_score"],
            suppression=replace(shot.suppression, overlap=told["overlap"]),
            keypoints=shot.keypoints if len(told["outputs"]) == _count(told["network"]) else 0,
            batched=told["batched"],
        ),
    )
    return as_imported(spec, told["file"], told["sha256"])


def detector_input(name: str, batch: int, size: tuple[int, int], *, any_size: bool) -> TensorSpec:
    """The input of a detector: `batch` rows, or any where that is 0; of just this (height, width), or of any sides that
    are multiples of its coarsest stride."""
    step = STRIDES[-1]
    free = [Dim(axis, step, _MOST_SIDE, step=step) for axis in ("height", "width")]
    sides = free if any_size else [fixed(side) for side in size]
    return TensorSpec(name, (rows_of(batch), fixed(3), *sides))


def detector_outputs(names: Sequence[str], form: str, batch: int) -> tuple[TensorSpec, ...]:
    """The outputs of a detector of that form, in their order: with landmarks or, where the form allows it, without.

    Raises:
        ValueError: there are more or fewer, or they are called otherwise; in words.
    """
    parts, named = DETECTOR_FORMS[form].parts, DETECTOR_FORMS[form].named
    slots = [(f"{part}_{stride}", width) for part, width in parts for stride in STRIDES]
    without = [slot for slot in slots if not slot[0].startswith(LANDMARKS)]
    expected = without if len(names) == len(without) and not named else slots
    if len(names) != len(expected):
        raise ValueError(f"outputs are {len(names)}, expected {len(slots)}: {', '.join(name for name, _ in slots)}")
    if named and list(names) != [name for name, _ in expected]:
        order = ", ".join(name for name, _ in expected)
        raise ValueError(f"outputs are {', '.join(names)}, expected them called and ordered {order}")
    cells = [Dim(f"cells_{slot}", 1, 1 << 22) for slot, _ in expected]
    return tuple(
        TensorSpec(name, (rows_of(batch), cell, fixed(width)))
        for name, cell, (_, width) in zip(names, cells, expected, strict=True)
    )


def _count(form: str) -> int:
    return len(DETECTOR_FORMS[form].parts) * len(STRIDES)


def rows_of(batch: int) -> Dim:
    """The first axis of an imported model's tensors; 0: any batch, up to MOST_ROWS."""
    return fixed(batch) if batch else Dim("batch", 1, MOST_ROWS)


def own_weights(file: str, sha256: str, licence: str) -> Weights:
    """The weights of an imported model, which are the ONNX file itself."""
    return Weights(file, sha256, None, UserFile("your own: `facepipe import` puts it there"), licence)


def _alignment(told: Mapping[str, Any]) -> Alignment:
    height, width = told["size"]
    if height != width:
        raise ValueError(f"size is {height}x{width}, expected a square")
    kind, other = told["alignment"], {"five-point": "margin", "margin": "template"}[told["alignment"]]
    field = "template" if kind == "five-point" else "margin"
    if told[field] is None:
        raise ValueError(f"'{field}' is not there, expected it for alignment '{kind}'")
    if told[other] is not None:
        raise ValueError(f"'{other}' is there, expected none for alignment '{kind}'")
    return FivePoint(height, told["template"]) if kind == "five-point" else MarginCrop(height, told["margin"])


Check = Callable[[Any], Any]
"""A field's value, as TOML has it, to what it is here; raises ValueError with what was expected."""


def _taken(fields: Mapping[str, Any], key: str, check: Check) -> Any:
    """The value of a field; of one that may be absent None.

    Raises:
        ValueError: it is not what it has to be; in words.
    """
    value = fields.get(key)
    if value is None and key in _OPTIONAL:
        return None
    if value is None:
        raise ValueError(f"'{key}' is not there, expected a whole record")
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"'{key}' is {value!r}, expected {error}") from error


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:  # a NaN is beside every bound
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return check


def _pattern(pattern: str, words: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(words)
        return value

    return check


def _one_of(*choices: str) -> Check:
    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return check


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _several(check: Check, least: int, most: int | None = None) -> Check:
    """A list of `least` (up to `most`) such values, as a tuple."""
    highest = most or least
    many = str(least) if highest == least else f"{least} to {highest}"

    def checked(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not least <= len(value) <= highest:
            raise ValueError(f"a list of {many}")
        try:
            return tuple(map(check, value))
        except ValueError as error:
            raise ValueError(f"a list of {many}, each {error}") from error

    return checked


_OPTIONAL: Final = ("template", "margin", "threshold", "checkpoint")
_TEXT: Final = _pattern(r"[^\x00-\x1f\x7f]{1,500}", "a text on one line")
_SHA256: Final = _pattern(r"[0-9a-f]{64}", "64 hex digits")
_IMPORT: Final[Mapping[str, Check]] = {
    "file": _pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a file beside the record"),
    "sha256": _SHA256,
    "network": _TEXT,
    "opset": _whole(1, 1000),
    "input": _TEXT,
    "batch": _whole(0, MOST_ROWS),
    "size": _several(_whole(1, _MOST_SIDE), 2),
    "outputs": _several(_TEXT, 1, 16),
    "pixels": _one_of("RGB", "BGR"),
    "mean": _several(_number(0, 255), 3),
    "scale": _several(_number(1e-6, 1e6), 3),
    "aipp": _truth,
    "parity_tolerance": _number(0, 1),
    "licence": _TEXT,
}
FIELDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "embed": {
        **_IMPORT,
        "dimension": _whole(1, 1 << 16),
        "alignment": _one_of("five-point", "margin"),
        "template": _several(_several(_number(-_MOST_SIDE, _MOST_SIDE), 2), 5),
        "margin": _whole(0, _MOST_SIDE),
        "threshold": _number(-1, 1),
        "checkpoint": _SHA256,
    },
    "detect": {
        **_IMPORT,
        "network": _one_of(*DETECTOR_FORMS),
        "any_size": _truth,
        "batched": _truth,
        "least_score": _number(0, 1),
        "overlap": _number(0, 1),
    },
}
