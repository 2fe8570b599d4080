# SPDX-License-Identifier: Apache-2.0
"""A converted recogniser with its convolutions and products in eight bits, by NNCF.

Weights: eight signed bits, one scale for each output channel. Activations: eight bits, one scale for each tensor, from
the least and greatest value that calibration crops bring about; then the biases are moved by the mean error that the
rounding made on those crops. (Without that last step MobileFaceNet's embeddings have cosine 0.92 with f32's, with it
0.995.) The file holds QuantizeLinear and DequantizeLinear around each product, so that one file serves every back end
that knows them.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.convert.onnx.conversion import versions
from facepipe.errors import ConversionError
from facepipe.geometry.normalise import normalise
from facepipe.metrics.parity import parity
from facepipe.specs import ModelSpec
from facepipe.store.files import atomic_path, read_json, sha256_of_file, sidecar_of, write_json
from facepipe.store.made_from import weights_digest

BATCH = 16  # crops that are normalised together
LEAST_COSINE = 0.9  # a result below is no approximation of the network any more

SETTINGS: Final[Mapping[str, object]] = {"quantiser": "nncf", "preset": "mixed"}
"""What a file was made with, for its sidecar: a file of other settings is made again."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where the calibration crops come from.

    Attributes:
        photographs: name to sha256 of the file, of every photograph that gave a crop.
        crops: how many they gave.
        test_set: the name of the verification set they were held against, or None where none was at hand.
        overlap: how many of the photographs are in that set; must be 0.
    """

    photographs: Mapping[str, str]
    crops: int
    test_set: str | None
    overlap: int


def quantised_sidecar(spec: ModelSpec, weights: Path) -> Path:
    """The JSON file beside the quantised ONNX of `spec`."""
    return sidecar_of(spec.quantised(weights))


def is_up_to_date(spec: ModelSpec, weights: Path, settings: Mapping[str, object]) -> bool:
    """Whether the quantised file is there, whole, of the model as it is now and by these settings."""
    target, source, sidecar = spec.quantised(weights), spec.final(weights), quantised_sidecar(spec, weights)
    if not (target.is_file() and sidecar.is_file() and source.is_file()):
        return False
    told = read_json(sidecar)
    of_these = told.get("settings") == settings  # sidecars did not always tell
    return bool(
        of_these and told["from_sha256"] == sha256_of_file(source) and told["onnx_sha256"] == sha256_of_file(target)
    )


def quantise_model(spec: ModelSpec, weights: Path, crops: np.ndarray, calibration: Calibration) -> dict[str, object]:
    """Write `<name>.int8.onnx` and its sidecar below `weights`, and return what the sidecar holds.

    Args:
        crops: uint8 [N, S, S, 3] RGB, of the size that the recogniser takes.
        calibration: where they come from.

    Raises:
        ConversionError: the model is no recogniser, is not converted, a calibration photograph is of the test set, or
            the result is no longer near the network.
    """
    source = spec.final(weights)
    if spec.task != "embed":
        raise ConversionError(f"{spec.name}: is a detector, expected a recogniser: eight bits would move the boxes.")
    if not source.is_file():
        raise ConversionError(f"{source}: no such model file, expected the converted {spec.name}.", _onnx(spec))
    if calibration.overlap:
        raise ConversionError(
            f"{spec.name}: {calibration.overlap} calibration photographs are of {calibration.test_set}, expected none.",
            "--photographs with a folder that holds none of the pairs' photographs.",
        )
    inputs = [normalise(crops[low : low + BATCH], spec.pixels) for low in range(0, len(crops), BATCH)]
    target = spec.quantised(weights)
    with atomic_path(target) as part, _quiet():
        _quantise(source, part, inputs)
        cosine = _least_cosine(spec, source, part, inputs[0])
        if not cosine >= LEAST_COSINE:
            raise ConversionError(
                f"{spec.name}: in eight bits an embedding has cosine {cosine:.3f} with f32's, expected {LEAST_COSINE}.",
                "calibration photographs that are nearer to what it will see.",
            )
    report: dict[str, object] = {
        "model": spec.name,
        "weights_sha256": weights_digest(source),
        "from_sha256": sha256_of_file(source),
        "onnx_sha256": sha256_of_file(target),
        "least_cosine": cosine,
        "settings": dict(SETTINGS),
        "calibration": asdict(calibration),
        "versions": versions() | {"nncf": metadata.version("nncf")},
    }
    write_json(quantised_sidecar(spec, weights), report)
    return report


def _quantise(source: Path, target: Path, inputs: Sequence[np.ndarray]) -> None:
    import nncf

    model = onnx.load(source)
    name = model.graph.input[0].name
    calls = [{name: image[None]} for batch in inputs for image in batch]
    try:
        quantised = nncf.quantize(
            model,
            nncf.Dataset(calls),
            preset=nncf.QuantizationPreset(SETTINGS["preset"]),
            subset_size=len(calls),
        )
    except Exception as error:  # NNCF raises its own, onnx's and onnxruntime's; all mean that it cannot
        raise ConversionError(f"{source}: NNCF cannot quantise it ({str(error).splitlines()[0]}).") from error
    onnx.save(quantised, target)


def _least_cosine(spec: ModelSpec, source: Path, quantised: Path, image: np.ndarray) -> float:
    """Of the quantised embeddings with f32's, the least of one batch."""
    answers = []
    for path in (source, quantised):
        with open_session(OnnxRuntime(RuntimeOptions()), spec, path) as session:
            answers.append(session.run(image)[0])
    return float(parity(answers[0], answers[1]).cosine)


def _onnx(spec: ModelSpec) -> str:
    return f"`facepipe onnx {spec.name}`"


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF without its progress bars, its advice, and its messages to its makers, which it sends unasked."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"  # read when it is imported: nothing is sent
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            logging.getLogger("nncf").setLevel(logging.ERROR)
            yield
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
