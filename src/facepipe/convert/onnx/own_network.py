# SPDX-License-Identifier: Apache-2.0
"""A user's own PyTorch weights to ONNX, by parity: of a network that is here, or that a function of the user builds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from facepipe.convert.onnx.checkpoint import load
from facepipe.convert.onnx.conversion import convert_network
from facepipe.convert.onnx.report import Step
from facepipe.errors import ConversionError, first_line
from facepipe.networks import build, is_known
from facepipe.specs import ModelSpec, fixed


@dataclass(frozen=True, slots=True, eq=False)
class OwnNetwork:
    """The final ONNX, the digest of the weights, and the parity of each step."""

    onnx: bytes
    weights_sha256: str
    steps: tuple[Step, ...]


def onnx_from_weights(checkpoint: Path, spec: ModelSpec, name: str) -> OwnNetwork:
    """Load weights strictly into the network of `spec`, and convert it as the catalogue's are: parity after every step.

    Args:
        checkpoint: the weights, in any form that `checkpoint.load` reads; whatever their digest.
        spec: of the catalogue, or imported; its network is one that is here.
        name: that errors call the result by.

    Raises:
        ConversionError: the network is a user's own; or a step failed, or moved the outputs.
        WeightsError: the weights are not this network's.
    """
    if not is_known(spec.network):
        raise ConversionError(
            f"{spec.name}: its network is {spec.network}, expected one that is here.", f"--module {spec.network}, too."
        )
    loaded = load(spec, checkpoint, any_digest=True, network=build(spec.network))
    # A record of an imported model lists no passes: what its ONNX was made of is not told there.
    made = convert_network(loaded.network, replace(spec, name=name), any_passes=not spec.passes)
    return OwnNetwork(made.final, loaded.sha256, made.steps)


def onnx_from_factory(factory: str, checkpoint: Path, spec: ModelSpec) -> OwnNetwork:
    """Build the network, load its weights strictly, and convert it as the catalogue's are: parity after every step.

    Args:
        factory: "package.module:function"; called without arguments, it returns the network. The module is an installed
            one, or lies in the current folder. Its code is run.
        checkpoint: the weights, a state dict or a trainer's checkpoint of one.
        spec: a recogniser whose inputs and opset are the network's; the numbers of an embedding are seen.

    Raises:
        ConversionError: there is no such function, or it returns no network of one picture and one embedding; or a step
            failed, or moved the outputs.
        WeightsError: the weights are not this network's.
    """
    network = _built(factory)
    loaded = load(spec, checkpoint, any_digest=True, network=network)
    sides = [dim.low for dim in spec.input.dims[1:]]
    try:
        with torch.inference_mode():
            answer = loaded.network(torch.zeros(2, *sides))
    except Exception as error:  # whatever the user's code raises
        raise ConversionError(
            f"{factory}: the network does not take [2, {', '.join(map(str, sides))}] ({first_line(error)}).",
            f"--like a model whose input it has; {spec.name} is to be like one of {sides[1]}x{sides[2]}.",
        ) from error
    shape = list(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    if not (isinstance(shape, list) and len(shape) == 2 and shape[0] == 2):
        raise ConversionError(f"{factory}: for two pictures the network returns {shape}, expected [2, D], embeddings.")
    rows = spec.outputs[0]
    spec = replace(spec, network=factory, outputs=(replace(rows, dims=(rows.dims[0], fixed(shape[1]))),))
    made = convert_network(loaded.network, spec, any_passes=True)
    return OwnNetwork(made.final, loaded.sha256, made.steps)


def _built(factory: str) -> nn.Module:
    name, colon, function = factory.partition(":")
    if not (name and colon and function):
        raise ConversionError(
            f"'{factory}': names no function, expected package.module:function.", "--module mynet:build"
        )
    with _here_first():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConversionError(
                f"{factory}: no module named '{error.name}', expected one in this folder or an installed one."
            ) from error
        except Exception as error:  # whatever the user's code raises
            raise ConversionError(f"{factory}: cannot be imported ({first_line(error)}).") from error
        build = getattr(module, function, None)
        if not callable(build):
            raise ConversionError(f"{factory}: the module has no function '{function}', expected one that builds it.")
        try:
            network = build()
        except Exception as error:
            raise ConversionError(
                f"{factory}: called without arguments it fails ({first_line(error)}), expected a network."
            ) from error
    if not isinstance(network, nn.Module):
        raise ConversionError(f"{factory}: returns a {type(network).__name__}, expected a torch.nn.Module.")
    return network


@contextmanager
def _here_first() -> Iterator[None]:
    """The current folder is where modules are looked for first, as it is for `python` itself."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
