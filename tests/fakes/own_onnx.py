# SPDX-License-Identifier: Apache-2.0
"""ONNX files as other trainers write them: the shapes of the real ones, a few seeded numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Axis = int | str


def arcface_onnx(
    path: Path,
    *,
    side: int = 112,
    dimension: int = 512,
    batch: Axis = "None",
    declared: Axis | None = None,
    opset: int = 11,
    seed: int = 0,
) -> Path:
    """A recogniser with the interface of insightface's w600k_r50.onnx: `input.1` [N, 3, 112, 112] to `683` [N, 512].

    Args:
        declared: the batch that its output declares; of insightface's files that is 1, whatever comes out.
    """
    rng = np.random.default_rng(seed)
    small = side // 8
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["means"], "means", kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["means"], ["flat"], "flat", axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["683"], "dense"),
    ]
    weights = {
        "w": rng.normal(0, 0.1, (3 * small * small, dimension)).astype(np.float32),
        "b": rng.normal(0, 0.1, dimension).astype(np.float32),
    }
    outputs = {"683": [batch if declared is None else declared, dimension]}
    return save(path, nodes, weights, {"input.1": [batch, 3, side, side]}, outputs, opset)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, Sequence[Axis]],
    outputs: dict[str, Sequence[Axis]],
    opset: int = 11,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """A model of these nodes; names to axes."""
    graph = helper.make_graph(
        list(nodes),
        "own",
        [helper.make_tensor_value_info(name, dtype, list(axes)) for name, axes in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(axes)) for name, axes in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(made, path)
    return path
