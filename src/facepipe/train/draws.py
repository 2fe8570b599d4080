# SPDX-License-Identifier: Apache-2.0
"""Random numbers as a function of what they are for: no state is kept, none is saved, and no generator is global.

The order of an epoch is drawn for (seed, "order", epoch), the augmentation of a sample for (seed, "augment", epoch,
index), classes for (seed, "classes", step, rank). So a run that was killed draws what it would have drawn, with any
number of loader processes.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def generator(seed: int, what: str, *numbers: int) -> np.random.Generator:
    """NumPy's Philox, keyed by the SHA-256 of the words: the same numbers on every machine.

    Philox and `Generator`'s streams are NumPy's promise within a version (NEP 19); a checkpoint states the version.

    Example:
        >>> generator(1, "order", 0).random() == generator(1, "order", 0).random()
        True
        >>> generator(1, "order", 0).random() == generator(1, "order", 1).random()
        False
    """
    words = repr((int(seed), what, *map(int, numbers))).encode()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(words).digest()[:16], "little")))


def torch_generator(seed: int, what: str, *numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The same for what is drawn on a device: torch's generator there, seeded by the words."""
    start = int(generator(seed, what, *numbers).integers(0, 2**63 - 1))
    return torch.Generator(device=device).manual_seed(start)
