# SPDX-License-Identifier: Apache-2.0
"""Will ATC take this ONNX file, and will the .om compute what the file says? Answered before ATC is started.

One function for each rule; each finding names its source, the reason and the repair. What blocks depends on the chip
and on the CANN release. "GE", "ops-nn" and "ops-math" are the published sources of the compiler and its ONNX plug-ins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from facepipe.catalogue.chip_precision import finest, rounding, why_not_on
from facepipe.catalogue.chips import FP16_MAX, FP16_TINY, Dialect, Soc, dialect, is_named, takes_ranges
from facepipe.convert.ascend.rehearsal import MATRIX_OPERATORS
from facepipe.errors import ConversionError, DataError

Severity = Literal["blocker", "warning", "note"]

REGISTERED: frozenset[str] = frozenset(
    (
        "Abs", "Add", "And", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat",
        "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp",
        "Expand", "Flatten", "Floor", "Gather", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater",
        "HardSigmoid", "Identity", "InstanceNormalization", "LeakyRelu", "Less", "Log", "LogSoftmax", "LRN",
        "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "NonMaxSuppression", "NonZero", "Not", "Or", "Pad", "Pow",
        "PRelu", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape",
        "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh",
        "Tile", "TopK", "Transpose", "Unsqueeze", "Upsample", "Where",
    )
)  # fmt: skip
"""Operators of the vendor's ONNX operator list that face networks are made of. Another is not refused, but named."""

QUANTISED = frozenset(("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
                       "MatMulInteger", "DynamicQuantizeLinear"))  # fmt: skip
"""Eight bits as ONNX writes them."""

_DATA_DEPENDENT = frozenset({"NonZero", "NonMaxSuppression", "Unique", "Compress"})
_SHAPE_INPUTS = {"Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2),
                 "Resize": (2, 3), "Upsample": (1,), "Slice": (1, 2, 3, 4), "Pad": (1,), "TopK": (1,)}  # fmt: skip
_NAME_MOST = 127


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a model: how bad it is, the rule, where, why, what to do, and who says so."""

    severity: Severity
    rule: str
    where: str
    reason: str
    repair: str
    source: str


@dataclass(frozen=True, slots=True)
class _Graph:
    """A model with what every rule asks for, looked up once."""

    model: onnx.ModelProto
    opset: int
    ranks: Mapping[str, int]
    constants: Mapping[str, np.ndarray]

    def nodes(self, *operators: str) -> list[onnx.NodeProto]:
        return [node for node in self.model.graph.node if node.op_type in operators]


@dataclass(frozen=True, slots=True)
class _Target:
    soc: Soc
    cann: str
    dialect: Dialect
    ranges: bool
    precision: str | None


_Rule = Callable[[_Graph, _Target], Iterator[Finding]]


def read_model(path: Path) -> onnx.ModelProto:
    """The ONNX model in a file.

    Raises:
        DataError: it is none.
    """
    try:
        model = onnx.load(str(path))
        for tensor in model.graph.initializer:
            onnx.numpy_helper.to_array(tensor)  # as many numbers as its shape says
        return model
    except Exception as error:  # protobuf's DecodeError among others; all mean "no ONNX file"
        raise DataError(f"{path}: cannot be read as ONNX ({' '.join(str(error).split())[:120]}).") from error


def preflight(model: onnx.ModelProto, soc: Soc, cann: str, precision: str | None = None) -> tuple[Finding, ...]:
    """Everything worth saying about a model for one chip and one CANN release, blockers first.

    Args:
        model: any ONNX model; it need not come from the catalogue.
        soc: the chip.
        cann: the CANN release.
        precision: the mode that is asked for; None is the compiler's, half precision.
    """
    target = _Target(soc, cann, dialect(cann), takes_ranges(soc, cann), precision)
    graph = _graph(model)
    found = [finding for rule in _RULES for finding in rule(graph, target)]
    order = ("blocker", "warning", "note")
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def require_no_blocker(path: Path, soc: Soc, cann: str, precision: str | None = None) -> None:
    """Refuse an ONNX file that ATC would refuse, after minutes.

    Raises:
        DataError: it cannot be read.
        ConversionError: it has a blocker.
    """
    found = preflight(read_model(path), soc, cann, precision)
    blockers = [finding for finding in found if finding.severity == "blocker"]
    if blockers:
        first, more = blockers[0], f" (and {len(blockers) - 1} more)" if len(blockers) > 1 else ""
        raise ConversionError(
            f"{path}: {first.where}: {first.reason}{more}; ATC would refuse it.",
            f"{first.repair}. `facepipe check {path}` tells all; --no-check lets ATC judge.",
        )


def alike(findings: Iterable[Finding]) -> dict[Finding, list[str]]:
    """The findings that differ in nothing but their place, without a place, with all their places."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        places.setdefault(replace(finding, where=""), []).append(finding.where)
    return places


