# SPDX-License-Identifier: Apache-2.0
"""The whole way of one model: export, graph passes, simplification, and a comparison with PyTorch after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from torch import nn

from facepipe.convert.onnx.checkpoint import load
from facepipe.convert.onnx.export import check_interface, check_operators, onnx_from_network
from facepipe.convert.onnx.judge import Reference, compare, naming_step
from facepipe.convert.onnx.passes import PASSES
from facepipe.convert.onnx.passes.graph import nodes
from facepipe.convert.onnx.probe import probes
from facepipe.convert.onnx.report import ConversionReport, Step, require_own_models, write_report
from facepipe.convert.onnx.simplify import simplified
from facepipe.errors import ConversionError, first_line
from facepipe.specs import ModelSpec
from facepipe.store.files import write_bytes
from facepipe.store.owned import keep_record
from facepipe.store.provenance import versions

OnStep = Callable[[str], None]


def _silent(step: str) -> None:
    """Tells nobody."""


def convert_model(
    spec: ModelSpec, checkpoint: Path | None, out: Path, *, on_step: OnStep = _silent
) -> ConversionReport:
    """Convert one model and write its three ONNX files and its sidecar into `out`, all or none.

    Args:
        spec: the model.
        checkpoint: its weight file; None where the catalogue has a recipe instead.
        out: folder for `<name>.onnx`, `<name>.fixed.onnx`, `<name>.simplified.onnx` and `<name>.simplified.onnx.json`.
        on_step: called with the name of each step when it is done.

    Raises:
        WeightsError: the weights are not this model's.
        ConversionError: a step failed or moved the outputs; the step is named, and nothing was written.
        StageError: a file that is none of facepipe's has one of these names.
    """
    require_own_models(spec, out)
    loaded = load(spec, checkpoint)
    made = convert_network(loaded.network, spec, on_step=on_step)
    keep_record(spec.final(out))
    write_bytes(spec.exported(out), made.exported)
    write_bytes(spec.fixed(out), made.fixed)
    write_bytes(spec.final(out), made.final)
    # Last: its digest is what says that the three files are whole.
    return write_report(spec, out, loaded.sha256, made.steps, versions())


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedNetwork:
    """The ONNX as torch exported it, after the passes, and simplified; and the parity of each step."""

    exported: bytes
    fixed: bytes
    final: bytes
    steps: tuple[Step, ...]


def convert_network(
    network: nn.Module, spec: ModelSpec, *, any_passes: bool = False, on_step: OnStep = _silent
) -> ConvertedNetwork:
    """The steps of a conversion, nothing written.

    Args:
        network: in evaluation mode.
        any_passes: apply every pass whose operator is there, instead of those that the specification lists: what a
            user's own network is made of, nobody has written down.
        on_step: called with the name of each step when it is done.

    Raises:
        ConversionError: a step failed or moved the outputs; the step is named.
    """
    reference = reference_of(network, spec)
    steps: list[Step] = []

    def done(step: str, model: onnx.ModelProto, edits: int = 0) -> None:
        steps.append(_judged(step, model, edits, spec, reference))
        on_step(step)

    with _naming("export", spec):
        model = onnx_from_network(network, spec)
        done("export", model)
    exported = model.SerializeToString()
    if any_passes:
        spec = replace(spec, passes=tuple(name for name, one in PASSES.items() if nodes(model, one.operator)))
    for name in spec.passes:
        with _naming(name, spec):
            edits = apply_pass(name, model)
            done(name, model, edits)
    fixed = model.SerializeToString()
    with _naming("simplify", spec):
        final = simplified(model)
        _check_final(final, spec)
        done("simplify", final)
    return ConvertedNetwork(exported, fixed, final.SerializeToString(), tuple(steps))


def export_model(
    spec: ModelSpec, checkpoint: Path | None, target: Path, *, any_digest: bool = False, overwrite: bool = False
) -> Step:
    """Write the exported ONNX alone, before any pass; return its parity with PyTorch. Arguments as `load`'s.

    Raises:
        WeightsError: the weights are not this model's.
        ConversionError: the export failed or moved the outputs; nothing was written.
    """
    loaded = load(spec, checkpoint, any_digest=any_digest)
    with _naming("export", spec):
        model = onnx_from_network(loaded.network, spec)
        step = _judged("export", model, 0, spec, reference_of(loaded.network, spec))
    write_bytes(target, model.SerializeToString(), overwrite=overwrite)
    return step


def apply_pass(name: str, model: onnx.ModelProto) -> int:
    """Apply a pass of the catalogue to the model it is listed for, in place; return the number of edits.

    Raises:
        ConversionError: the model lacks the operator that the pass is about, or the pass refuses it.
    """
    graph_pass = PASSES[name]
    if not nodes(model, graph_pass.operator):
        raise ConversionError(f"found 0 {graph_pass.operator} nodes, expected at least 1.")
    return graph_pass.apply(model)


def reference_of(network: nn.Module, spec: ModelSpec) -> Reference:
    """The network's own answers on the probes of `spec`."""
    inputs = probes(spec)
    with torch.inference_mode():
        answers = [network(torch.from_numpy(probe)) for probe in inputs]
    tuples = [answer if isinstance(answer, tuple) else (answer,) for answer in answers]
    return Reference("PyTorch", inputs, tuple(tuple(output.numpy() for output in answer) for answer in tuples))


def _judged(step: str, model: onnx.ModelProto, edits: int, spec: ModelSpec, reference: Reference) -> Step:
    """The step's line of the table, when the checker and the comparison let it pass."""
    onnx.checker.check_model(model, full_check=True)
    result = compare(model.SerializeToString(), spec, reference)
    return Step(step, len(model.graph.node), edits, result.max_abs_difference, result.cosine)


def _check_final(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """What simplification must leave: the interface, no forbidden operator, nothing for a pass to do again."""
    check_interface(model, spec)
    check_operators(model, spec)
    for name in spec.passes:
        edits = PASSES[name].apply(model)
        if edits:
            raise ConversionError(f"pass {name} finds {edits} edits to make again after simplification, expected none.")


@contextmanager
def _naming(step: str, spec: ModelSpec) -> Iterator[None]:
    """As `naming_step`, of onnx's own errors too."""
    with naming_step(step, spec):
        try:
            yield
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ConversionError(first_line(error)) from error
