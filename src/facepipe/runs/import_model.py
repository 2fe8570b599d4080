# SPDX-License-Identifier: Apache-2.0
"""An ONNX file of a user's own becomes a model with a name: looked at, run once, copied, and told of in a record.

What a file itself tells (names, sizes, opset) is taken from it. What it does not tell, and what costs accuracy when it
is wrong (the order of colours, their mean and scale, the alignment), is taken from a model of the catalogue that it is
like, or given.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from facepipe.backends.base import RuntimeOptions
from facepipe.backends.onnx_wire import opset_of
from facepipe.backends.ort import RawSession, RawTensor, raw_session
from facepipe.catalogue import embedder, is_taken
from facepipe.catalogue.imported import (
    NAME,
    as_imported,
    detector_input,
    detector_outputs,
    own_weights,
    record_path,
    record_text,
    rows_of,
)
from facepipe.catalogue.mobilefacenet import ARCFACE_112
from facepipe.catalogue.own_detectors import DETECTOR_FORMS, STRIDES
from facepipe.convert.onnx.models import torch_here
from facepipe.convert.onnx.report import Step
from facepipe.embed.embedder import unit_rows
from facepipe.errors import BackendError, DataError
from facepipe.geometry.normalise import normalise
from facepipe.specs import (
    Alignment,
    AtcOptions,
    FivePoint,
    MarginCrop,
    ModelSpec,
    Pixels,
    SingleShot,
    TensorSpec,
    Weights,
    fixed,
)
from facepipe.store.files import write_bytes, write_text
from facepipe.store.model_content import ModelContent, read_model
from facepipe.store.owned import adopt, keep_record, require_free

NO_LICENCE = "not stated: the file is its user's"
_SCORE_SLACK = 0.01
_WEIGHTS = (".pt", ".pth", ".ckpt", ".pdparams", ".safetensors")
SAME_DIRECTION = 0.9999
"""Least cosine of one picture's embedding alone with the same among others: libraries add up in another order."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a user says of a file, instead of what the model says that it is like. None: as that one.

    Attributes:
        pixels: "RGB" or "BGR".
        mean, std: of each channel in that order, in 0..255: the network sees (x - mean) / std.
        alignment: "five-point", ArcFace's template at the input's size, or "margin:N", the box and N pixels around it.
        threshold: cosine above which two faces are one person's; of a detector, the least score of a face.
        licence: in words.
    """

    pixels: Literal["RGB", "BGR"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    alignment: str | None = None
    threshold: float | None = None
    licence: str | None = None


NOTHING_TOLD = Told()


def import_recogniser(
    file: Path,
    like: str,
    weights: Path,
    name: str | None = None,
    told: Told = NOTHING_TOLD,
    *,
    overwrite: bool = False,
) -> ModelSpec:
    """Check a recogniser, run it once on onnxruntime, and make it known in `weights` by a name.

    Args:
        file: the ONNX; it stays where it is, and `weights/<name>.onnx` is a copy.
        like: an embedder; what the file does not tell is as there.
        weights: the folder of models; gets the record `<name>.toml` too.
        name: None: the file's own.
        told: what is otherwise than there.
        overwrite: another model of that name may be replaced.

    Raises:
        DataError: there is no such embedder, the name is taken, or the file's inputs, outputs or answers are no
            recogniser's; what it has is named.
        BackendError: onnxruntime cannot load or run it.
        StageError: another file is there already.
    """
    name, likeness = _named(file, name), embedder(like, weights)
    _require_free(name, file, weights, overwrite)
    content = _content(file)
    spec = _checked_recogniser(name, likeness, told, file, content)
    _write(spec, content, weights, overwrite)
    return spec


def holds_weights(file: Path) -> bool:
    """Whether a file of that name holds PyTorch's or Paddle's weights, and no ONNX."""
    return file.suffix in _WEIGHTS


def import_network(
    file: Path,
    factory: str | None,
    like: str,
    weights: Path,
    name: str | None = None,
    told: Told = NOTHING_TOLD,
    *,
    overwrite: bool = False,
) -> tuple[ModelSpec, tuple[Step, ...]]:
    """The same of a recogniser in PyTorch: exported with parity after every step, then as any file; and those steps.

    Args:
        file: its weights, such as a training leaves them.
        factory: "package.module:function" that builds it. Its code is run. None: the network is that of `like`.

    Raises:
        ConversionError: the function returns no such network, a step failed, or a package is missing.
        WeightsError: the weights are not this network's.
        DataError, BackendError, StageError: as `import_recogniser`.
    """
    name, likeness = _named(file, name), embedder(like, weights)
    _require_free(name, file, weights, overwrite)
    if not file.is_file():
        raise BackendError(f"{file}: no such file, expected weights of {factory or likeness.name}.")
    with torch_here(likeness):
        from facepipe.convert.onnx.own_network import onnx_from_factory, onnx_from_weights
    pixels = _pixels(likeness.pixels, told, file)
    if factory is None:
        made = onnx_from_weights(file, replace(likeness, pixels=pixels, imported=None), name)
    else:
        made = onnx_from_factory(factory, file, replace(likeness, name=name, pixels=pixels, imported=None))
    content = ModelContent(weights / f"{name}.onnx", made.onnx, hashlib.sha256(made.onnx).hexdigest(), None)
    spec = _checked_recogniser(name, replace(likeness, network=factory or likeness.network), told, file, content)
    spec = as_imported(spec, f"{name}.onnx", content.sha256, told.threshold, made.weights_sha256)
    _write(spec, content, weights, overwrite)
    return spec, made.steps


def _checked_recogniser(name: str, like: ModelSpec, told: Told, file: Path, content: ModelContent) -> ModelSpec:
    session = raw_session(content, RuntimeOptions(), _OTHER_OPERATORS)
    spec = _recogniser(name, like, told, file, content, session)
    _require_recogniser(spec, session, file)
    return spec


def import_detector(
    file: Path,
    form: str,
    weights: Path,
    name: str | None = None,
    told: Told = NOTHING_TOLD,
    *,
    overwrite: bool = False,
) -> ModelSpec:
    """The same of a detector: its outputs are decoded as those of a form in `catalogue.own_detectors`.

    Args:
        form: "scrfd" or "yunet".
        told: `threshold` is the least score of a face; it has no alignment.

    Raises:
        DataError: there is no such form, the name is taken, or the file's inputs, outputs or answers are of another.
        BackendError, StageError: as `import_recogniser`.
    """
    name = _named(file, name)
    if form not in DETECTOR_FORMS:
        raise DataError(f"detector form '{form}' is not known, expected one of {', '.join(DETECTOR_FORMS)}.")
    if told.alignment is not None:
        raise DataError(f"{file}: an alignment was given, expected none of a detector.", "leave --alignment off.")
    _require_free(name, file, weights, overwrite)
    content = _content(file)
    session = raw_session(content, RuntimeOptions(), _OTHER_OPERATORS)
    spec = _detector(name, form, told, file, content, session)
    _write(spec, content, weights, overwrite)
    return spec


def _require_free(name: str, file: Path, weights: Path, overwrite: bool) -> None:
    """Refuse, before any work, to write over what is another's; a file that lies there already may be its own copy."""
    places = (weights / f"{name}.onnx", record_path(name, weights))
    require_free([path for path in places if not _is_same(path, file)], overwrite)