def _graph(model: onnx.ModelProto) -> _Graph:
    try:
        typed = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # an illegal model is a finding of its own (rule legal); ranks are then what it declares
        typed = model.graph
    values = (*typed.value_info, *typed.input, *typed.output)
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    return _Graph(model, opset, ranks, constants)


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or '-> ' + node.output[0]}"


def _chip(graph: _Graph, target: _Target) -> Iterator[Finding]:
    if not is_named(target.soc, target.cann):
        yield Finding(
            "blocker",
            "chip",
            "--soc_version",
            f"CANN {target.cann} does not name {target.soc.name}; the last that did is {target.soc.last_cann}",
            "compile with CANN 8.0",
            target.soc.source,
        )
    elif target.dialect.ops_package:
        yield Finding(
            "note",
            "ops package",
            "--soc_version",
            f"from CANN 8.5 on the ops package of {target.soc.name} must be installed beside the toolkit",
            "install it, or compiling fails",
            target.dialect.source,
        )


def _legal(graph: _Graph, target: _Target) -> Iterator[Finding]:
    try:
        onnx.checker.check_model(graph.model)
    except Exception as error:  # the checker's own classes are private
        yield Finding(
            "blocker",
            "legal",
            "the file",
            f"is no legal ONNX: {' '.join(str(error).split())[:160]}",
            "export it again",
            "ONNX specification; ATC error E13005",
        )


def _opset(graph: _Graph, target: _Target) -> Iterator[Finding]:
    default = [entry.version for entry in graph.model.opset_import if entry.domain in ("", "ai.onnx")]
    low, high = target.dialect.opsets
    if len(default) != 1:
        yield Finding(
            "blocker",
            "opset",
            "the file",
            f"has {len(default)} default opsets, expected one",
            "export it again",
            "GE onnx_parser; ATC error E16005",
        )
    elif len(graph.model.opset_import) != 1:
        others = [entry.domain for entry in graph.model.opset_import if entry.domain not in ("", "ai.onnx")]
        used = sorted({node.domain for node in graph.model.graph.node} & set(others))
        yield Finding(
            "blocker",
            "opset",
            "the file",
            f"names {len(graph.model.opset_import)} opset domains ({', '.join(others)} beside the default one), and a "
            "node without a domain then has no version",
            f"export it without operators of {', '.join(used)}"
            if used
            else "`facepipe fix drop_unused_domains IN OUT`: no node uses them",
            "ONNX parser, OnnxModelParser::ConstructOriType counts all of opset_import; ATC error E16005",
        )
    elif graph.opset > high or graph.opset < 8:
        yield Finding(
            "blocker",
            "opset",
            "the file",
            f"is of opset {graph.opset}; CANN {target.cann} registers operators up to {high}, from 8 on",
            "export at opset 11 to 13, which every release takes",
            "ops-math and ops-nn: plug-ins register ai.onnx::8 to ::13, later ::18; ATC errors E16002, E19010",
        )
    elif graph.opset < low:
        yield Finding(
            "warning",
            "opset",
            "the file",
            f"is of opset {graph.opset}; the guide documents {low} to {high}, though plug-ins register from 8 on",
            "export at opset 11 to 13",
            "ATC guide, ONNX operator list",
        )


