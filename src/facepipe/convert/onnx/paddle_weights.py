# SPDX-License-Identifier: Apache-2.0
"""The weights in a `.pdparams` file of PaddlePaddle as PyTorch names them; the pickle is read as data.

`paddle.save(layer.state_dict(), file)` writes a pickle of one dictionary: float arrays by entry, and under one more key
the table of Paddle's own names for them. Layers of one attribute have the same name in both; what differs is within a
layer: statistics of batch normalisation, and PReLU's slope. Source: `python/paddle/framework/io.py` of PaddlePaddle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from facepipe.datasets.restricted_pickle import read_pickle
from facepipe.errors import DataError, WeightsError

SUFFIX = ".pdparams"
_NAME_TABLE = "StructuredToParameterName@@"
_TORCH_NAMES = {"_mean": "running_mean", "_variance": "running_var", "_weight": "weight"}


def read_paddle_state(path: Path, content: bytes | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a .pdparams file by the names that PyTorch gives them; nothing in the file is executed.

    The count of batches, which PyTorch keeps at each batch normalisation and Paddle does not, is 0. Fully connected
    layers, which Paddle stores transposed, are left as they are: their shape will not fit.

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
        state[f"{layer}.{_TORCH_NAMES.get(name, name)}" if layer else key] = torch.from_numpy(np.array(value))
        if name == "_mean":
            state[f"{layer}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return state
