# SPDX-License-Identifier: Apache-2.0
"""A converted detector of one network with its convolutions in eight bits, by onnxruntime's static quantiser.

Weights: seven signed bits, one scale for each output channel. Activations: eight unsigned bits, one scale for each
tensor, from the range that all but one in ten thousand values of the calibration inputs lie in (with the least and
greatest values instead, UltraFace slim-320 loses .013 of its AP on WIDER FACE). The file holds QuantizeLinear and
DequantizeLinear, which every back end here knows; tensors have short names, since in a network of 0.3 million numbers
the exporter's names are a fifth of the file.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.convert.onnx.conversion import versions
from facepipe.convert.onnx.quantise import Calibration, quantised_sidecar
from facepipe.errors import ConversionError
from facepipe.geometry.anchors import face_scores
from facepipe.specs import ModelSpec
from facepipe.store.files import sha256_of_file, write_bytes, write_json
from facepipe.store.made_from import weights_digest

RANGE_PERCENTILE = 99.99
OPERATORS = ["Conv", "Relu"]  # the rest moves numbers about and stays in floating point
WEIGHT_BITS = 7  # without VNNI a processor adds two products in 16 bits, which weights of eight bits overflow
MOST_SCORE_DIFFERENCE = 0.1  # mean over candidates: a result beyond is no approximation of the network any more
CANDIDATE = 0.1  # score, in either network, from which a prior counts for that mean

SETTINGS: Final[Mapping[str, object]] = {
    "quantiser": "onnxruntime",
    "operators": OPERATORS,
    "weight_bits": WEIGHT_BITS,
    "range_percentile": RANGE_PERCENTILE,
}
"""What a file was made with, for its sidecar: a file of other settings is made again."""


class _Reader:
    """The calibration inputs, one after the other, as the quantiser asks for them."""

    def __init__(self, name: str, inputs: Iterable[np.ndarray]) -> None:
        self.rest: Iterator[dict[str, np.ndarray]] = ({name: one} for one in inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)


def quantise_detector(
    spec: ModelSpec, weights: Path, inputs: Sequence[np.ndarray], calibration: Calibration
) -> dict[str, object]:
    """Write `<name>.int8.onnx` and its sidecar below `weights`, and return what the sidecar holds.

    Args:
        inputs: float32 [1, 3, H, W] each, as the detector makes them of photographs.
        calibration: where they come from; its `crops` counts them.

    Raises:
        ConversionError: the model is not converted, a calibration photograph is of the test set, or the result is no
            longer near the network.
    """
    source, target = spec.final(weights), spec.quantised(weights)
    if not source.is_file():
        attempt = f"`facepipe onnx {spec.name}`"
        raise ConversionError(f"{source}: no such model file, expected the converted {spec.name}.", attempt)
    if calibration.overlap:
        raise ConversionError(
            f"{spec.name}: {calibration.overlap} calibration photographs are of {calibration.test_set}, expected none.",
            "--photographs with a folder that holds none of them.",
        )
    with tempfile.TemporaryDirectory(prefix="facepipe-") as folder:
        part = Path(folder) / "quantised.onnx"
        _quantise(source, part, spec.input.name, inputs)
        model = short_names(onnx.load(part))
        onnx.checker.check_model(model, full_check=True)
        part.write_bytes(model.SerializeToString())
        difference = _score_difference(spec, source, part, inputs[:8])
    if not difference <= MOST_SCORE_DIFFERENCE:
        raise ConversionError(
            f"{spec.name}: in eight bits the scores of candidates differ from f32's by {difference:.3f} on average, "
            f"expected at most {MOST_SCORE_DIFFERENCE}.",
            "calibration photographs that are nearer to what it will see.",
        )
    write_bytes(target, model.SerializeToString())
    report: dict[str, object] = {
        "model": spec.name,
        "weights_sha256": weights_digest(source),
        "from_sha256": sha256_of_file(source),
        "onnx_sha256": sha256_of_file(target),
        "bytes": {"f32": source.stat().st_size, "int8": target.stat().st_size},
        "mean_score_difference": difference,
        "settings": dict(SETTINGS),
        "calibration": asdict(calibration),
        "versions": versions(),
    }
    write_json(quantised_sidecar(spec, weights), report)
    return report


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


def _quantise(source: Path, target: Path, name: str, inputs: Iterable[np.ndarray]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    try:
        with _quiet():
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
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConversionError(f"{source}: onnxruntime cannot quantise it ({reason}).") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser without its printed progress, and without its advice to fold what is folded already."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)


def _score_difference(spec: ModelSpec, source: Path, quantised: Path, inputs: Sequence[np.ndarray]) -> float:
    """Mean absolute difference of face scores over the priors that one of the two takes for a candidate."""
    scores = []
    for path in (source, quantised):
        with open_session(OnnxRuntime(RuntimeOptions()), spec, path) as session:
            scores.append([face_scores(session.run(one)[-1]).ravel() for one in inputs])
    a, b = (np.concatenate(one) for one in scores)
    candidates = np.maximum(a, b) >= CANDIDATE
    return float(np.abs(a - b)[candidates].mean()) if candidates.any() else 0.0
