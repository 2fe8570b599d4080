# SPDX-License-Identifier: Apache-2.0
"""A detector of one network with its decoding in the graph, for programs that are not facepipe.

One picture of one size in; scores and boxes of every prior out, and landmarks where the network has them. Suppression
is left to the program: it depends on the threshold. UltraFace's is, tensor for tensor, the ONNX that its authors
publish (convert_to_onnx.py of Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB); the others follow its form.

| tensor | shape | what |
|---|---|---|
| input | [1, 3, H, W] | the picture, as the catalogue's `pixels` say |
| scores | [1, P, 2] | no face, face: they add up to 1; BlazeFace has the face's alone, [1, P, 1] |
| boxes | [1, P, 4] | x1, y1, x2, y2 in fractions of the input's sides |
| landmarks | [1, P, 2 K] | x, y of each, in the same fractions; not of UltraFace |

The operators that come in (Slice, Mul, Add, Sub, Exp, Concat, Softmax, Sigmoid) are the same from opset 11 on in what
is asked of them here, and TVM, OpenCV's DNN module and OpenVINO take them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime, load_raw
from facepipe.convert.onnx.probe import uniform_pictures
from facepipe.errors import BackendError, ConversionError, first_line
from facepipe.geometry.anchors import decode_boxes, decode_landmarks, face_scores, priors
from facepipe.specs import ModelSpec, SingleShot
from facepipe.store.files import atomic_path
from facepipe.store.model_content import read_model

TOLERANCE = 1e-5
"""Of each number's |a - b| / max(1, |a|): what float32 in another order of the same products comes to."""

INPUT = "input"
PROBES = 2  # inputs that a file is judged on


@dataclass(frozen=True, slots=True)
class Decoded:
    """An export with decoding in the graph.

    Attributes:
        shapes: of the input and of every output, by name, in the file's order.
        difference: of any number from the project's own decoding of the same network; see `farthest`.
    """

    shapes: dict[str, tuple[int, ...]]
    difference: float


def write_decoded(
    spec: ModelSpec, weights: Path, target: Path, size: tuple[int, int] | None = None, *, overwrite: bool = False
) -> Decoded:
    """Write a converted detector with its decoding in the graph, held against the project's own decoding.

    Args:
        weights: folder of converted models.
        size: (height, width) of the input; None: the catalogue's.
        overwrite: `target` may be a file that is there.

    Raises:
        ConversionError: it is no detector of one network, is not converted, does not run at that size, or the outputs
            are not those of the project; nothing was written.

    Example:
        >>> spec = model("ultraface.rfb-320")  # doctest: +SKIP
        >>> write_decoded(spec, Path("weights"), Path("face.onnx")).shapes  # doctest: +SKIP
        {'input': (1, 3, 240, 320), 'scores': (1, 4420, 2), 'boxes': (1, 4420, 4)}
    """
    shot = _shot(spec)
    height, width = size or shot.size
    for name, dim, side in zip(("height", "width"), spec.input.dims[2:], (height, width), strict=True):
        if not dim.admits(side):
            attempt = f"--size {shot.size[0]}x{shot.size[1]}."
            raise ConversionError(f"{spec.name}: an input of {name} {side}, expected {dim} pixels.", attempt)
    source = spec.final(weights)
    if not source.is_file():
        attempt = f"`facepipe onnx {spec.name}`"
        raise ConversionError(f"{source}: no such model file, expected the converted {spec.name}.", attempt)
    read = read_model(source)
    with atomic_path(target, overwrite=overwrite) as part, read.copied() as copy:
        model = with_decoding(onnx.load_from_string(read.content), spec, (height, width))
        part.write_bytes(model.SerializeToString())
        difference = _difference(spec, copy, part, (height, width))
    return Decoded({value.name: _shape(value) for value in (*model.graph.input, *model.graph.output)}, difference)


