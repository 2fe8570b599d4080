# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch network to ONNX as the catalogue describes it, with an assertion on everything that was written."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from pathlib import Path

import onnx
import torch
from torch import nn

from facepipe.convert.onnx.passes.fold_identity import fold_identity
from facepipe.convert.onnx.passes.graph import default_opset
from facepipe.errors import ConversionError
from facepipe.specs import ModelSpec, TensorSpec

HIGHEST_IR = 8
"""The newest ONNX file format that ATC's and older onnxruntimes' parsers are known to read."""

FORBIDDEN_OPERATORS = ("Shape", "Gather", "Expand")
"""Operators that make a graph's shapes depend on its data: ATC can then plan no gears."""


def onnx_from_network(network: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """The network as ONNX of the catalogue's opset, names and axes.

    The exporter behind `dynamo=True` silently writes opset 18 and IR 10 when asked for 11 to 13 (torch 2.13), so the
    TorchScript exporter is named here and what it wrote is checked. Equal tensors are stored once, and every reader
    reads the stored one (`fold_identity`).

    Raises:
        ConversionError: the exporter fails, or wrote another opset, IR, name, rank or size than it was asked for.
    """
    probe = torch.zeros([_example_size(dim.low, dim.high) for dim in spec.input.dims])
    with tempfile.TemporaryDirectory(prefix="facepipe-") as folder, warnings.catch_warnings():
        # torch announces that this exporter will go; the newer one does not write what it is asked for (above).
        warnings.simplefilter("ignore", DeprecationWarning)
        written = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                network,
                (probe,),
                str(written),
                dynamo=False,
                opset_version=spec.opset,
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                dynamic_axes={tensor.name: _moving_axes(tensor) for tensor in (*spec.inputs, *spec.outputs)},
            )
        except Exception as error:  # the exporter raises classes of its own, RuntimeError, TypeError, AssertionError
            raise ConversionError(f"{spec.name}: torch cannot export the network ({error}).") from error
        model = onnx.load(written)
    fold_identity(model)
    # The exporter forgets the last size behind a Reshape to (0, -1, size); ONNX's own inference finds it.
    inferred = onnx.shape_inference.infer_shapes(model)
    for output, known in zip(model.graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(known)
    check_interface(model, spec)
    return model


def check_interface(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Hold the opset, IR, inputs and outputs of an ONNX model against the catalogue.

    Raises:
        ConversionError: one of them differs.
    """
    opset = default_opset(model)
    if opset != spec.opset:
        raise ConversionError(f"{spec.name}: the ONNX has opset {opset}, expected {spec.opset}.")
    if model.ir_version > HIGHEST_IR:
        raise ConversionError(
            f"{spec.name}: the ONNX has IR version {model.ir_version}, expected at most {HIGHEST_IR}."
        )
    for kind, values, tensors in (
        ("inputs", model.graph.input, spec.inputs),
        ("outputs", model.graph.output, spec.outputs),
    ):
        written = [f"{value.name} {_axes(value)}" for value in values]
        expected = [f"{tensor.name} {[d.low if d.is_fixed else d.name for d in tensor.dims]}" for tensor in tensors]
        if written != expected:
            raise ConversionError(
                f"{spec.name}: the {kind} of the ONNX are {'; '.join(written)}, expected {'; '.join(expected)}."
            )


def check_operators(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Raise ConversionError when an operator is left that a device cannot plan."""
    found = Counter(node.op_type for node in model.graph.node if node.op_type in FORBIDDEN_OPERATORS)
    if found:
        listing = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        raise ConversionError(
            f"{spec.name}: the final ONNX holds {listing}, expected none of {', '.join(FORBIDDEN_OPERATORS)}.",
            "write the network so that none arises: flatten(1) for view(batch, -1), broadcasting for expand.",
        )


def _axes(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]


def _moving_axes(tensor: TensorSpec) -> dict[int, str]:
    return {axis: dim.name for axis, dim in enumerate(tensor.dims) if not dim.is_fixed}


def _example_size(low: int, high: int) -> int:
    """A size that is neither 1 nor the least, where the axis can move: a trace treats 1 as a constant."""
    return low if low == high else min(high, max(2, 4 * low))
