# SPDX-License-Identifier: Apache-2.0
"""AMCT's `convert_qat_model` as its guide describes it (hiascend.com, atlasamct_16_0148, _0159), for tests: its limits,
and its two files. Instead of AscendQuant operators, which onnxruntime does not run, the deployed file is marked, and
the stand-in for ATC takes QuantizeLinear from a marked file alone.

FAKE_AMCT: silent (no files).
"""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from onnx import numpy_helper


def convert_qat_model(model_file: str, save_path: str, record_file: str | None = None) -> None:
    """Both paths are strings; `save_path` is a prefix."""
    for value in (model_file, save_path):
        if type(value) is not str:
            raise TypeError(f"{value!r} is no string")
    model = onnx.load(model_file)
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            scales[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    made = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    if not made:
        raise RuntimeError("the model has no QuantizeLinear: it is no QAT model")
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in scales and scales[node.input[1]].size != 1:
            raise RuntimeError(f"{node.name}: only weights may be quantised by the channel")
        if node.op_type == "DequantizeLinear" and node.input[0] in made:
            pair = made[node.input[0]]
            if (scales[pair.input[1]] != scales[node.input[1]]).any():
                raise RuntimeError(f"{node.name}: a pair has two scales")
    read = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input[:1]}
    if any(name not in read and name not in outputs for name in made):
        raise RuntimeError("a QuantizeLinear has no DequantizeLinear")
    if os.environ.get("FAKE_AMCT") == "silent":
        return
    onnx.save(model, f"{save_path}_fake_quant_model.onnx")
    default = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(default)
    model.metadata_props.add(key="amct", value="deploy")
    onnx.save(model, f"{save_path}_deploy_model.onnx")
    assert Path(f"{save_path}_deploy_model.onnx").is_file()
