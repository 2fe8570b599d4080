# SPDX-License-Identifier: Apache-2.0
"""A converted detector of one network with its convolutions in eight bits, by onnxruntime's static quantiser.

Weights: seven signed bits, one scale for each output channel. Activations: eight unsigned bits, one scale for each
tensor, from the range that all but one in ten thousand values of the calibration inputs lie in (with the least and
greatest values instead, UltraFace slim-320 loses .013 of its AP on WIDER FACE). The file holds QuantizeLinear and
DequantizeLinear, which every back end here knows; tensors have short names, since in a network of 0.3 million numbers
the exporter's names are a fifth of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter

from facepipe.convert.onnx.passes.graph import default_opset
from facepipe.convert.onnx.quantise import Answer, Quantiser
from facepipe.errors import ConversionError, first_line
from facepipe.geometry.heads import joined
from facepipe.specs import ModelSpec

RANGE_PERCENTILE = 99.99
OPERATORS = ["Conv", "Relu"]  # the rest moves numbers about and stays in floating point
LEAST_OPSET = 13  # from which a scale may be of one channel; a file of an older one is written for it first
WEIGHT_BITS = 7  # without VNNI a processor adds two products in 16 bits, which weights of eight bits overflow
MOST_SCORE_DIFFERENCE = 0.1  # mean over candidates: a result beyond is no approximation of the network any more
CANDIDATE = 0.1  # score, in either network, from which a prior counts for that mean


class _Reader:
    """The calibration inputs, one after the other, as the quantiser asks for them."""

    def __init__(self, name: str, inputs: Iterable[np.ndarray]) -> None:
        self.rest: Iterator[dict[str, np.ndarray]] = ({name: one} for one in inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)


def short_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inner tensors are t0, t1, ... and whose notes (names of nodes, inferred shapes) are gone."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {}

    def short(name: str) -> str:
        return name if not name or name in kept else names.setdefault(name, f"t{len(names)}")

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    del graph.value_info[:]
    del copy.metadata_props[:]
    used = {node.domain for node in graph.node}
    opsets = [entry for entry in copy.opset_import if entry.domain in used]
    del copy.opset_import[:]
    copy.opset_import.extend(opsets)
    return copy


def _quantise(source: Path, target: Path, inputs: Sequence[np.ndarray]) -> None:
    """The target's tensors have short names."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(source)
    name = model.graph.input[0].name
    try:
        if default_opset(model) < LEAST_OPSET:
            source = source.with_name(f"opset{LEAST_OPSET}.{source.name}")
            onnx.save(onnx.version_converter.convert_version(model, LEAST_OPSET), source)
        quantize_static(
            str(source),
            str(target),
            _Reader(name, inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            reduce_range=True,  # to WEIGHT_BITS
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": RANGE_PERCENTILE},
        )
    except Exception as error:  # its own classes, onnx's, NumPy's: all mean that it cannot
        reason = first_line(error)
        raise ConversionError(f"{source}: onnxruntime cannot quantise it ({reason}).") from error
    model = short_names(onnx.load(target))
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString())


def _mean_score_difference(spec: ModelSpec, exact: Sequence[Answer], quantised: Sequence[Answer]) -> float:
    """Mean absolute difference of face scores over the priors that one of the two takes for a candidate."""
    shot = spec.single_shot
    assert shot is not None, f"{spec.name} is no detector of one network"
    a, b = (
        np.concatenate([joined(row, shot.heads)[2] for answer in answers for row in zip(*answer, strict=True)])
        for answers in (exact, quantised)
    )
    candidates = np.maximum(a, b) >= CANDIDATE
    return float(np.abs(a - b)[candidates].mean()) if candidates.any() else 0.0


DETECTOR = Quantiser(
    takes=lambda spec: spec.single_shot is not None,
    taken="detector of one network",
    settings={
        "quantiser": "onnxruntime",
        "operators": OPERATORS,
        "weight_bits": WEIGHT_BITS,
        "range_percentile": RANGE_PERCENTILE,
    },
    quantise=_quantise,
    figure="mean_score_difference",
    judge=_mean_score_difference,
    accepts=lambda difference: difference <= MOST_SCORE_DIFFERENCE,
    expected=f"at most {MOST_SCORE_DIFFERENCE}",
    judged_inputs=8,
)
