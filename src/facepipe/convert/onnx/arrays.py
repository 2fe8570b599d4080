# SPDX-License-Identifier: Apache-2.0
"""Published weights as NumPy arrays by name, and the digest that they are known by. Needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from facepipe.convert.onnx import dlib_weights
from facepipe.datasets.torch_file import read_torch_file
from facepipe.errors import DataError, WeightsError
from facepipe.specs import ModelSpec


def digest_of_weights(spec: ModelSpec, path: Path, content: bytes, *, any_digest: bool = False) -> str:
    """The sha256 of `content`, which was read at `path`.

    Args:
        any_digest: it may be another than the catalogue's.

    Raises:
        WeightsError: it is another, and may not be.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    if spec.weights.sha256 not in (None, sha256) and not any_digest:
        raise WeightsError(
            f"{path}: sha256 is {sha256}, expected {spec.weights.sha256} for {spec.name}.",
            f"delete it and run `facepipe fetch {spec.name}`; a truncated download is the usual cause.",
        )
    return sha256


def read_arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """The float32 arrays of dlib's .dat file, or of a .pt file of PyTorch's form before 1.6; nothing is executed.

    Raises:
        WeightsError: it is damaged, or of another form.
    """
    if path.suffix == dlib_weights.SUFFIX:
        return dlib_weights.read_dlib_state(path, content)
    try:
        return read_torch_file(content, str(path))
    except DataError as error:
        raise WeightsError(error.what, error.attempt) from error