def _ir_version(graph: _Graph, target: _Target) -> Iterator[Finding]:
    if graph.model.ir_version > 8:
        yield Finding(
            "warning",
            "IR version",
            "the file",
            f"is of IR {graph.model.ir_version}; no limit of ATC is known, and old runtimes stop at 8",
            "save it with IR 8 or less",
            "GE onnx_parser has no check; onnxruntime release notes",
        )


def _operators(graph: _Graph, target: _Target) -> Iterator[Finding]:
    for node in graph.model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield Finding(
                "blocker",
                "operator",
                _label(node),
                f"is of the domain '{node.domain}', for which ATC has no parser",
                "export without it",
                "ATC errors E16002, E19010, EZ9010",
            )
        elif node.op_type in QUANTISED:
            yield Finding(
                "blocker",
                "eight bits",
                _label(node),
                "has no parser: ATC takes eight bits as AscendQuant and AscendDequant, which AMCT writes",
                "`facepipe om NAME --precision int8`, where the vendor's amct_onnx is installed",
                "AMCT guide, convert_qat_model; ATC errors E16002, E19010",
            )
        elif node.op_type not in REGISTERED:
            yield Finding(
                "warning",
                "operator",
                _label(node),
                "is not among the operators known here to be registered",
                "look it up in the ONNX operator list of your CANN release",
                "ATC guide, ONNX operator list; ATC error E10501",
            )


def _prelu_slope(graph: _Graph, target: _Target) -> Iterator[Finding]:
    for node in graph.nodes("PRelu"):
        slope, rank = graph.constants.get(node.input[1]), graph.ranks.get(node.input[0])
        kernel = "the operator's kernel takes weights of rank 1, or of the input's packed rank (weight_dim)"
        if slope is None:
            yield Finding(
                "blocker",
                "PRelu slope",
                _label(node),
                "its slope is computed at run time; ATC repacks constants only",
                "make the slope an initializer",
                f"{kernel}, TBE prelu",
            )
        elif rank is None:
            yield Finding(
                "warning",
                "PRelu slope",
                _label(node),
                "the rank of its input cannot be inferred, so its slope cannot be judged",
                "run ONNX shape inference on the file",
                kernel,
            )
        elif slope.ndim == rank:
            if slope.ndim > 1:
                yield Finding(
                    "note",
                    "PRelu slope",
                    _label(node),
                    "its slope has the input's rank, which the vendor's own project feeds to ATC; the list says "
                    "one-dimensional, which for N, C, H, W is no legal ONNX: it would broadcast over W",
                    "none needed",
                    "ONNX operator list, PRelu; ops-nn p_relu_proto.h",
                )
        elif slope.size > 1 and not (slope.ndim == 1 and rank == 2):
            why = (
                f"its slope of shape {list(slope.shape)} would broadcast over the last axis, not over channels"
                if slope.ndim == 1
                else f"its slope has rank {slope.ndim} where its input has {rank}, and cannot be repacked with it"
            )
            yield Finding(
                "blocker",
                "PRelu slope",
                _label(node),
                why,
                "`facepipe onnx`, whose pass match_prelu_slope sets the rank",
                kernel,
            )


