# SPDX-License-Identifier: Apache-2.0
"""An ONNX file from nodes and constants, byte by byte. Needs neither torch nor onnx.

Sources: the field numbers are those of `onnx.proto`; the encoding is protobuf's (protobuf.dev/programming-guides/
encoding). `backends.onnx_wire` reads what is written here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from facepipe.specs import ModelSpec, TensorSpec

IR_VERSION: Final = 7  # of the file's form: what torch's exporter writes for opset 13
PRODUCER: Final = "facepipe"
_TYPES: Final[Mapping[str, int]] = {"float32": 1, "int64": 7}  # TensorProto.DataType
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7  # AttributeProto.AttributeType

Attribute: TypeAlias = int | float | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: its ONNX name, the names of the tensors that it reads and makes, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def onnx_of_nodes(spec: ModelSpec, nodes: Iterable[Node], constants: Mapping[str, np.ndarray]) -> bytes:
    """The model as a file, with the inputs, outputs and opset of `spec`.

    Args:
        nodes: in the order in which they run. Each is named for what it makes.
        constants: float32 or int64, by the name that the nodes read.
    """
    graph = [_part(1, _node(node)) for node in nodes]
    graph += [_text(2, spec.name)]
    graph += [_part(5, _tensor(name, array)) for name, array in constants.items()]
    graph += [_part(11, _value(tensor)) for tensor in spec.inputs]
    graph += [_part(12, _value(tensor)) for tensor in spec.outputs]
    model = [_number(1, IR_VERSION), _text(2, PRODUCER), _part(7, b"".join(graph)), _part(8, _number(2, spec.opset))]
    return b"".join(model)


def _node(node: Node) -> bytes:
    parts = [_text(1, name) for name in node.inputs]
    parts += [_text(2, node.output), _text(3, node.output), _text(4, node.operator)]
    parts += [_part(5, _attribute(name, value)) for name, value in sorted(node.attributes.items())]
    return b"".join(parts)


def _attribute(name: str, value: Attribute) -> bytes:
    head = _text(1, name)
    if isinstance(value, float):
        return head + _key(2, 5) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return head + _number(3, value) + _number(20, _INT)
    if isinstance(value, str):
        return head + _text(4, value) + _number(20, _STRING)
    return head + b"".join(_number(8, one) for one in value) + _number(20, _INTS)


def _tensor(name: str, array: np.ndarray) -> bytes:
    sizes = b"".join(_number(1, size) for size in array.shape)
    numbers = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return sizes + _number(2, _TYPES[array.dtype.name]) + _text(8, name) + _part(9, numbers)


def _value(tensor: TensorSpec) -> bytes:
    """A float32 input or output: fixed axes by their size, the others by their name."""
    axes = b"".join(_part(1, _number(1, dim.low) if dim.is_fixed else _text(2, dim.name)) for dim in tensor.dims)
    kind = _number(1, _TYPES["float32"]) + _part(2, axes)
    return _text(1, tensor.name) + _part(2, _part(1, kind))


def _text(field_number: int, text: str) -> bytes:
    return _part(field_number, text.encode())


def _part(field_number: int, content: bytes) -> bytes:
    return _key(field_number, 2) + _varint(len(content)) + content


def _number(field_number: int, value: int) -> bytes:
    return _key(field_number, 0) + _varint(value)


def _key(field_number: int, kind: int) -> bytes:
    return _varint(field_number << 3 | kind)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first. Nothing that is written here is below 0."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*written, value))
