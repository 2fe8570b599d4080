# SPDX-License-Identifier: Apache-2.0
"""A converted model into eight bits, calibrated on photographs outside the test sets: what `facepipe quantise` does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.assets.workspace import Workspace
from facepipe.catalogue import MODELS, embedder
from facepipe.errors import ConversionError
from facepipe.faces.photographs import EVERYDAY, Limits
from facepipe.runs.calibration import crops_for, inputs_for, lfw_held_out, tests_named, wider_held_out

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
    spec = MODELS[name] if is_single_shot(name) else embedder(name)
    require_quantisers([name])
    from facepipe.convert.onnx.quantise import Calibration, is_quantised, quantise_model
    from facepipe.convert.onnx.quantise_detector import DETECTOR
    from facepipe.convert.onnx.quantise_recogniser import RECOGNISER, recogniser_inputs

    quantiser = DETECTOR if is_single_shot(name) else RECOGNISER
    if not force and photographs is None and is_quantised(spec, ws.weights, quantiser):
        return None
    judges = [*(wider_held_out(ws) if is_single_shot(name) else lfw_held_out(ws)), *tests_named(tests)]
    if is_single_shot(name):
        whole = inputs_for(spec, ws, photographs, judges, limits)
        inputs, count, used = whole.inputs, len(whole.inputs), whole.photographs
    else:
        cut = crops_for(spec, ws, photographs, faces, judges, limits, progress)
        inputs, count, used = recogniser_inputs(spec, cut.crops), len(cut.crops), cut.photographs
    named = photographs is not None
    calibration = Calibration(used, count, named, tuple(judge.name for judge in judges))
    return quantise_model(spec, ws.weights, inputs, calibration, quantiser)


def is_single_shot(name: str) -> bool:
    """Whether that is a detector of one network; else it is taken for a recogniser."""
    return name in MODELS and MODELS[name].single_shot is not None


def require_quantisers(names: Iterable[str]) -> None:
    """Refuse before any work where a package is missing: NNCF for a recogniser, onnxruntime's own for a detector.

    Raises:
        ConversionError: the first one that is not installed.
    """
    needed = ("onnx", "torch", "onnxruntime" if all(map(is_single_shot, names)) else "nncf")
    for module in needed:
        if importlib.util.find_spec(module) is None:
            raise ConversionError(
                f"quantise: needs the module '{module}', which is not installed.", "pip install 'facepipe[quantise]'"
            )
