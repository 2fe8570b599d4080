# SPDX-License-Identifier: Apache-2.0
"""The pass `drop_unused_domains`: one opset domain in the file, which is what Ascend's parser takes."""

from __future__ import annotations

import onnx

from facepipe.convert.onnx.passes.graph import inner_graphs

_DEFAULT = ("", "ai.onnx")


def drop_unused_domains(model: onnx.ModelProto) -> int:
    """Remove every entry of `opset_import` whose domain no node uses; return how many went.

    onnxruntime, Paddle2ONNX and quantisers name domains (com.microsoft, ai.onnx.ml, ...) of which they use nothing.
    The numbers do not change: an entry only tells which operators may stand in the file. The default domain stays, and
    so does a domain that a node uses, in a branch, a loop or a function too.
    """
    used = {node.domain for graph in (model.graph, *inner_graphs(model.graph)) for node in graph.node}
    used |= {node.domain for function in model.functions for node in function.node}
    used |= {function.domain for function in model.functions}
    dropped = [entry for entry in model.opset_import if entry.domain not in (*_DEFAULT, *used)]
    for entry in dropped:
        model.opset_import.remove(entry)
    return len(dropped)
