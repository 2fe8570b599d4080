# SPDX-License-Identifier: Apache-2.0
"""An ONNX model that computes as an .om of a precision mode does, for onnxruntime on a host.

ATC's default (fp16, force_fp16) keeps every tensor in half precision between operators, with float32 at the model's
edges; a convolution or matrix product takes half-precision numbers, adds in single precision, and rounds its result.
So: every constant is rounded here, the input is rounded, and after every operator that computes something its output is
rounded, by a pair of Casts. Operators that only move or choose numbers add nothing. What a chip fuses (a convolution
with the addition behind it, say) it rounds less often, so the rehearsal is a little pessimistic.

cube_fp16in_fp32out (force_fp32 is the same) rounds the two factors of convolutions and matrix products alone; their
sums, biases and everything else stay float32 (GE, --precision_mode_v2).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facepipe.catalogue.chip_precision import rounding
from facepipe.catalogue.imported import as_imported, record_path, record_text
from facepipe.convert.onnx.passes.graph import constants
from facepipe.errors import ConversionError
from facepipe.specs import ModelSpec
from facepipe.store.files import sha256_of_file, write_bytes, write_text
from facepipe.store.made_from import MadeFrom, is_current, require_own, weights_of, write_record
from facepipe.store.model_content import read_model
from facepipe.store.owned import keep_record

_EXACT = frozenset(
    ("Relu", "MaxPool", "Flatten", "Reshape", "Transpose", "Concat", "Identity", "Slice", "Squeeze", "Unsqueeze",
     "Split", "Dropout", "Clip", "Max", "Min", "Gather", "Constant", "Cast", "Pad", "GlobalMaxPool", "Expand", "Tile")
)  # fmt: skip
"""Operators whose outputs are among the numbers of their inputs and constants, which are rounded already."""


MATRIX_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What the matrix unit computes: the product of the first two inputs."""

PRECISIONS = ("fp16", "cube_fp16in_fp32out")
"""What can be rehearsed. Of the mixed modes the compiler's own lists decide; origin keeps float32."""


def rehearse(model: onnx.ModelProto, precision: str = "fp16") -> onnx.ModelProto:
    """A copy of `model` that rounds to half precision where an .om of that mode does. Names of tensors stay.

    Numbers above 65504 become infinite, as they do on the chip.

    Args:
        model: a plain graph.
        precision: one of `PRECISIONS`, or its older name.

    Raises:
        ConversionError: the model has branches, loops or functions, or is rehearsed already; or nobody knows what the
            mode rounds.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    if made.functions or any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        raise ConversionError("rehearsal: the model has branches, loops or functions, expected a plain graph.")
    if any(node.name.endswith(_TO_HALF) for node in graph.node):
        raise ConversionError("rehearsal: the model is rehearsed already.", "take the file that `facepipe onnx` makes.")
    rounds = rounding(precision)
    if rounds == "matrices":
        _round_factors(made)
        return made
    if rounds != "everything":
        raise ConversionError(
            f"rehearsal: precision '{precision}' cannot be rehearsed, expected {' or '.join(PRECISIONS)}."
        )
    for tensor in constants(made).values():
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(rounded(numpy_helper.to_array(tensor)), tensor.name))
    types = _element_types(made)
    renamed: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    fixed = set(constants(made))
    for value in graph.input:
        if value.name not in fixed and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            renamed[value.name] = f"{value.name}.rounded"
            nodes += _casts(value.name, renamed[value.name])
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            copy.input[index] = renamed.get(name, name)
        nodes.append(copy)
        if node.op_type in _EXACT:
            continue
        for index, name in enumerate(node.output):
            if name and types.get(name) == TensorProto.FLOAT:
                copy.output[index] = f"{name}.exact"
                nodes += _casts(f"{name}.exact", name)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(made)
    return made


def _round_factors(made: onnx.ModelProto) -> None:
    """Round the first two inputs of every convolution and matrix product, and nothing else."""
    graph, halves = made.graph, set[str]()
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type in MATRIX_OPERATORS:
            for index, name in enumerate(node.input[:2]):
                if name not in halves:
                    nodes += _casts(name, f"{name}.rounded")
                    halves.add(name)
                node.input[index] = f"{name}.rounded"
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    onnx.checker.check_model(made)


def write_rehearsed(spec: ModelSpec, weights: Path, models: Path, precision: str = "fp16") -> Path:
    """The rehearsed model in a folder of its own, under the name that every command looks for; kept while current.

    Args:
        spec: the model.
        weights: folder of its final ONNX.
        models: folder that gets the rehearsed one.
        precision: one of `PRECISIONS`.

    Raises:
        ConversionError: the final ONNX is not there.
    """
    source, target = spec.final(weights), spec.final(models)
    if not source.is_file():
        raise ConversionError(
            f"{source}: no such file, expected the final ONNX of {spec.name}.", f"`facepipe onnx {spec.name}`"
        )
    read = read_model(source)
    made_from = MadeFrom({"onnx": read.sha256, **weights_of(read.record)}, {"precision": precision})
    if not is_current(target, made_from):
        require_own(target)
        keep_record(target)
        write_bytes(target, rehearse(onnx.load_from_string(read.content), precision).SerializeToString())
        write_record(target, spec.name, made_from, {}, again="facepipe rehearse")
    if spec.imported is not None:  # known by its record: there it is another file
        own = spec.imported
        rehearsed = as_imported(spec, own.file, sha256_of_file(target), own.threshold, own.checkpoint)
        write_text(record_path(spec.name, models), record_text(rehearsed))
    return target


def rounded(array: np.ndarray) -> np.ndarray:
    """float32 numbers that half precision holds, nearest to those given; infinite above 65504."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


_TO_HALF = ".to_half"


def _casts(name: str, to: str) -> list[onnx.NodeProto]:
    """`name`, rounded, as `to`."""
    return [
        helper.make_node("Cast", [name], [f"{to}.half"], f"{to}{_TO_HALF}", to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{to}.half"], [to], f"{to}.to_single", to=TensorProto.FLOAT),
    ]


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}