def _clip_bounds(graph: _Graph, target: _Target) -> Iterator[Finding]:
    for node in graph.nodes("Clip"):
        bounds = _bounds_of_clip(graph, node)
        if target.dialect.clip_needs_both and len(bounds) < 2:
            yield Finding(
                "blocker",
                "Clip bounds",
                _label(node),
                f"has {len(bounds)} of 2 bounds, and the parser of CANN {target.cann} wants both",
                "`facepipe onnx`, whose pass bound_clip adds the other",
                "vendor's fix_clip.py; ops-math clip_onnx_plugin takes one bound since",
            )
        elif not bounds:
            yield Finding(
                "blocker",
                "Clip bounds",
                _label(node),
                "has no bound at all",
                "remove the node",
                "ops-math clip_onnx_plugin: neither bound is an error",
            )


def _bounds_of_clip(graph: _Graph, node: onnx.NodeProto) -> dict[str, float | None]:
    """ "min" and "max" where they are given; None where the value is computed."""
    if graph.opset < 11:
        return {a.name: float(a.f) for a in node.attribute if a.name in ("min", "max")}
    given = {name: node.input[index] for index, name in ((1, "min"), (2, "max")) if index < len(node.input)}
    return {
        name: float(graph.constants[value].reshape(-1)[0]) if value in graph.constants else None
        for name, value in given.items()
        if value
    }


def _precision(graph: _Graph, target: _Target) -> Iterator[Finding]:
    asked, better = target.precision, finest(target.soc)
    reason = None if asked is None else why_not_on(asked, target.soc)
    if reason is not None:
        source = "GE, --precision_mode_v2 and --precision_mode; RT platform_config"
        yield Finding("blocker", "precision", f"PRECISION={asked}", reason, f"PRECISION={better}", source)


def _half_precision(graph: _Graph, target: _Target) -> Iterator[Finding]:
    source = "IEEE 754 binary16; ATC computes in half precision unless told otherwise (--precision_mode)"
    rounds, finer = rounding(target.precision), f"PRECISION={finest(target.soc)}"
    if rounds == "nothing":
        return
    judged = set()
    for node in graph.nodes("Clip") if rounds != "matrices" else ():
        judged.update(node.input[1:])
        for name, value in _bounds_of_clip(graph, node).items():
            if value is not None and value != 0 and abs(value) < FP16_TINY / 2:
                yield Finding(
                    "blocker",
                    "half precision",
                    _label(node),
                    f"its {name} {value:g} becomes 0, so the bound is lost, and a division by it gives NaN",
                    "`facepipe onnx`, whose pass bound_clip raises it to the least normal number",
                    source,
                )
            if value is not None and FP16_MAX < abs(value) < np.finfo(np.float32).max:
                yield Finding(
                    "warning",
                    "half precision",
                    _label(node),
                    f"its {name} {value:g} becomes infinite",
                    f"`facepipe onnx`; {FP16_MAX:g} is the greatest bound that half precision holds",
                    source,
                )
    readers = {name: _label(node) for node in graph.model.graph.node for name in node.input}
    # In every mode short of float32 these are half-precision numbers: no mode helps where the chip has no float32 ones.
    factors = {name for node in graph.nodes(*MATRIX_OPERATORS) for name in node.input[:2]}
    lost: dict[str, tuple[int, int]] = {}
    for name, array in graph.constants.items():
        if rounds == "matrices" and name not in factors:
            continue
        exact = finer if name not in factors or target.soc.f32_matrices else None
        if name in judged or array.dtype not in (np.float32, np.float64) or name not in readers or not array.size:
            continue
        magnitude = np.abs(array)
        over = int((magnitude > FP16_MAX).sum())
        gone = int(((magnitude > 0) & (magnitude < FP16_TINY / 2)).sum())
        if over:
            yield Finding(
                "blocker",
                "half precision",
                f"{name} of {readers[name]}",
                f"{over} of {array.size} values are above {FP16_MAX:g} and become infinite",
                "scale the layer" + (f", or {exact}" if exact else "; this chip multiplies no float32 matrices"),
                source,
            )
        if gone == array.size:
            yield Finding(
                "warning",
                "half precision",
                f"{name} of {readers[name]}",
                f"all of its {array.size} values are too small and become 0",
                f"{exact or 'scale the layer'}, if its output matters",
                source,
            )
        elif gone:
            lost[name] = gone, array.size
    if lost:
        yield Finding(
            "note",
            "half precision",
            f"{len(lost)} constants",
            f"{sum(gone for gone, _ in lost.values())} of {sum(size for _, size in lost.values())} values are too "
            f"small and become 0 (most in {max(lost, key=lambda name: lost[name][0])})",
            "none needed, they are lost in sums; `facepipe rehearse` measures it",
            source,
        )