def with_decoding(model: onnx.ModelProto, spec: ModelSpec, size: tuple[int, int]) -> onnx.ModelProto:
    """A converted detector's ONNX for one picture of (height, width), decoded; the argument stays as it is.

    Raises:
        ConversionError: the network has another number of rows at that size than the catalogue has priors.
    """
    shot = _shot(spec)
    decoded = onnx.ModelProto()
    decoded.CopyFrom(model)
    graph = decoded.graph
    anchors = priors(shot.priors, *size)
    image = graph.input[0].name
    for node in graph.node:
        node.input[:] = [INPUT if name == image else name for name in node.input]
    del graph.input[:], graph.output[:], graph.value_info[:]  # their shapes spoke of any batch and size
    graph.input.append(_value(INPUT, (1, 3, *size)))
    offsets, logits = spec.outputs[0].name, spec.outputs[-1].name

    classes = spec.outputs[-1].dims[-1].low
    graph.node.append(
        helper.make_node("Sigmoid", [logits], ["scores"])
        if classes == 1
        else helper.make_node("Softmax", [logits], ["scores"], axis=2)
    )
    graph.output.append(_value("scores", (1, len(anchors), classes)))
    _append(graph, "boxes", *_box_nodes(offsets, anchors, shot))
    graph.output.append(_value("boxes", (1, len(anchors), 4)))
    if shot.keypoints:
        _append(graph, "landmarks", *_landmark_nodes(spec.outputs[1].name, anchors, shot))
        graph.output.append(_value("landmarks", (1, len(anchors), 2 * shot.keypoints)))
    decoded.doc_string = _description(spec, size)
    try:
        # What the graph says of its shapes must be what comes out of it: the priors are the catalogue's.
        inferred = onnx.shape_inference.infer_shapes(decoded, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = first_line(error)
        raise ConversionError(
            f"{spec.name}: {len(anchors)} priors at {size[0]} x {size[1]} pixels do not fit the network ({reason})."
        ) from error
    return inferred


def decode(spec: ModelSpec, outputs: tuple[np.ndarray, ...], size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """What the file must answer, by the project's own decoding: float32 [1, P, ...] each, from one row's outputs."""
    shot = _shot(spec)
    anchors = priors(shot.priors, *size)
    face = face_scores(outputs[-1][0])  # (P,)
    # The other class is a difference from 1, so that it has the face's rounding; what is compared is small beside it.
    scores = face[:, None] if outputs[-1].shape[-1] == 1 else np.stack([1 - face, face], axis=1)
    with np.errstate(over="ignore"):  # a network may ask noise for a box without end; the graph's is as large
        found = [scores, decode_boxes(outputs[0][0], anchors, shot.code)]
    if shot.keypoints:
        found.append(decode_landmarks(outputs[1][0], anchors, shot.code).reshape(len(anchors), -1))
    return tuple(one[None] for one in found)


Nodes = tuple[list[onnx.NodeProto], dict[str, np.ndarray]]
"""Nodes of one output and the constants that they read."""


def _box_nodes(offsets: str, anchors: np.ndarray, shot: SingleShot) -> Nodes:
    """Corner boxes, as `geometry.anchors.decode_boxes`: products of two constants are taken once, here."""
    code, side = shot.code, anchors[None, :, 2:]
    constants = {
        "first": np.array([0]),
        "second": np.array([2]),
        "end": np.array([4]),
        "axis": np.array([2]),
        "centre": anchors[None, :, :2],
        "reach": np.float32(code.centre) * side,
        "half_side": side / np.float32(2) if code.exponential else np.float32(code.size) * side / np.float32(2),
    }
    nodes = [
        helper.make_node("Slice", [offsets, "first", "second", "axis"], ["moves"]),
        helper.make_node("Mul", ["moves", "reach"], ["shift"]),
        helper.make_node("Add", ["shift", "centre"], ["middle"]),
        helper.make_node("Slice", [offsets, "second", "end", "axis"], ["sizes"]),
    ]
    if code.exponential:
        constants["size_code"] = np.array([code.size], np.float32)
        nodes += [
            helper.make_node("Mul", ["sizes", "size_code"], ["logarithms"]),
            helper.make_node("Exp", ["logarithms"], ["growth"]),
        ]
    nodes += [
        helper.make_node("Mul", ["growth" if code.exponential else "sizes", "half_side"], ["half"]),
        helper.make_node("Sub", ["middle", "half"], ["low"]),
        helper.make_node("Add", ["middle", "half"], ["high"]),
        helper.make_node("Concat", ["low", "high"], ["boxes"], axis=2),
    ]
    return nodes, constants


def _landmark_nodes(offsets: str, anchors: np.ndarray, shot: SingleShot) -> Nodes:
    """Points, as `geometry.anchors.decode_landmarks`."""
    reach = np.float32(shot.code.centre) * anchors[None, :, 2:]
    constants = {
        "centre": np.tile(anchors[None, :, :2], (1, 1, shot.keypoints)),
        "reach": np.tile(reach, (1, 1, shot.keypoints)),
    }
    nodes = [
        helper.make_node("Mul", [offsets, "reach"], ["shift"]),
        helper.make_node("Add", ["shift", "centre"], ["landmarks"]),
    ]
    return nodes, constants


def _append(graph: onnx.GraphProto, output: str, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> None:
    """The nodes of one output into the graph, the names of their own tensors behind the output's."""
    own = {*constants, *(name for node in nodes for name in node.output)} - {output}
    for node in nodes:
        node.input[:] = [f"{output}/{name}" if name in own else name for name in node.input]
        node.output[:] = [f"{output}/{name}" if name in own else name for name in node.output]
        graph.node.append(node)
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), f"{output}/{name}") for name, value in constants.items()
    )


