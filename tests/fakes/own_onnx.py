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


FACE = ((-1.0, -1.0), (1.0, -1.0), (0.0, 0.2), (-0.8, 1.0), (0.8, 1.0))
"""Where five landmarks of a face lie around its middle, in strides."""


def scrfd_onnx(
    path: Path,
    *,
    size: int | None = None,
    batch: Axis = 1,
    batched: bool = False,
    landmarks: bool = True,
    order: Sequence[str] = ("score", "bbox", "kps"),
    sigmoid: bool = True,
    seed: int = 0,
) -> Path:
    """A detector with the interface of insightface's det_10g.onnx: `input.1` [1, 3, ?, ?], nine outputs with numbers
    for names, scores [12800, 1], [3200, 1], [800, 1], then boxes, then landmarks. It likes what is redder than blue.

    Args:
        size: of both sides; None: any.
        batched: its outputs have a row for each input, as those of some exports.
    """
    channels = {"score": 1, "bbox": 4, "kps": 10}
    parts = [part for part in order if landmarks or part != "kps"]
    biases = {
        "score": np.array([-4.0], np.float32),
        "bbox": np.full(4, 2.0, np.float32),
        "kps": np.array(FACE, np.float32).ravel(),
    }
    return _detector(path, channels, parts, biases, 2, size, batch, batched, sigmoid, seed, named=False)


def yunet_onnx(
    path: Path, *, size: int | None = 640, batch: Axis = 1, order: Sequence[str] = (), seed: int = 0
) -> Path:
    """A detector with the interface of face_detection_yunet_2023mar.onnx: `input` [1, 3, 640, 640], twelve outputs
    called cls_8 to kps_32, each [1, cells, numbers]."""
    channels = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    biases = {
        "cls": np.array([-1.0], np.float32),
        "obj": np.array([1.0], np.float32),
        "bbox": np.array([0.5, 0.5, 1.0, 1.2], np.float32),
        "kps": np.array(FACE, np.float32).ravel(),
    }
    return _detector(path, channels, order or list(channels), biases, 1, size, batch, True, True, seed, named=True)


def _detector(
    path: Path,
    channels: dict[str, int],
    order: Sequence[str],
    biases: dict[str, np.ndarray],
    anchors: int,
    size: int | None,
    batch: Axis,
    batched: bool,
    sigmoid: bool,
    seed: int,
    *,
    named: bool,
) -> Path:
    """Of each stride a mean of its cells, and one convolution for each part."""
    scale = 1 / 127.5 if named else 1.0  # bytes go into YuNet
    image = "input" if named else "input.1"
    nodes, weights, slots = [], {}, {}
    strides = (8, 16, 32)
    for stride in strides:
        side = [stride, stride]
        pool = helper.make_node("AveragePool", [image], [f"m{stride}"], kernel_shape=side, strides=side)
        nodes.append(pool)
        for part in order:
            key, width = f"{part}_{stride}", channels[part]
            rng = np.random.default_rng([seed, stride, list(channels).index(part)])
            kernel = rng.normal(0, 0.2, (anchors * width, 3, 1, 1)).astype(np.float32)
            if width == 1:  # red against blue: YuNet sees BGR
                kernel[:, :, 0, 0] += np.array([-6, 0, 6] if named else [6, 0, -6], np.float32)
            weights |= {f"w_{key}": kernel * scale, f"b_{key}": np.tile(biases[part], anchors)}
            weights[f"s_{key}"] = np.array([0, -1, width] if batched else [-1, width], np.int64)
            nodes += [
                helper.make_node("Conv", [f"m{stride}", f"w_{key}", f"b_{key}"], [f"c_{key}"], f"conv_{key}"),
                helper.make_node("Transpose", [f"c_{key}"], [f"t_{key}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{key}", f"s_{key}"], [f"r_{key}"]),
            ]
            slots[part, stride] = f"r_{key}"
    outputs: dict[str, Sequence[Axis]] = {}
    for part in order:
        for stride in strides:
            name = f"{part}_{stride}" if named else str(400 + len(outputs))
            kind = "Sigmoid" if sigmoid and channels[part] == 1 else "Identity"
            nodes.append(helper.make_node(kind, [slots[part, stride]], [name]))
            cells = f"cells_{stride}" if size is None else anchors * (size // stride) ** 2
            outputs[name] = [batch, cells, channels[part]] if batched else [cells, channels[part]]
    sides: list[Axis] = ["height", "width"] if size is None else [size, size]
    return save(path, nodes, weights, {image: [batch, 3, *sides]}, outputs)


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
