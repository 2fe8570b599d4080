# SPDX-License-Identifier: Apache-2.0
"""A converted model with its convolutions and products in eight bits: what is the same for every quantiser.

The file holds QuantizeLinear and DequantizeLinear around each product, so that one file serves every back end that
knows them. Recognisers and detectors differ in what quantises them and in how the result is judged: a `Quantiser`.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.errors import ConversionError
from facepipe.specs import ModelSpec
from facepipe.store.files import atomic_path
from facepipe.store.made_from import MadeFrom, is_current, require_own, weights_of, write_record
from facepipe.store.model_content import ModelContent, read_model
from facepipe.store.owned import keep_record
from facepipe.store.provenance import versions


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where the calibration inputs come from.

    Attributes:
        photographs: name to sha256 of the file, of every photograph that gave one.
        crops: how many inputs they gave.
        named: whether their user named them; else they are of the fixed set, of which what is published is.
        tests: the sets that they were held against: none of them is of one of these.
    """

    photographs: Mapping[str, str]
    crops: int
    named: bool
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quantiser:
    """One way into eight bits, and the judge of what it makes.

    Attributes:
        takes: whether it can quantise a model.
        taken: the models that it takes, in words: "recogniser".
        settings: what a file is made with: a file of other settings is made again.
        quantise: source, target, float32 inputs [N, 3, H, W]: writes the target.
        figure: what the judge measures, in one word or two: "least_cosine".
        judge: of a model, f32's and the quantised one's answers to some of the inputs, call by call, to that figure.
        accepts: whether a result of that figure is still an approximation of the network.
        expected: the accepted figures in words.
        judged_inputs: how many of the inputs the judge sees.
    """

    takes: Callable[[ModelSpec], bool]
    taken: str
    settings: Mapping[str, object]
    quantise: Callable[[Path, Path, Sequence[np.ndarray]], None]
    figure: str
    judge: Callable[[ModelSpec, Sequence[Answer], Sequence[Answer]], float]
    accepts: Callable[[float], bool]
    expected: str
    judged_inputs: int


Answer = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Quantised:
    """What the record beside `<name>.int8.onnx` tells.

    Attributes:
        figure: what was measured; see `Quantiser`.
        value: how much it is.
        f32_bytes: of the file that it was made from.
        int8_bytes: of the file.
        calibration: where the inputs came from.
    """

    figure: str
    value: float
    f32_bytes: int
    int8_bytes: int
    calibration: Calibration


def is_quantised(spec: ModelSpec, weights: Path, quantiser: Quantiser) -> bool:
    """Whether the quantised file is there, whole, of the model as it is now and by these settings."""
    source = spec.final(weights)
    return source.is_file() and is_current(spec.quantised(weights), _made_from(read_model(source), quantiser))


def quantise_model(
    spec: ModelSpec, weights: Path, inputs: Sequence[np.ndarray], calibration: Calibration, quantiser: Quantiser
) -> Quantised:
    """Write `<name>.int8.onnx` and its record below `weights`.

    Args:
        inputs: float32 [n, C, H, W] each, as the network takes them.
        calibration: where they come from.

    Raises:
        ConversionError: the quantiser takes no such model, the model is not converted, or the result is no longer near
            the network.
    """
    source, target = spec.final(weights), spec.quantised(weights)
    if not quantiser.takes(spec):
        raise ConversionError(f"{spec.name}: is no {quantiser.taken}, expected one: eight bits would move its answers.")
    if not source.is_file():
        attempt = f"`facepipe onnx {spec.name}`"
        raise ConversionError(f"{source}: no such model file, expected the converted {spec.name}.", attempt)
    require_own(target)
    keep_record(target)
    read = read_model(source)
    with atomic_path(target) as part, read.copied() as copy:
        with _quiet():
            quantiser.quantise(copy, part, inputs)
        judged = inputs[: quantiser.judged_inputs]
        value = quantiser.judge(spec, _answers(spec, copy, judged), _answers(spec, part, judged))
        if not quantiser.accepts(value):
            raise ConversionError(
                f"{spec.name}: in eight bits its {quantiser.figure.replace('_', ' ')} with f32 is {value:.3f}, "
                f"expected {quantiser.expected}.",
                "calibration photographs that are nearer to what it will see.",
            )
    told = Quantised(quantiser.figure, value, len(read.content), target.stat().st_size, calibration)
    again = f"facepipe quantise {spec.name} {'--photographs FOLDER' if calibration.named else '--force'}"
    write_record(target, spec.name, _made_from(read, quantiser, named=calibration.named), asdict(told), again=again)
    return told


def _made_from(source: ModelContent, quantiser: Quantiser, *, named: bool = False) -> MadeFrom:
    """A file of photographs that its user named has one setting more: it is not the one that would be made without."""
    settings = {**quantiser.settings, **({"photographs": "named"} if named else {})}
    return MadeFrom({"onnx": source.sha256, **weights_of(source.record)}, settings, versions())


def _answers(spec: ModelSpec, path: Path, inputs: Sequence[np.ndarray]) -> list[Answer]:
    with open_session(OnnxRuntime(RuntimeOptions()), spec, path) as session:
        return [session.run(one) for one in inputs]


@contextmanager
def _quiet() -> Iterator[None]:
    """A quantiser without its printed progress and its advice."""
    loggers = [logging.getLogger(name) for name in (None, "nncf")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
