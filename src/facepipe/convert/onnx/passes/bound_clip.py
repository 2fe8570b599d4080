# SPDX-License-Identifier: Apache-2.0
"""The pass `bound_clip`: Clip nodes with two finite bounds that half precision can hold."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facepipe.catalogue.chips import FP16_MAX, FP16_NORMAL
from facepipe.convert.onnx.passes.graph import (
    add_constant,
    constants,
    default_opset,
    describe,
    nodes,
    remove_unused_constants,
    tensor_types,
)
from facepipe.errors import ConversionError

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
_INTEGERS = (
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.UINT32,
    TensorProto.UINT64,
)


def bound_clip(model: onnx.ModelProto) -> int:
    """Give every Clip of floats both bounds, within +-65504 and none vanishing in fp16; return the number of edits.

    1. Opset 6 to 10 keeps the bounds in attributes, 11 and later in optional inputs; each is edited in its own form.
    2. An absent or wider bound becomes +-65504. The vendor's 999999999 is infinite in fp16.
    3. A positive lower bound below 2**-14 becomes 2**-14. It guards a division, and 1e-12 is zero in fp16.
    4. Bounds of integers are exact and stay as they are.

    Values beyond the new bounds would be cut: the parity check after the pass is what shows that there are none.

    Raises:
        ConversionError: a bound is computed, NaN, of another type, or means something that fp16 cannot express; or the
            opset is below 6.
    """
    opset = default_opset(model)
    if opset < 6:
        raise ConversionError(f"pass bound_clip: the model has opset {opset}, expected 6 or later.")
    clips = nodes(model, "Clip")
    return _bound_attributes(clips) if opset < 11 else _bound_inputs(model, clips)


def _bound_attributes(clips: list[onnx.NodeProto]) -> int:
    edits = 0
    for node, bounds in [(node, _attribute_bounds(node)) for node in clips]:
        given = {attribute.name: attribute.f for attribute in node.attribute}
        if given == bounds:
            continue
        kept = [attribute for attribute in node.attribute if attribute.name not in bounds]
        del node.attribute[:]
        node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in bounds.items())])
        edits += 1
    return edits


def _attribute_bounds(node: onnx.NodeProto) -> dict[str, float]:
    given = {attribute.name: attribute.f for attribute in node.attribute}
    low, high = _fp16_bounds(given.get("min", -np.inf), given.get("max", np.inf), describe(node))
    return {"min": low, "max": high}


def _bound_inputs(model: onnx.ModelProto, clips: list[onnx.NodeProto]) -> int:
    types, stored = tensor_types(model), constants(model)
    wanted = []
    for node in clips:  # all are judged before any edit
        element = types[node.input[0]].element if node.input[0] in types else TensorProto.UNDEFINED
        if element in _INTEGERS:
            continue
        if element not in _FLOATS:
            raise ConversionError(f"{describe(node)}: its input is of an unknown type, expected float32, 16 or 64.")
        given = [_input_bound(node, position, stored) for position in (1, 2)]
        low, high = (-np.inf if given[0] is None else given[0]), (np.inf if given[1] is None else given[1])
        wanted.append((node, element, given, _fp16_bounds(low, high, describe(node))))
    replaced = set[str]()
    for node, element, given, bounds in wanted:
        node.input.extend([""] * (3 - len(node.input)))
        for position, role, old, new in zip((1, 2), ("min", "max"), given, bounds, strict=True):
            if old == new:
                continue
            replaced.add(node.input[position])
            array = np.array(new, helper.tensor_dtype_to_np_dtype(element))
            node.input[position] = add_constant(model, f"{node.output[0]}_{role}", array)
    remove_unused_constants(model, replaced)
    return sum(any(old != new for old, new in zip(given, bounds, strict=True)) for _, _, given, bounds in wanted)


def _input_bound(node: onnx.NodeProto, position: int, stored: dict[str, onnx.TensorProto]) -> float | None:
    """The constant behind an optional input; None when there is none."""
    if len(node.input) <= position or not node.input[position]:
        return None
    name = node.input[position]
    if name not in stored:
        raise ConversionError(f"{describe(node)}: its bound '{name}' is computed or an input, expected a constant.")
    array = numpy_helper.to_array(stored[name])
    if array.size != 1:
        raise ConversionError(
            f"{describe(node)}: its bound '{name}' has shape {list(array.shape)}, expected one number."
        )
    return float(array.reshape(()))


def _fp16_bounds(low: float, high: float, where: str) -> tuple[float, float]:
    """The two bounds as half precision can hold them."""
    if np.isnan(low) or np.isnan(high) or low > FP16_MAX or high < -FP16_MAX or low > high:
        raise ConversionError(
            f"{where}: its bounds are {low:g} and {high:g}, expected an interval that fp16 can express."
        )
    if -FP16_NORMAL < low < 0 or 0 < abs(high) < FP16_NORMAL:
        raise ConversionError(f"{where}: its bounds {low:g} and {high:g} would be 0 in fp16, and guard no division.")
    low = FP16_NORMAL if 0 < low < FP16_NORMAL else max(low, -FP16_MAX)
    return low, min(high, FP16_MAX)