def _write(spec: ModelSpec, content: ModelContent, weights: Path, overwrite: bool) -> None:
    """The ONNX of a model and then its record, which names it by digest; both whole."""
    target = spec.final(weights)
    keep_record(target)
    if target.is_file() and target.read_bytes() == content.content:
        adopt(target)
    else:
        write_bytes(target, content.content, overwrite=overwrite)
    write_text(record_path(spec.name, weights), record_text(spec), overwrite=overwrite)


_OTHER_PIXELS = "another --mean and --std, or the file of a trained network."
_OTHER_OPERATORS = "export it again with ONNX's own operators, opset 11 to 17; `facepipe check FILE` names others."


def _named(file: Path, name: str | None) -> str:
    """The name for a model.

    Raises:
        DataError: it is none, or the catalogue has it.
    """
    given = file.stem if name is None else name
    if not NAME.fullmatch(given):
        raise DataError(
            f"'{given}' is no name of a model, expected letters, digits and . _ - between them.", "--name mine"
        )
    if is_taken(given):
        raise DataError(f"{given}: the catalogue has a model of this name, expected another.", "--name mine")
    return given


def _is_same(path: Path, file: Path) -> bool:
    """Whether that is the very file, which its user put where models lie."""
    return path.exists() and file.exists() and path.samefile(file)