def farthest(reference: np.ndarray, other: np.ndarray) -> float:
    """The greatest |a - b| / max(1, |a|) of two arrays of one shape: each number by its own size, so that one huge box
    excuses no other. NaN where either holds one, or where one alone is infinite.

    Example:
        >>> farthest(np.array([1e6, 0.5]), np.array([1e6, 0.25]))
        0.25
    """
    with np.errstate(invalid="ignore"):  # infinite less infinite, of equal ones, is replaced
        apart = np.where(reference == other, 0.0, np.abs(reference - other) / np.maximum(1.0, np.abs(reference)))
    return float(apart.max())


def _difference(spec: ModelSpec, source: Path, decoded: Path, size: tuple[int, int]) -> float:
    """The greatest difference of the file from the project's decoding, on pictures of noise.

    Raises:
        ConversionError: it is beyond the tolerance; or the file does not run.
    """
    found = []
    try:
        session = load_raw(decoded, RuntimeOptions())
        with open_session(OnnxRuntime(), spec, source) as network:
            for picture in uniform_pictures(spec, [(1, 3, *size)] * PROBES):
                expected, answers = decode(spec, network.run(picture), size), session.run((picture,))
                for tensor, a, b in zip(session.outputs, expected, answers, strict=True):
                    apart = farthest(a, b)
                    if not apart <= TOLERANCE:
                        raise ConversionError(
                            f"{spec.name}: '{tensor.name}' of the decoded graph is {apart:.3g} from the project's "
                            f"decoding, expected at most {TOLERANCE}."
                        )
                    found.append(apart)
    except BackendError as error:
        raise ConversionError(f"{spec.name}: the decoded graph does not run: {error.what}", error.attempt) from error
    return max(found)


def _shot(spec: ModelSpec) -> SingleShot:
    if spec.single_shot is None:
        raise ConversionError(
            f"{spec.name}: is no detector of one network, so there is no decoding to put into its graph.",
            "ultraface.*, retinaface.* or blazeface.*; `facepipe models` lists them.",
        )
    if spec.single_shot.heads != "joined":
        raise ConversionError(
            f"{spec.name}: has the outputs of {spec.single_shot.heads}, stride by stride, expected joined ones.",
            "its own file, or ultraface.*, retinaface.* or blazeface.*.",
        )
    return spec.single_shot


def _description(spec: ModelSpec, size: tuple[int, int]) -> str:
    """What a program must know of the file, in its doc_string."""
    return " ".join(_sentences(spec, size))


def _sentences(spec: ModelSpec, size: tuple[int, int]) -> Iterator[str]:
    pixels, shot = spec.pixels, _shot(spec)
    yield f"{spec.name}, decoded, by facepipe."
    yield f"input: {pixels.order} planes of {size[0]} x {size[1]} pixels, (byte - mean) * scale;"
    yield f"mean {', '.join(f'{value:g}' for value in pixels.mean)};"
    yield f"scale {', '.join(f'{value:.9g}' for value in pixels.scale)}."
    yield "boxes: x1, y1, x2, y2 in fractions of the input's sides."
    if shot.keypoints:
        yield f"landmarks: x, y of {shot.keypoints} points, in the same fractions."
    yield f"Everyday threshold {shot.threshold:g}, then suppression at IoU {shot.suppression.overlap:g}."
    yield f"Weights: {spec.weights.licence}."


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
