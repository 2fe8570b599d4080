# SPDX-License-Identifier: Apache-2.0
"""A Paddle network's weights, `.pdparams`, by the names that PyTorch gives them, and back; pickles are read as data.

`paddle.save(layer.state_dict(), file)` writes a pickle of one dictionary: float arrays by entry, and under one more key
the table of Paddle's own names for them. Layers of one attribute have the same name in both; what differs is within a
layer: statistics of batch normalisation, PReLU's slope, and the matrix of a fully connected layer, which Paddle stores
with its inputs first. Source: `python/paddle/framework/io.py` of PaddlePaddle, and what 3.3.1 saves.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facepipe.datasets.pickled_arrays import pickled_state
from facepipe.datasets.restricted_pickle import read_pickle
from facepipe.errors import DataError, WeightsError

SUFFIX = ".pdparams"
_NAME_TABLE = "StructuredToParameterName@@"
_TORCH_NAMES = {"_mean": "running_mean", "_variance": "running_var", "_weight": "weight"}
_PLAIN = {"weight": ("weight", "w_0"), "bias": ("bias", "b_0")}
_STATISTICS = {**_PLAIN, "running_mean": ("_mean", "w_1"), "running_var": ("_variance", "w_2")}
# What Paddle calls a layer in its table, and each entry: in the state, and in the table.
_LAYERS: dict[type[nn.Module], tuple[str, dict[str, tuple[str, str]]]] = {
    nn.Conv2d: ("conv2d", _PLAIN),
    nn.Linear: ("linear", _PLAIN),
    nn.BatchNorm1d: ("batch_norm1d", _STATISTICS),
    nn.BatchNorm2d: ("batch_norm2d", _STATISTICS),
    nn.PReLU: ("p_re_lu", {"weight": ("_weight", "w_0")}),
}


def read_paddle_state(path: Path, content: bytes | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a .pdparams file by the names that PyTorch gives them; nothing in the file is executed.

    The count of batches, which PyTorch keeps at each batch normalisation and Paddle does not, is 0.

    Raises:
        WeightsError: the file names a class or function, is damaged, or is no dictionary of arrays of numbers.
    """
    try:
        whole = path.read_bytes() if content is None else content
        found = read_pickle(whole, str(path), ("dict", "str", "array"))
    except (DataError, OSError) as error:
        what = error.what if isinstance(error, DataError) else f"{path}: cannot be opened ({error.strerror})."
        raise WeightsError(what, "paddle.save(network.state_dict(), file) writes what is read here.") from error
    arrays = {key: value for key, value in found.items() if key != _NAME_TABLE} if isinstance(found, dict) else {}
    if not arrays or not all(type(key) is str and isinstance(value, np.ndarray) for key, value in arrays.items()):
        raise WeightsError(
            f"{path}: it holds no plain state dict, expected float arrays by name.",
            "paddle.save(network.state_dict(), file), the weights alone.",
        )
    state: dict[str, torch.Tensor] = {}
    for key, value in arrays.items():
        layer, _, name = key.rpartition(".")
        entry = f"{layer}.{_TORCH_NAMES.get(name, name)}" if layer else key
        state[entry] = torch.from_numpy(np.array(value.T if _is_product(name, value) else value, order="C"))
        if name == "_mean":
            state[f"{layer}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return state


def paddle_state(network: nn.Module) -> bytes:
    """The weights of a network as the content of a .pdparams file, which paddle.load reads.

    Raises:
        WeightsError: it has a layer with weights that none of the recognisers here has.
    """
    arrays: dict[str, np.ndarray] = {}
    table: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for place, layer in network.named_modules():
        own = {key: value for key, value in layer.state_dict().items() if "." not in key}
        if not own:
            continue
        if type(layer) not in _LAYERS:
            known = ", ".join(kind.__name__ for kind in _LAYERS)
            raise WeightsError(f"{place}: is a {type(layer).__name__} with weights, expected one of {known}.")
        kind, entries = _LAYERS[type(layer)]
        for entry, (name, end) in entries.items():
            if entry in own:
                value = own[entry].detach().float().cpu().numpy()
                arrays[f"{place}.{name}"] = value.T if _is_product(name, value) else value
                table[f"{place}.{name}"] = f"{kind}_{seen[kind]}.{end}"
        seen[kind] += 1
    return pickled_state(arrays, (_NAME_TABLE, table))


def _is_product(name: str, value: np.ndarray) -> bool:
    """Whether it is the matrix of a fully connected layer."""
    return name == "weight" and value.ndim == 2