def _content(file: Path) -> ModelContent:
    if not file.is_file():
        raise BackendError(f"{file}: no such file, expected an ONNX model.")
    if holds_weights(file):
        raise DataError(
            f"{file}: holds weights of a network, expected an ONNX model.",
            "its ONNX; a recogniser's are taken with --like.",
        )
    return read_model(file)


def _recogniser(
    name: str, like: ModelSpec, told: Told, file: Path, content: ModelContent, session: RawSession
) -> ModelSpec:
    """What is known of a file that has a recogniser's inputs and outputs."""
    image = _image_input(session, file)
    (output,) = _outputs(session, file, 1, "one row of numbers for each face")
    batch, side = image.shape[0], _side(image, like, told, file)
    rows = rows_of(batch or 0)
    shape = output.shape
    if len(shape) != 2 or shape[1] is None:
        raise DataError(
            f"{file}: its output '{output.name}' is {_axes(shape)}, expected [N, D], an embedding for each face.",
            "export it without what stands behind the embedding, and with its length written down.",
        )
    pixels = _pixels(like.pixels, told, file)
    spec = replace(
        like,
        name=name,
        inputs=(TensorSpec(image.name, (rows, fixed(3), fixed(side), fixed(side))),),
        outputs=(TensorSpec(output.name, (rows, fixed(shape[1]))),),
        pixels=pixels,
        weights=_weights(name, content, told),
        opset=opset_of(content.content),
        passes=(),
        atc=AtcOptions(aipp=like.atc.aipp and pixels == like.pixels),
        alignment=_alignment(like, told, side),
        thresholds=None,
        linking=None,  # measured of the other weights, as thresholds are
        for_accuracy=True,
        imported=None,
    )
    return as_imported(spec, f"{name}.onnx", content.sha256, told.threshold)


def _detector(name: str, form: str, told: Told, file: Path, content: ModelContent, session: RawSession) -> ModelSpec:
    """What is known of a file that has the inputs, outputs and answers of a detector of that form."""
    image, known = _image_input(session, file), DETECTOR_FORMS[form]
    outputs = _float_outputs(session, file)
    shot, given = known.single_shot, image.shape[2:]
    height, width = (free if side is None else side for side, free in zip(given, shot.size, strict=True))
    least = shot.threshold if told.threshold is None else told.threshold
    if not 0 <= least < 1:
        raise DataError(f"{file}: a detector's threshold is {least}, expected a score in 0 to 1.", "--threshold 0.5")
    pixels = _pixels(known.pixels, told, file)
    try:
        tensors = detector_outputs([output.name for output in outputs], form, image.shape[0] or 0)
    except ValueError as error:
        raise DataError(f"{file}: {error}.") from error
    if height % STRIDES[-1] or width % STRIDES[-1]:
        raise DataError(f"{file}: its input is {height}x{width}, expected sides that are multiples of {STRIDES[-1]}.")
    has_landmarks = tensors[-1].dims[2].low > 4
    spec = ModelSpec(
        name=name,
        task="detect",
        network=form,
        inputs=(detector_input(image.name, image.shape[0] or 0, (height, width), any_size=None in given),),
        outputs=tensors,
        pixels=pixels,
        weights=_weights(name, content, told),
        opset=opset_of(content.content),
        passes=(),
        single_shot=replace(
            shot, size=(height, width), threshold=float(least), keypoints=shot.keypoints if has_landmarks else 0
        ),
    )
    spec = _of_answers(spec, session, file)
    return as_imported(spec, f"{name}.onnx", content.sha256)


