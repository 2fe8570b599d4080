# SPDX-License-Identifier: Apache-2.0
"""A converted model into eight bits, calibrated on photographs outside the test sets: what `facepipe quantise` does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.assets.workspace import Workspace
from facepipe.catalogue import embedder, find
from facepipe.errors import ConversionError
from facepipe.faces.photographs import EVERYDAY, Limits
from facepipe.runs.calibration import crops_for, inputs_for, lfw_held_out, tests_named, wider_held_out
from facepipe.specs import ModelSpec

if TYPE_CHECKING:
    from facepipe.convert.onnx.quantise import Quantised


def quantise(
    name: str,
    ws: Workspace,
    photographs: Sequence[Path] | None = None,
    *,
    tests: Sequence[Path] = (),
    faces: int = 256,
    force: bool = False,
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> Quantised | None:
    """The quantised file of a recogniser, or of a detector of one network, in `ws.weights`; None: it is up to date.

    Args:
        photographs: folders to calibrate with; None: the fixed set, see `runs.calibration`. What is scored or published
            is of the fixed set: without folders a file that was calibrated with some is made again.
        tests: verification sets whose photographs are refused, besides LFW's pairs (for a detector WIDER FACE).
        faces: crops to calibrate a recogniser with.
        force: quantise again what is up to date; what is calibrated with named photographs always is.
        progress: told how many crops came with each photograph.

    Raises:
        DataError: there is no such model, or the photographs are too few or show too few faces.
        ConversionError: a package is missing, the model is not converted, a photograph is of a test set, or the result
            is no approximation of the network.
    """
    spec = quantisable(name, ws.weights)
    require_quantisers([spec])
    from facepipe.convert.onnx.quantise import Calibration, is_quantised, quantise_model
    from facepipe.convert.onnx.quantise_detector import DETECTOR
    from facepipe.convert.onnx.quantise_recogniser import RECOGNISER, recogniser_inputs

    quantiser = DETECTOR if spec.single_shot else RECOGNISER
    if not force and photographs is None and is_quantised(spec, ws.weights, quantiser):
        return None
    judges = [*(wider_held_out(ws) if spec.single_shot else lfw_held_out(ws)), *tests_named(tests)]
    if spec.single_shot:
        whole = inputs_for(spec, ws, photographs, judges, limits)
        inputs, count, used = whole.inputs, len(whole.inputs), whole.photographs
    else:
        cut = crops_for(spec, ws, photographs, faces, judges, limits, progress)
        inputs, count, used = recogniser_inputs(spec, cut.crops), len(cut.crops), cut.photographs
    named = photographs is not None
    calibration = Calibration(used, count, named, tuple(judge.name for judge in judges))
    return quantise_model(spec, ws.weights, inputs, calibration, quantiser)


def quantisable(name: str, weights: Path) -> ModelSpec:
    """The recogniser or the detector of one network of that name.

    Raises:
        DataError: there is none.
    """
    found = find(name, weights)
    return found if found is not None and found.single_shot is not None else embedder(name, weights)


def require_quantisers(specs: Iterable[ModelSpec]) -> None:
    """Refuse before any work where a package is missing: NNCF for a recogniser, onnxruntime's own for a detector.

    Raises:
        ConversionError: the first one that is not installed.
    """
    needed = ("onnx", "torch", "onnxruntime" if all(spec.single_shot for spec in specs) else "nncf")
    for module in needed:
        if importlib.util.find_spec(module) is None:
            raise ConversionError(
                f"quantise: needs the module '{module}', which is not installed.", "pip install 'facepipe[quantise]'"
            )
