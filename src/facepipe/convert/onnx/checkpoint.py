# SPDX-License-Identifier: Apache-2.0
"""Published weights into a network: digest, then a plain state dict, then every entry by name and shape."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch
from torch import nn

from facepipe.convert.onnx import dlib_weights, paddle_weights, safetensors_weights
from facepipe.convert.onnx.arrays import digest_of_weights
from facepipe.errors import WeightsError, first_line
from facepipe.networks import TRAINING_ONLY, build
from facepipe.networks.seeded import RECIPES
from facepipe.specs import ModelSpec, Recipe

WRAPPERS = ("state_dict_backbone", "state_dict", "model_state_dict", "model", "net", "network")
"""Entries under which trainers keep the weights beside an epoch and an optimiser: arcface_torch's, Lightning's and
timm's, PyTorch's own tutorials', and others'."""

PREFIXES = ("module.", "model.", "backbone.", "net.")
"""What parallel training and modules around a network put before every name."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetwork:
    """A network with its weights, in evaluation mode, and the digest of what they were read from."""

    network: nn.Module
    sha256: str


def load(
    spec: ModelSpec, path: Path | None, *, any_digest: bool = False, network: nn.Module | None = None
) -> LoadedNetwork:
    """The network of `spec` with the weights of `path`.

    Args:
        spec: the model.
        path: the weight file; None for a model whose weights are a recipe.
        any_digest: take a file whose digest is not the catalogue's, such as a user's own re-saved or trained weights;
            it still has to fit the network entry by entry.
        network: a user's own, in place of the one that the catalogue names.

    Raises:
        WeightsError: the digest is another than the catalogue's, the file is no plain PyTorch state dict or is
            truncated, or its entries are not this network's.
    """
    right = (
        f"`facepipe models {spec.name}` names the right file."
        if network is None
        else "--like a model, or --module, of the network that they are of."
    )
    network = build(spec.network) if network is None else network
    if path is None:
        assert isinstance(spec.weights.origin, Recipe), f"{spec.name} has a weight file, and none was given"
        state: Mapping[str, torch.Tensor] = RECIPES[spec.weights.origin.name]()
        sha256, where = _digest_of_state(state), str(spec.weights.origin)
    else:
        content, where = path.read_bytes(), str(path)
        sha256 = digest_of_weights(spec, path, content, any_digest=any_digest)
        state = read_state(path, content)
    network.load_state_dict(_fitting(state, network, spec, where, right))
    return LoadedNetwork(network.requires_grad_(False).eval(), sha256)


def read_state(path: Path, content: bytes | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a .pt, .pth, .safetensors, (Paddle's) .pdparams or (dlib's) .dat file; nothing in it is executed.

    A trainer's checkpoint is unwrapped (WRAPPERS), and a prefix of every name is stripped (PREFIXES).

    Args:
        content: of the file, where it was read already.

    Raises:
        WeightsError: it is truncated, holds objects other than tensors, or is no PyTorch file.
    """
    if path.suffix == paddle_weights.SUFFIX:
        return paddle_weights.read_paddle_state(path, content)
    if path.suffix == safetensors_weights.SUFFIX:
        return _without_prefix(
            safetensors_weights.read_safetensors(path, path.read_bytes() if content is None else content)
        )
    if path.suffix == dlib_weights.SUFFIX:
        arrays = dlib_weights.read_dlib_state(path, content)
        return {key: torch.from_numpy(array) for key, array in arrays.items()}
    try:
        whole = io.BytesIO(path.read_bytes() if content is None else content)
        state = torch.load(whole, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = _foreign_class(str(error))
        raise WeightsError(
            f"{path}: {reason}, expected a plain state dict of tensors.",
            "save the weights alone: torch.save(model.state_dict(), file).",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise WeightsError(
            f"{path}: it cannot be read as PyTorch weights ({first_line(error)}).",
            "delete it and fetch it again; a truncated download is the usual cause.",
        ) from error
    return _without_prefix(_unwrapped(state, path))


def _unwrapped(content: object, path: Path) -> Mapping[object, torch.Tensor]:
    """The state dict itself, or the one that a trainer's checkpoint holds.

    Raises:
        WeightsError: there is none, or several.
    """
    if _is_state(content):
        return content
    inside = [name for name in WRAPPERS if _is_state(content.get(name))] if isinstance(content, Mapping) else []
    if len(inside) == 1:
        assert isinstance(content, Mapping)
        return cast(Mapping[object, torch.Tensor], content[inside[0]])
    kind = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        kind += f" with {', '.join(map(str, list(content)[:3])) or 'no entries'}"
    raise WeightsError(
        f"{path}: it holds {kind}{f', weights in {len(inside)} of them' if inside else ''}, expected a plain state "
        f"dict of tensors, or one below {', '.join(WRAPPERS[:-1])} or {WRAPPERS[-1]}.",
        f"save the weights alone: torch.save(checkpoint[{inside[0] if inside else WRAPPERS[1]!r}], file).",
    )


def _is_state(content: object) -> TypeGuard[Mapping[object, torch.Tensor]]:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(v, torch.Tensor) for v in content.values())


def _without_prefix(state: Mapping[Any, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors by name, without what stands before every one of them."""
    named = {str(key): tensor for key, tensor in state.items()}
    while True:
        prefix = next((one for one in PREFIXES if all(key.startswith(one) for key in named)), None)
        if prefix is None:
            return named
        named = {key.removeprefix(prefix): tensor for key, tensor in named.items()}


def _fitting(
    state: Mapping[str, torch.Tensor], network: nn.Module, spec: ModelSpec, where: str, right: str
) -> dict[str, torch.Tensor]:
    """`state` without what serves training alone, when it is otherwise exactly the network's."""
    dropped = TRAINING_ONLY.get(spec.network, ())
    given = {key: tensor for key, tensor in state.items() if key not in dropped}
    expected = network.state_dict()
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    if missing or unexpected:
        raise WeightsError(
            f"{where}: these are the weights of another network than {spec.name}: "
            f"{_listing(missing)} missing, {_listing(unexpected)} unexpected.",
            right,
        )
    for key, tensor in given.items():
        if tensor.shape != expected[key].shape:
            shapes = f"shape {list(tensor.shape)}, expected {list(expected[key].shape)}"
            raise WeightsError(f"{where}: '{key}' has {shapes} for {spec.name}.")
    return given


def _listing(keys: list[str]) -> str:
    if not keys:
        return "none"
    return f"{len(keys)} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"


def _digest_of_state(state: Mapping[str, torch.Tensor]) -> str:
    """A digest of names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        array = state[key].numpy()
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _foreign_class(message: str) -> str:
    """What torch's refusal was about, without its advice to switch the protection off."""
    marker = "GLOBAL "
    if marker in message:
        return f"it holds an object of the class {message.split(marker, 1)[1].split()[0]}"
    return "it is damaged, or holds more than tensors"