def _max_pool(graph: _Graph, target: _Target) -> Iterator[Finding]:
    source = "ops-nn max_pool_onnx_plugin"
    for node in graph.nodes("MaxPool"):
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if settings.get("storage_order", 0) != 0:
            yield Finding("blocker", "MaxPool", _label(node), "storage_order is not 0", "export it with 0", source)
        if len(node.output) > 1 and node.output[1]:
            yield Finding(
                "blocker", "MaxPool", _label(node), "its Indices output is used", "export without indices", source
            )
        if graph.ranks.get(node.input[0], 4) not in (4, 5):
            yield Finding(
                "blocker",
                "MaxPool",
                _label(node),
                f"its input has rank {graph.ranks[node.input[0]]}; two or three axes of space are supported",
                "unsqueeze around it",
                source,
            )
        kernel, strides = settings.get("kernel_shape", []), settings.get("strides", [1])
        if np.prod(kernel) > 255 or max(strides) > 63:
            yield Finding(
                "warning",
                "MaxPool",
                _label(node),
                f"kernel {list(kernel)} and strides {list(strides)} go to the chip's slow CPU (area 255, stride 63)",
                "split it into smaller ones",
                source,
            )


def _reduce_l2(graph: _Graph, target: _Target) -> Iterator[Finding]:
    if graph.opset >= 18:
        for node in graph.nodes("ReduceL2"):
            yield Finding(
                "blocker",
                "ReduceL2",
                _label(node),
                "at opset 18 its axes are an input, and it is registered up to 17 only",
                "export at opset 11 to 17",
                "ops-math reduce_l2_onnx_plugin: ai.onnx::8 to ::17",
            )


def _resize(graph: _Graph, target: _Target) -> Iterator[Finding]:
    for node in graph.nodes("Resize"):
        ignored = [a.name for a in node.attribute if a.name in ("antialias", "axes", "keep_aspect_ratio_policy")]
        mode = next((a.s.decode() for a in node.attribute if a.name == "mode"), "nearest")
        if ignored:
            yield Finding(
                "warning",
                "Resize",
                _label(node),
                f"{', '.join(ignored)} {'is' if len(ignored) == 1 else 'are'} ignored by the parser",
                "export without",
                "ops-cv resize_onnx_plugin",
            )
        if graph.opset == 10 and mode not in ("nearest", "linear"):
            yield Finding(
                "blocker",
                "Resize",
                _label(node),
                f"mode {mode} is not taken at opset 10",
                "export at opset 11 to 13",
                "ops-cv resize_onnx_plugin",
            )


def _inputs(graph: _Graph, target: _Target) -> Iterator[Finding]:
    constants = set(graph.constants)
    for value in graph.model.graph.input:
        if value.name in constants:
            continue
        if re.search(r"[:;,\"\s]", value.name):
            yield Finding(
                "blocker",
                "input name",
                value.name,
                "holds a character that separates names and shapes in --input_shape",
                "rename the input",
                "ATC guide, --input_shape",
            )
        if len(value.name) > _NAME_MOST:
            yield Finding(
                "warning",
                "input name",
                value.name[:40] + "...",
                f"is longer than {_NAME_MOST} characters, and AscendCL shortens it",
                "rename the input",
                "AscendCL guide, aclmdlIODims",
            )
        yield from _free_axes(value, target)