def _of_answers(spec: ModelSpec, session: RawSession, file: Path) -> ModelSpec:
    """The same, with what only its answers tell: whether they have an axis of rows.

    Raises:
        DataError: the answers are not of its form: another order of outputs, other scores, no numbers.
    """
    shot, rows = spec.single_shot, spec.input.dims[0].low
    assert shot is not None, "a detector of one network"
    height, width = shot.size
    noise = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    inputs = np.repeat(normalise(noise, spec.pixels), rows, axis=0)
    answers = session.run((inputs,))
    cells = [height // stride * (width // stride) * len(sides) for stride, sides in _maps(shot)]
    expected = [(count, tensor.dims[2].low) for tensor, count in zip(spec.outputs, cells * len(answers), strict=False)]
    shapes = [answer.shape for answer in answers]
    batched = shapes == [(rows, *shape) for shape in expected]
    if not batched and (rows != 1 or shapes != expected):
        told = ", ".join(f"{tensor.name} {list(shape)}" for tensor, shape in zip(spec.outputs, shapes, strict=True))
        wanted = ", ".join(str([rows, *shape]) for shape in expected)
        raise DataError(f"{file}: for {height}x{width} its outputs are {told}, expected {spec.network}'s {wanted}.")
    if not all(np.isfinite(answer).all() for answer in answers):
        raise DataError(f"{file}: its outputs are not finite, expected numbers.", _OTHER_PIXELS)
    # Within what rounding leaves: YuNet's reader cuts them to 0..1 itself.
    scores = answers[: len(STRIDES) * (2 if spec.network == "yunet" else 1)]
    low, high = (float(pick([pick(score) for score in scores])) for pick in (np.min, np.max))
    if low < -_SCORE_SLACK or high > 1 + _SCORE_SLACK:
        raise DataError(
            f"{file}: its scores are {low:.3g} to {high:.3g}, expected 0 to 1.",
            "export it with its sigmoid.",
        )
    if batched:
        return spec
    one = fixed(1)
    image = replace(spec.input, dims=(one, *spec.input.dims[1:]))
    outputs = tuple(replace(tensor, dims=(one, *tensor.dims[1:])) for tensor in spec.outputs)
    return replace(spec, inputs=(image,), outputs=outputs, single_shot=replace(shot, batched=False))


def _maps(shot: SingleShot) -> list[tuple[int, tuple[int, ...]]]:
    return list(zip(shot.priors.strides, shot.priors.sides, strict=True))


def _weights(name: str, content: ModelContent, told: Told) -> Weights:
    return own_weights(f"{name}.onnx", content.sha256, told.licence or NO_LICENCE)


def _image_input(session: RawSession, file: Path) -> RawTensor:
    """The one input, [N, 3, H, W].

    Raises:
        DataError: there are others, or it is of another form.
    """
    inputs = session.inputs
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise DataError(f"{file}: has {len(inputs)} inputs ({names}), expected one picture.")
    image = inputs[0]
    if image.dtype != "float32":
        raise DataError(f"{file}: its input '{image.name}' is {image.dtype}, expected float32.")
    if len(image.shape) != 4 or image.shape[1] not in (3, None):
        channels_last = len(image.shape) == 4 and image.shape[3] == 3
        raise DataError(
            f"{file}: its input '{image.name}' is {_axes(image.shape)}, expected [N, 3, height, width].",
            "export it with channels first." if channels_last else None,
        )
    return image


def _outputs(session: RawSession, file: Path, count: int, what: str) -> tuple[RawTensor, ...]:
    """The outputs.

    Raises:
        DataError: there are more or fewer than `count`, or one is of other numbers.
    """
    outputs = session.outputs
    if len(outputs) != count:
        told = ", ".join(f"{tensor.name} {_axes(tensor.shape)}" for tensor in outputs)
        raise DataError(f"{file}: has {len(outputs)} outputs ({told}), expected {count}: {what}.")
    return _float_outputs(session, file)


def _float_outputs(session: RawSession, file: Path) -> tuple[RawTensor, ...]:
    outputs = session.outputs
    for output in outputs:
        if output.dtype != "float32":
            raise DataError(f"{file}: its output '{output.name}' is {output.dtype}, expected float32.")
    return outputs


def _side(image: RawTensor, like: ModelSpec, told: Told, file: Path) -> int:
    """The side of the square input; of a file that takes any, that of the model it is like."""
    assert like.alignment is not None, "an embedder is aligned"
    wanted = like.alignment.size
    height, width = (wanted if side is None else side for side in image.shape[2:])
    if height != width:
        raise DataError(f"{file}: its input is {height}x{width} (height x width), expected a square.")
    if height != wanted and told.alignment is None:
        raise DataError(
            f"{file}: its input is {height}x{width}, and {like.name}, which it is to be like, is aligned to "
            f"{wanted}x{wanted}.",
            "--alignment five-point, ArcFace's template at that size, or --alignment margin:N.",
        )
    return height


def _pixels(like: Pixels, told: Told, file: Path) -> Pixels:
    if told.pixels is not None and told.pixels != like.order:  # what is listed in one order is listed in the other
        like = Pixels(told.pixels, like.mean[::-1], like.scale[::-1])
    mean = told.mean or like.mean
    if told.std is not None and not all(np.isfinite(value) and value > 0 for value in told.std):
        raise DataError(f"{file}: std is {told.std}, expected three numbers above 0.", "--std 127.5 127.5 127.5")
    if not all(0 <= value <= 255 for value in mean):
        raise DataError(f"{file}: mean is {mean}, expected three numbers in 0 to 255.", "--mean 127.5 127.5 127.5")
    scale = like.scale if told.std is None else (1 / told.std[0], 1 / told.std[1], 1 / told.std[2])
    return Pixels(like.order, _floats(mean), _floats(scale))


def _floats(three: tuple[float, float, float]) -> tuple[float, float, float]:
    """As a record brings them back: 0 and 0.0 are one number, and not one digest."""
    return float(three[0]), float(three[1]), float(three[2])


def _alignment(like: ModelSpec, told: Told, side: int) -> Alignment:
    if told.alignment is None:
        assert like.alignment is not None, "an embedder is aligned"
        return like.alignment
    kind, _, margin = told.alignment.partition(":")
    if kind == "five-point" and not margin:
        by = side / ARCFACE_112.size
        return FivePoint(side, tuple((x * by, y * by) for x, y in ARCFACE_112.template))
    if kind == "margin" and margin.isdecimal():
        return MarginCrop(side, int(margin))
    raise DataError(f"alignment '{told.alignment}' is not known, expected five-point or margin:PIXELS.")


def _require_recogniser(spec: ModelSpec, session: RawSession, file: Path) -> None:
    """Run it once: embeddings of two pictures, alone and together.

    Raises:
        DataError: they are no embeddings; in what.
        BackendError: it does not run.
    """
    rows = spec.input.dims[0]
    side, width = spec.input.dims[2].low, spec.outputs[0].dims[1].low
    # Noise, and its opposite: whatever a network looks at, it is there.
    noise = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    crops = np.concatenate([noise, 255 - noise])
    alone = np.concatenate([_answer(session, spec, crops[[row] * rows.low], width, file)[:1] for row in (0, 1)])
    units = unit_rows(alone, str(file))
    if float(units[0] @ units[1]) > SAME_DIRECTION:
        raise DataError(
            f"{file}: a picture and its negative have the same embedding, expected different ones.",
            _OTHER_PIXELS,
        )
    if rows.is_fixed:
        return
    together = unit_rows(_answer(session, spec, crops, width, file), str(file))
    least = float((units * together).sum(axis=1).min())
    if not least > SAME_DIRECTION:
        raise DataError(
            f"{file}: a picture's embedding changes with what else is in the batch (cosine {least:.4f}).",
            "export it after .eval(), or with a batch of 1.",
        )


def _answer(session: RawSession, spec: ModelSpec, crops: np.ndarray, width: int, file: Path) -> np.ndarray:
    (answer,) = session.run((normalise(crops, spec.pixels),))
    if answer.shape != (len(crops), width):
        raise DataError(
            f"{file}: for {len(crops)} faces the output '{spec.outputs[0].name}' is {list(answer.shape)}, expected "
            f"[{len(crops)}, {width}]."
        )
    if not np.isfinite(answer).all():
        raise DataError(f"{file}: its embeddings are not finite, expected numbers.", _OTHER_PIXELS)
    return answer


def _axes(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"
