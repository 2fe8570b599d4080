# SPDX-License-Identifier: Apache-2.0
"""Weights that are computed, not trained: the same on every machine, for parity, speed and demonstrations.

A recipe is a function without arguments that returns a state dict; a `Recipe` of the catalogue names it. Numbers
made with such weights say nothing about a network's accuracy.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
import torch

from facepipe.networks.inception_resnet_v1 import InceptionResnetV1


def values_from_key(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 `shape`, drawn from a generator whose seed is the CRC-32 of the entry's own name.

    An entry's values depend on its name and shape alone: not on the order of the entries, nor on torch's generator.
    The ranges keep activations near 1 through a deep network (He et al. 2015 for the convolutions).
    """
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if key.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if key.endswith("running_mean"):
        return rng.normal(0, 0.1, shape)
    if "bn." in key and key.endswith("weight"):
        return rng.uniform(0.5, 1.5, shape)
    if key.endswith("bias"):
        return rng.normal(0, 0.1, shape)
    return rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape)


def inception_resnet_v1_from_key_names() -> dict[str, torch.Tensor]:
    """Every entry of InceptionResnetV1, each cast to its entry's dtype."""
    with torch.device("meta"):
        blank = InceptionResnetV1().state_dict()
    return {
        key: torch.from_numpy(np.asarray(values_from_key(key, tuple(entry.shape)))).to(entry.dtype)
        for key, entry in blank.items()
    }


RECIPES: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "inception_resnet_v1_from_key_names": inception_resnet_v1_from_key_names,
}
"""Name in the catalogue to function."""