def _free_axes(value: onnx.ValueInfoProto, target: _Target) -> Iterator[Finding]:
    dims = value.type.tensor_type.shape.dim
    free = [axis for axis, dim in enumerate(dims) if not dim.HasField("dim_value") or dim.dim_value <= 0]
    symbols = [dims[axis].dim_param for axis in free if dims[axis].dim_param]
    shared = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
    if shared:
        yield Finding(
            "warning",
            "dynamic dimension",
            value.name,
            f"several axes are called '{shared[0]}', which says that they are equal",
            "export with a name for each axis",
            "ONNX specification, dim_param",
        )
    if not free:
        return
    repair = "`facepipe plan` and `facepipe om` plan gears or a static batch"
    beyond = [axis for axis in free if not (axis == 0 or (len(dims) == 4 and axis in (2, 3)))]
    if beyond:
        yield Finding(
            "warning" if target.ranges else "blocker",
            "dynamic dimension",
            value.name,
            f"axis {beyond[0]} is free; gears are over the batch, or over height and width of N, C, H, W"
            + (f"; {target.soc.name} takes ranges" if target.ranges else f", and {target.soc.name} takes no ranges"),
            "export with that axis fixed",
            target.soc.source,
        )
    else:
        kinds = "gears or ranges" if target.ranges else "gears, no ranges"
        yield Finding(
            "note",
            "dynamic dimension",
            value.name,
            f"axes {', '.join(map(str, free))} are free; {target.soc.name} under CANN {target.cann} takes {kinds}",
            repair,
            target.soc.source,
        )


def _wide_integers(graph: _Graph, target: _Target) -> Iterator[Finding]:
    names = {TensorProto.INT64: "int64", TensorProto.UINT64: "uint64", TensorProto.DOUBLE: "float64"}
    sides = (("input", graph.model.graph.input), ("output", graph.model.graph.output))
    for side, values in sides:
        for value in values:
            name = names.get(value.type.tensor_type.elem_type)
            if name is not None and value.name not in graph.constants:
                yield Finding(
                    "warning",
                    "wide type",
                    f"{side} {value.name}",
                    f"is {name}, which is narrowed, or goes through the chip's slow CPU",
                    "use float32 or int32 at the edges of the network",
                    "ops-cv non_max_suppression plug-in casts back to int64; ATC guide, data types",
                )


def _data_dependent(graph: _Graph, target: _Target) -> Iterator[Finding]:
    """Shapes that are known only when the network runs. With a free axis they forbid gears."""
    free = any(
        not dim.HasField("dim_value") or dim.dim_value <= 0
        for value in graph.model.graph.input
        if value.name not in graph.constants
        for dim in value.type.tensor_type.shape.dim
    )
    severity: Severity = "warning" if target.ranges or not free else "blocker"
    source = "ATC shape configuration guide: gears are impossible with internal data-dependent shapes"
    for node in graph.model.graph.node:
        if node.op_type in _DATA_DEPENDENT:
            yield Finding(
                "warning" if target.ranges else "blocker",
                "data-dependent shape",
                _label(node),
                "the size of its output depends on the values",
                "leave it to the host, as with suppression",
                source,
            )
        for index in _SHAPE_INPUTS.get(node.op_type, ()):
            name = node.input[index] if index < len(node.input) else ""
            if name and name not in graph.constants:
                yield Finding(
                    severity,
                    "data-dependent shape",
                    _label(node),
                    f"its shape '{name}' is computed while the network runs",
                    "export with Flatten, or a constant shape with -1 for the batch",
                    source,
                )


_RULES: tuple[_Rule, ...] = (
    _chip,
    _legal,
    _opset,
    _ir_version,
    _operators,
    _prelu_slope,
    _clip_bounds,
    _precision,
    _half_precision,
    _max_pool,
    _reduce_l2,
    _resize,
    _inputs,
    _wide_integers,
    _data_dependent,
)
