# SPDX-License-Identifier: Apache-2.0
"""A model's ONNX built from its published weights, where there is no torch: nodes and numbers, one file, one step.

For the networks of `plain_networks`. The file has the operators, attributes and numbers of the one that torch's
exporter, the passes and onnxsim leave; the tests hold both against each other. It is judged as theirs is, on the same
probes, by the network computed in NumPy. The record beside it says `build` where theirs say `export`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from facepipe.convert.onnx.arrays import digest_of_weights, read_arrays
from facepipe.convert.onnx.judge import Reference, compare, naming_step
from facepipe.convert.onnx.node_operators import NodeOperators
from facepipe.convert.onnx.numpy_operators import NumpyOperators
from facepipe.convert.onnx.plain_networks import PLAIN
from facepipe.convert.onnx.probe import probes
from facepipe.convert.onnx.report import ConversionReport, Step, require_own_models, write_report
from facepipe.convert.onnx.write_onnx import onnx_of_nodes
from facepipe.errors import WeightsError
from facepipe.specs import ModelSpec
from facepipe.store.files import write_bytes
from facepipe.store.owned import keep_record
from facepipe.store.provenance import versions

BUILD = "build"
"""The one step of such a conversion, in its record and its table."""


def build_model(spec: ModelSpec, checkpoint: Path, out: Path, *, on_step: Callable[[str], None]) -> ConversionReport:
    """Write the final ONNX of one model and its sidecar into `out`, both or none.

    Args:
        spec: the model; its network is one of PLAIN.
        checkpoint: its weight file.
        out: folder for `<name>.simplified.onnx` and `<name>.simplified.onnx.json`. The two files before the last that a
            conversion by torch leaves, there are none of.
        on_step: called with the name of the step when it is done.

    Raises:
        WeightsError: the weights are not this model's.
        ConversionError: the file's outputs are not the network's; nothing was written.
        StageError: a file that is none of facepipe's has one of these names.
    """
    require_own_models(spec, out)
    content = checkpoint.read_bytes()
    sha256 = digest_of_weights(spec, checkpoint, content)
    weights = read_arrays(checkpoint, content)
    with naming_step(BUILD, spec):
        model, nodes = onnx_from_arrays(spec, weights, str(checkpoint))
        result = compare(model, spec, numpy_reference(spec, weights))
        step = Step(BUILD, nodes, 0, result.max_abs_difference, result.cosine)
    on_step(BUILD)
    keep_record(spec.final(out))
    write_bytes(spec.final(out), model)
    return write_report(spec, out, sha256, (step,), versions())


def onnx_from_arrays(spec: ModelSpec, weights: Mapping[str, np.ndarray], where: str) -> tuple[bytes, int]:
    """The ONNX file of a network of PLAIN, and how many nodes it has.

    Args:
        weights: float32, by the names of `networks.mtcnn` and `networks.dlib_resnet`; each is read.
        where: they come from, for errors.

    Raises:
        WeightsError: one is missing, or one more is there.
    """
    do = NodeOperators(weights, tuple(tensor.name for tensor in spec.outputs))
    try:
        made = PLAIN[spec.network](do, spec.input.name)
    except KeyError as error:
        raise WeightsError(f"{where}: has no {error}, expected the weights of {spec.name}.") from error
    if unread := sorted(set(weights) - set(do.constants)):
        raise WeightsError(f"{where}: has '{unread[0]}' besides, expected the weights of {spec.name} alone.")
    do.name_outputs(made)
    return onnx_of_nodes(spec, do.nodes, do.constants), len(do.nodes)


def numpy_reference(spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> Reference:
    """A PLAIN network's own answers on the probes of `spec`, computed in float64."""
    do, inputs = NumpyOperators(weights), probes(spec)
    answers = (PLAIN[spec.network](do, image.astype(np.float64)) for image in inputs)
    return Reference("NumPy", inputs, tuple(tuple(one.astype(np.float32) for one in answer) for answer in answers))
