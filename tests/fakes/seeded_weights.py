# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of seeded weights for any network: all that a test of shapes, files and runs needs of published ones."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from facepipe.networks import build
from facepipe.networks.seeded import values_from_key


def write_checkpoint(network: str, path: Path) -> Path:
    """Write a state dict of the network whose values keep activations near 1; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(seeded_state(network), path)
    return path


def seeded_state(network: str) -> dict[str, torch.Tensor]:
    """That state dict."""
    return {
        key: torch.from_numpy(np.asarray(_values(key, tuple(entry.shape)))).to(entry.dtype)
        for key, entry in build(network).state_dict().items()
    }


def _values(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 of `shape`. A one-axis weight is a batch normalisation's or PReLU's, by whatever name."""
    if key.endswith("weight") and len(shape) == 1:
        return np.random.default_rng(zlib.crc32(key.encode())).uniform(0.4, 1.2, shape)
    return values_from_key(key, shape)
