# SPDX-License-Identifier: Apache-2.0
"""The plain networks as the nodes of a graph: the operators and attributes that torch's exporter and onnxsim leave."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from facepipe.convert.onnx.write_onnx import Attribute, Node


class NodeOperators:
    """`plain_networks.Operators` of names of tensors, with these weights by name.

    Args:
        reserved: names that no tensor within the graph may have: the model's outputs'.

    Attributes:
        nodes: that were made so far, in order.
        constants: that they read, in the order of their first reader.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], reserved: tuple[str, ...]) -> None:
        self._weights = weights
        self._reserved = reserved
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}

    def convolution(self, maps: str, name: str, stride: int = 1, pad: int = 0) -> str:
        weight = self._weights[f"{name}.weight"]
        attributes: dict[str, Attribute] = {
            "dilations": (1, 1),
            "group": 1,
            "kernel_shape": tuple(weight.shape[2:]),
            "pads": (pad,) * 4,
            "strides": (stride,) * 2,
        }
        return self._node("Conv", (maps, self._weight(name, "weight"), self._weight(name, "bias")), name, attributes)

    def prelu(self, maps: str, name: str) -> str:
        """The slope has the rank of the maps, as the pass `match_prelu_slope` leaves it."""
        slope = self._weights[f"{name}.weight"]
        return self._node("PRelu", (maps, self._constant(f"{name}.weight", slope.reshape(1, -1, 1, 1))), name)

    def prelu_of_rows(self, rows: str, name: str) -> str:
        slope = self._weights[f"{name}.weight"]
        return self._node("PRelu", (rows, self._constant(f"{name}.weight", slope.reshape(1, -1))), name)

    def relu(self, maps: str) -> str:
        return self._node("Relu", (maps,), "relu")

    def greatest(self, maps: str, side: int, stride: int, whole: bool = True) -> str:
        return self._node("MaxPool", (maps,), "greatest", {"dilations": (1, 1), **_window(side, stride, int(whole))})

    def means(self, maps: str) -> str:
        return self._node("AveragePool", (maps,), "means", {"count_include_pad": 1, **_window(2, 2, 0)})

    def mean(self, maps: str) -> str:
        return self._node("Flatten", (self._node("GlobalAveragePool", (maps,), "mean"),), "rows", {"axis": 1})

    def filled_up(self, maps: str, channels: int, rows: int) -> str:
        ends = np.array([0, 0, 0, 0, 0, channels, rows, rows], np.int64)
        zeros = self._constant(f"zeros_{channels}_{rows}", ends)
        return self._node("Pad", (maps, zeros), "filled_up", {"mode": "constant"})

    def by_columns(self, maps: str) -> str:
        turned = self._node("Transpose", (maps,), "by_columns", {"perm": (0, 3, 2, 1)})
        return self._node("Flatten", (turned,), "rows", {"axis": 1})

    def dense(self, rows: str, name: str) -> str:
        read = (rows, self._weight(name, "weight"), self._weight(name, "bias"))
        return self._node("Gemm", read, name, {"alpha": 1.0, "beta": 1.0, "transB": 1})

    def product(self, rows: str, name: str) -> str:
        turned = self._constant(f"{name}.weight", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self._node("MatMul", (rows, turned), name)

    def mirrored(self, image: str, side: int) -> str:
        """A product with a reversed identity: exact, and an operator that every compiler has."""
        reversal = self._constant("reversal", np.eye(side, dtype=np.float32)[::-1])
        return self._node("MatMul", (image, reversal), "mirrored")

    def add(self, one: str, other: str) -> str:
        return self._node("Add", (one, other), "sum")

    def half(self, rows: str) -> str:
        return self._node("Mul", (rows, self._constant("half", np.array(0.5, np.float32))), "halved")

    def name_outputs(self, made: tuple[str, ...]) -> None:
        """Call the tensors `made`, which no node reads, by the reserved names, in order."""
        named = dict(zip(made, self._reserved, strict=True))
        self.nodes = [
            Node(node.operator, node.inputs, named.get(node.output, node.output), node.attributes)
            for node in self.nodes
        ]

    def _weight(self, layer: str, part: str) -> str:
        return self._constant(f"{layer}.{part}", self._weights[f"{layer}.{part}"])

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = array
        return name

    def _node(
        self, operator: str, inputs: tuple[str, ...], name: str, attributes: Mapping[str, Attribute] | None = None
    ) -> str:
        """One more node; what it makes is called `name`, with a number where that is taken."""
        taken = {*self._reserved, *(node.output for node in self.nodes)}
        output, number = name, 1
        while output in taken:
            number += 1
            output = f"{name}_{number}"
        self.nodes.append(Node(operator, inputs, output, attributes or {}))
        return output


def _window(side: int, stride: int, ceil_mode: int) -> dict[str, Attribute]:
    return {"ceil_mode": ceil_mode, "kernel_shape": (side,) * 2, "pads": (0,) * 4, "strides": (stride,) * 2}
