# SPDX-License-Identifier: Apache-2.0
"""Constants that stand behind `Identity` nodes, read directly.

torch's exporter stores equal tensors once and puts `Identity(stored)` before every reader but the first. Slopes that
are all 0.25, as in a network that was not trained or whose slopes were frozen, so become computed values, and so do
equal scales and shifts of batch normalisation. What no pass could read as a constant is one again after this.
"""

from __future__ import annotations

import onnx

from facepipe.convert.onnx.passes.graph import constants, forget_shapes, inner_graphs


def fold_identity(model: onnx.ModelProto) -> int:
    """Let every reader of an `Identity` of a constant read the constant itself; return the number of nodes that went.

    Chains are followed. An `Identity` that gives an output of the graph stays, since outputs keep their names; one
    inside a branch or a loop body stays too.
    """
    graph, stored = model.graph, set(constants(model))
    outputs = {value.name for value in graph.output}
    source: dict[str, str] = {}
    for node in graph.node:  # in the order of the data, so that a chain is known from its start
        if node.op_type == "Identity" and node.domain in ("", "ai.onnx"):
            name = source.get(node.input[0], node.input[0])
            if name in stored and node.output[0] not in outputs:
                source[node.output[0]] = name
    gone = [node for node in graph.node if node.output and node.output[0] in source]
    for node in gone:
        graph.node.remove(node)
    for inner in (graph, *inner_graphs(graph)):
        for node in inner.node:
            if source.keys() & set(node.input):
                node.input[:] = [source.get(name, name) for name in node.input]
    forget_shapes(model, set(source))
    return len(gone)
