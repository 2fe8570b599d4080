# SPDX-License-Identifier: Apache-2.0
"""An ONNX file as a chain of layers, where it is one: convolutions with PReLU, pooling, dense layers, heads.

A dense layer is a convolution whose kernel is as large as its input. The heads are one layer, cut after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.backends.onnx_wire import require_whole
from facepipe.errors import BackendError


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution without padding, stride 1, and PReLU after it.

    Attributes:
        weights: float32 [O, C, h, w].
        bias: float32 [O].
        slopes: float32 [O]; None where no PReLU follows.
    """

    weights: np.ndarray
    bias: np.ndarray
    slopes: np.ndarray | None

    @property
    def taps(self) -> int:
        """Rows of the map that one output sees."""
        return int(self.weights.shape[2])

    def outputs(self, size: int) -> int:
        """Rows of the map after it, of so many before."""
        return size - self.taps + 1


@dataclass(frozen=True, slots=True)
class Pooling:
    """The greatest of square windows, the last of which may reach beyond the map."""

    size: int
    stride: int

    @property
    def taps(self) -> int:
        """Rows of the map that one output sees; the last window alone may see fewer."""
        return self.size

    def outputs(self, size: int) -> int:
        """Rows of the map after it, of so many before."""
        return -(-(size - self.size) // self.stride) + 1


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A whole network.

    Attributes:
        layers: the first is a 3x3 convolution and the second pools it; the last is the heads', a 1x1 convolution.
        heads: channels of each output, in the file's order.
        are_maps: outputs are [N, C, rows, columns]; else [N, C].
        side: rows and columns of the input; None where any will do.
    """

    layers: tuple[Convolution | Pooling, ...]
    heads: tuple[int, ...]
    are_maps: bool
    side: int | None

    @property
    def planes(self) -> int:
        """Channels of the input."""
        first = self.layers[0]
        assert isinstance(first, Convolution), "chain_from_onnx sees to it"
        return int(first.weights.shape[1])

    def admits(self, size: int) -> bool:
        """Whether an input may have so many rows, or columns: the file's own number, or enough for every layer."""
        if self.side is not None:
            return size == self.side
        for layer in self.layers:
            if size < layer.taps:
                return False
            size = layer.outputs(size)
        return True


def chain_from_onnx(content: bytes, where: Path | str) -> Chain:
    """The chain that an ONNX file is.

    Args:
        content: of the file.
        where: it lay, for messages.

    Raises:
        BackendError: it is no ONNX file, or its graph is no such chain.
    """
    import onnx
    from onnx import helper, numpy_helper

    require_whole(content, where, "`facepipe onnx`")
    try:
        graph = onnx.load_from_string(content).graph
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    except Exception as error:  # protobuf's own errors have no common class
        raise BackendError(f"{where}: is no ONNX model ({str(error).splitlines()[0]}).", "`facepipe onnx`") from error
    image = [value for value in graph.input if value.name not in weights]
    kind = image[0].type.tensor_type if image else None
    if len(image) != 1 or kind is None or kind.elem_type != onnx.TensorProto.FLOAT or len(kind.shape.dim) != 4:
        raise BackendError(f"{where}: its input is no batch of images, expected float32 [N, C, height, width].")
    height, width = (dim.dim_value for dim in kind.shape.dim[2:])
    if height != width:
        raise BackendError(f"{where}: its input is {height} x {width}, expected a square, or any size.")
    reader = _Reader(where, weights, height or None)
    name, layers = image[0].name, list[Convolution | Pooling]()
    nodes = list(graph.node)
    while nodes and nodes[0].output[0] not in {output.name for output in graph.output}:
        node = nodes.pop(0)
        reader.require(node.input[0] == name and len(node.output) == 1, node, "does not follow the one before it")
        name = node.output[0]
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        reader.read(node, attributes, layers)
    heads = list[Convolution]()
    for node, output in zip(nodes, graph.output, strict=False):
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        reader.require(node.input[0] == name and node.output[0] == output.name, node, "is no head")
        reader.read(node, attributes, heads)
        alike = node.op_type == nodes[0].op_type and heads[-1].weights.shape[1:] == heads[0].weights.shape[1:]
        reader.require(alike, node, "is another kind of head")
    if len(heads) != len(graph.output) or len(nodes) != len(heads) or len(layers) < 2:
        raise BackendError(f"{where}: {len(nodes)} nodes make {len(graph.output)} outputs, expected one for each.")
    first, second = layers[:2]
    if not isinstance(first, Convolution) or first.weights.shape[2:] != (3, 3) or not isinstance(second, Pooling):
        raise BackendError(f"{where}: it begins otherwise, expected a convolution and pooling, the convolution 3x3.")
    merged = Convolution(
        np.concatenate([head.weights for head in heads]), np.concatenate([head.bias for head in heads]), None
    )
    are_maps = all(node.op_type == "Conv" for node in nodes)
    return Chain((*layers, merged), tuple(len(head.bias) for head in heads), are_maps, height or None)


class _Reader:
    """Nodes to layers, one after another; knows the shape of the map between two."""

    def __init__(self, where: Path | str, weights: Mapping[str, np.ndarray], side: int | None) -> None:
        self.where, self.weights = where, weights
        self.side = side  # of the map, where it is known
        self.order: np.ndarray | None = None  # after flattening: position in [C, h, w] of every input

    def require(self, holds: bool, node: Any, problem: str) -> None:
        if not holds:
            raise BackendError(
                f"{self.where}: node {node.op_type} '{node.name}' {problem}, expected a chain of convolutions, PReLU, "
                "pooling and dense layers."
            )

    def require_plain(self, node: Any, attributes: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
        """An attribute that the file leaves out is plain."""
        self.require(all(attributes.get(key, want) == want for key, want in plain.items()), node, "is not plain")

    def weight(self, node: Any, position: int) -> np.ndarray:
        """An input that the file holds: float32."""
        found = self.weights.get(node.input[position])
        self.require(found is not None and found.dtype == np.float32, node, "has no weights in float32")
        assert found is not None
        return found

    def bias(self, node: Any) -> np.ndarray:
        """Of a convolution or a dense layer of O outputs: float32 [O]; zeros where the file has none."""
        outputs = len(self.weight(node, 1))
        if len(node.input) < 3 or not node.input[2]:
            return np.zeros(outputs, np.float32)
        found = self.weight(node, 2)
        self.require(found.shape == (outputs,), node, "has no bias for each output")
        return found

    def read(self, node: Any, attributes: Mapping[str, Any], layers: list[Any]) -> None:
        """Add what `node` is to the layers."""
        kind = node.op_type
        if kind == "Conv":
            plain = {"dilations": [1, 1], "group": 1, "pads": [0] * 4, "strides": [1, 1], "auto_pad": b"NOTSET"}
            self.require_plain(node, attributes, plain)
            weights, bias = self.weight(node, 1), self.bias(node)
            self.require(weights.shape[2:] == weights.shape[-1:] * 2, node, "is not plain")
            self.require(self.order is None, node, "follows a map that was turned")
            layers.append(Convolution(weights, bias, None))
            self.side = None if self.side is None else layers[-1].outputs(self.side)
        elif kind == "PRelu" and layers and isinstance(layers[-1], Convolution) and layers[-1].slopes is None:
            last, given = layers[-1], self.weight(node, 1)
            self.require(given.size in (1, len(last.bias)) and self.order is None, node, "has a slope for each place")
            slopes = np.broadcast_to(given.reshape(-1), last.bias.shape)
            layers[-1] = Convolution(last.weights, last.bias, slopes)
        elif kind == "MaxPool":
            size, stride = attributes["kernel_shape"], attributes.get("strides", [1, 1])
            self.require_plain(node, attributes, {"dilations": [1, 1], "pads": [0] * 4, "auto_pad": b"NOTSET"})
            is_square = size == size[:1] * 2 and stride == stride[:1] * 2 and stride[0] <= size[0]
            self.require(self.order is None, node, "follows a map that was turned")
            self.require(is_square and attributes.get("ceil_mode", 0) == 1, node, "is not plain")
            layers.append(Pooling(size[0], stride[0]))
            self.side = None if self.side is None else layers[-1].outputs(self.side)
        elif kind in ("Transpose", "Flatten"):
            self._reorder(kind, node, attributes, layers)
        elif kind == "Gemm":
            self._dense(node, attributes, layers)
        else:
            self.require(False, node, "is of another kind")

    def _reorder(self, kind: str, node: Any, attributes: Mapping[str, Any], layers: list[Any]) -> None:
        convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
        self.require(self.side is not None and bool(convolutions), node, "comes at an unknown size")
        side = self.side or 0
        if self.order is None:
            shape = (len(convolutions[-1].bias), side, side)
            self.order = np.arange(int(np.prod(shape))).reshape(shape)  # (C, h, w)
        if kind == "Transpose":
            axes = attributes["perm"]
            self.require(axes[0] == 0, node, "exchanges images")
            self.order = self.order.transpose([axis - 1 for axis in axes[1:]])
        else:
            self.require(attributes.get("axis", 1) == 1, node, "flattens images together")

    def _dense(self, node: Any, attributes: Mapping[str, Any], layers: list[Any]) -> None:
        self.require_plain(node, attributes, {"alpha": 1.0, "beta": 1.0, "transA": 0})
        self.require(attributes.get("transB", 0) == 1, node, "is not plain")
        weights, bias = self.weight(node, 1), self.bias(node)
        if self.order is None:
            self.require(self.side == 1, node, "follows a map that was not flattened")
            shaped = weights.reshape(*weights.shape, 1, 1)
        else:
            side = self.side or 1
            straight = np.empty_like(weights)
            straight[:, self.order.reshape(-1)] = weights
            shaped = straight.reshape(len(weights), -1, side, side)  # (O, C, h, w)
        layers.append(Convolution(shaped, bias, None))
        self.order, self.side = None, 1
