# SPDX-License-Identifier: Apache-2.0
"""Whether an ONNX file holds all of its numbers, told from its bytes: those of other files would be loaded unhashed.

A tensor may name another file for its data (`external_data`). Libraries look for that beside the model, or, of a model
that they are given as bytes, in the current folder. No model of the catalogue does so; such a one is refused.
Source: protobuf's encoding (protobuf.dev/programming-guides/encoding), and the fields of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from facepipe.errors import BackendError

INSIDE: Final[Mapping[str, Mapping[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **{5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto"},
        **{22: "SparseTensorProto", 23: "SparseTensorProto"},
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Of each message the fields behind which there may be a tensor."""

OPSET_IMPORT: Final = 8  # of a ModelProto: domain (1) and version (2) of a set of operators
EXTERNAL_DATA: Final = 13  # of a TensorProto: where its numbers lie
DATA_LOCATION: Final = 14  # of a TensorProto: 1 for elsewhere
_VARINT, _EIGHT, _BYTES, _START, _END, _FOUR = range(6)  # how a field's value is written


def require_whole(content: bytes, where: Path | str, attempt: str | None = None) -> None:
    """Raise BackendError unless the bytes, which lay at `where`, are an ONNX model that names no other file."""
    try:
        is_whole = holds_its_numbers(content)
    except ValueError as error:
        raise BackendError(f"{where}: is no ONNX model ({error}).", attempt) from error
    if not is_whole:
        raise BackendError(
            f"{where}: keeps numbers in another file (external data), expected all of them in this one.", attempt
        )


def holds_its_numbers(content: bytes) -> bool:
    """Whether no tensor of an ONNX model names another file.

    Raises:
        ValueError: it is no protobuf message; in words.
    """
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        message, start, end = waiting.pop()
        for field, kind, low, high in _fields(content, start, end):
            if message == "TensorProto" and field == EXTERNAL_DATA:
                return False
            if message == "TensorProto" and field == DATA_LOCATION and (kind != _VARINT or any(content[low:high])):
                return False
            if kind == _BYTES and field in INSIDE[message]:
                waiting.append((INSIDE[message][field], low, high))
    return True


def opset_of(content: bytes) -> int:
    """The version of ONNX's own operators that a model was written for; 0 where it does not say.

    Raises:
        ValueError: it is no protobuf message; in words.
    """
    version = 0
    for field, kind, low, high in _fields(content, 0, len(content)):
        if (field, kind) != (OPSET_IMPORT, _BYTES):
            continue
        domain, number = b"", 0
        for inner, _, start, end in _fields(content, low, high):
            if inner == 1:
                domain = content[start:end]
            elif inner == 2:
                number, _ = _varint(content, start, end)
        if domain in (b"", b"ai.onnx"):
            version = max(version, number)
    return version


def _fields(content: bytes, place: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, kind, and the span of the value of each field; groups, which ONNX has not, are passed over."""
    groups = list[int]()
    while place < end:
        key, place = _varint(content, place, end)
        field, kind = key >> 3, key & 7
        low = place
        if kind == _VARINT:
            _, place = _varint(content, place, end)
        elif kind in (_EIGHT, _FOUR):
            place += 8 if kind == _EIGHT else 4
        elif kind == _BYTES:
            length, low = _varint(content, place, end)
            place = low + length
        elif kind == _START:
            groups.append(field)
        elif kind != _END or not groups or groups.pop() != field:
            raise ValueError(f"byte {low - 1} is no field's")
        if place > end:
            raise ValueError(f"a field ends at byte {place}, and what it is in at {end}")
        if not groups and kind not in (_START, _END):
            yield field, kind, low, place
    if groups:
        raise ValueError(f"what begins in it has no end before byte {end}")


def _varint(content: bytes, place: int, end: int) -> tuple[int, int]:
    """The number that begins at `place`, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = content[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value, place
    raise ValueError(f"the number before byte {place} has no end")
