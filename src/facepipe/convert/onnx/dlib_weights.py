# SPDX-License-Identifier: Apache-2.0
"""The weights in dlib's file of its recogniser, as `networks.dlib_resnet` names them.

dlib multiplies each channel by a factor and adds an offset after every convolution; both become part of the
convolution, in float64, so that what is rounded to float32 is rounded once. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from facepipe.catalogue.dlib_layers import BLOCKS, SIDE, layers
from facepipe.datasets.dlib_network import DlibLayer, DlibNetwork, read_dlib_network
from facepipe.errors import DataError, WeightsError

SUFFIX = ".dat"


def read_dlib_state(path: Path, content: bytes | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .dat file by the names of `networks.dlib_resnet`; nothing in the file is executed.

    Args:
        content: of the file, where it was read already.

    Raises:
        WeightsError: the file is damaged, or of another network of dlib's.
    """
    try:
        network = read_dlib_network(path.read_bytes() if content is None else content, str(path))
    except (DataError, OSError) as error:
        what = error.what if isinstance(error, DataError) else f"{path}: cannot be opened ({error.strerror})."
        raise WeightsError(what, error.attempt if isinstance(error, DataError) else None) from error
    _require_recogniser(network, path)
    return dict(_state(network, path))


def _require_recogniser(network: DlibNetwork, path: Path) -> None:
    """Every layer is the one that the recogniser has in its place: an ageing network has the same kinds."""
    if network.size != (SIDE, SIDE):
        raise WeightsError(f"{path}: its input is {network.size}, expected {(SIDE, SIDE)}.", _ATTEMPT)
    expected = layers()
    found = tuple((layer.name, layer.sizes) for layer in network.layers)
    for number, (one, other) in enumerate(zip(found, expected, strict=False), start=1):
        if one != other:
            raise WeightsError(f"{path}: layer {number} is {_told(one)}, expected {_told(other)}.", _ATTEMPT)
    if len(found) != len(expected):
        raise WeightsError(f"{path}: it has {len(found)} layers, expected {len(expected)}.", _ATTEMPT)


_ATTEMPT = "the file dlib_face_recognition_resnet_model_v1.dat; dlib's other networks have other layers."


def _told(layer: tuple[str, tuple[int, ...]]) -> str:
    name, sizes = layer
    return f"{name}({', '.join(map(str, sizes))})"


def _state(network: DlibNetwork, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    keys = iter(["stem", *(f"blocks.{n}.{part}" for n in range(len(BLOCKS)) for part in ("first", "second"))])
    channels = 3
    for layer, after in pairwise(network.layers):
        if layer.name == "con_4":
            key = next(keys)
            weight, bias = _convolution(layer, after, channels, path)
            yield f"{key}.weight", weight
            yield f"{key}.bias", bias
            channels = layer.sizes[0]
    dense = network.layers[-1]
    outputs, inputs = dense.sizes
    _require_count(dense, inputs * outputs, path)
    yield "embedding.weight", np.ascontiguousarray(dense.numbers.reshape(inputs, outputs).T)


def _convolution(layer: DlibLayer, affine: DlibLayer, channels: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """float32 [O, C, h, w] and [O]: the convolution and what follows it as one."""
    filters, rows, columns = layer.sizes[:3]
    _require_count(layer, filters * (channels * rows * columns + 1), path)
    _require_count(affine, 2 * filters, path)
    weight, bias = layer.numbers[:-filters].astype(np.float64), layer.numbers[-filters:].astype(np.float64)
    factor, offset = affine.numbers.astype(np.float64).reshape(2, filters)
    whole = weight.reshape(filters, channels, rows, columns) * factor[:, None, None, None]  # [O, C, h, w]
    return whole.astype(np.float32), (bias * factor + offset).astype(np.float32)


def _require_count(layer: DlibLayer, count: int, path: Path) -> None:
    if layer.numbers.size != count:
        raise WeightsError(f"{path}: a {layer.name} has {layer.numbers.size:,} numbers, expected {count:,}.", _ATTEMPT)
