# SPDX-License-Identifier: Apache-2.0
"""Writes a recogniser as dlib saves it, from numbers of one's own: dlib itself loads what is written here.

Of the published file the same bytes come out when its own numbers go in (tests/acceptance compares them).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image

from facepipe.catalogue.dlib_layers import BLOCKS, layers

MEANS = ((0xF59062, -17), (0xEA0083, -17), (0xD09893, -17))  # 122.782, 117.001, 104.298 as mantissa and exponent
ONE, NONE = (16, -4), (0, 11)  # 1.0 and 0.0
Layer: TypeAlias = tuple[str, tuple[int, ...]]
Numbers: TypeAlias = Callable[[int, Layer, int], np.ndarray]
"""The layer's place, the layer, and how many numbers it has: float32 [count]."""
SMALL: tuple[Layer, ...] = (
    *(("con_4", (2, 3, 3, 2, 2, 0, 0)), ("affine_", ()), ("relu_", ()), ("max_pool_2", (3, 3, 2, 2, 0, 0))),
    *(("con_4", (2, 3, 3, 1, 1, 1, 1)), ("affine_", ()), ("add_prev_", ()), ("relu_", ())),
    *(("avg_pool_2", (0, 0, 1, 1, 0, 0)), ("fc_2", (4, 2))),
)
"""Every kind of layer once or twice, for tests that change the file's bytes."""


def dlib_file(numbers: Numbers, listed: Sequence[Layer] = layers(), side: int = 150) -> bytes:
    """The whole file, of the recogniser's layers or of others."""
    listed = list(listed)
    content = [_whole(1), _text("loss_metric_2"), _float(0xA3D70A, -28), _float(0x99999A, -24), *_versions()]
    content += [_text("input_rgb_image_sized"), *(_float(*mean) for mean in MEANS), _whole(side), _whole(side)]
    channels = 3
    for number, (name, sizes) in enumerate(listed):
        content.append(_text(name))
        if name == "con_4":
            filters, rows, columns = sizes[:3]
            count = filters * (channels * rows * columns + 1)
            content += [_tensor(numbers(number, (name, sizes), count), count, 1), *map(_whole, sizes)]
            content += [_view(filters, channels, rows, columns), _view(1, filters), _rates()]
            channels = filters
        elif name == "affine_":
            content += [_tensor(numbers(number, (name, sizes), 2 * channels), 2 * channels, 1)]
            content += [_view(1, channels), _view(1, channels), _whole(0)]
        elif name == "fc_2":
            outputs, inputs = sizes
            content += [*map(_whole, sizes), _tensor(numbers(number, (name, sizes), inputs * outputs), inputs, outputs)]
            content += [_view(inputs, outputs), _view(0, 0, 0, 0), _whole(1), _rates()]
        else:
            content += [*map(_whole, sizes)]
        in_place = listed[number + 1 : number + 2] == [("relu_", ())]  # then this layer's outputs are not kept
        content += [b"111" if in_place else b"110", *[_whole(2) + 4 * _whole(0)] * 3]
        content += [_whole(1)] * (number == 0)
    return b"".join(content)


def seeded(number: int, layer: Layer, count: int) -> np.ndarray:
    """Numbers that keep activations near 1 through the network, from the layer's place and name alone."""
    name, sizes = layer
    rng = np.random.default_rng(zlib.crc32(f"{number} {name}".encode()))
    if name == "affine_":
        half = count // 2
        return np.concatenate([rng.uniform(0.4, 0.8, half), rng.normal(0, 0.1, half)]).astype(np.float32)
    fan = count // sizes[0]  # of one filter, or one output
    return rng.normal(0, math.sqrt((2 if name == "con_4" else 1 / 16) / fan), count).astype(np.float32)


def chips(count: int) -> np.ndarray:
    """Smooth fields of colour: uint8 [count, 150, 150, 3], the same everywhere."""
    rng = np.random.default_rng(20)
    fields = rng.integers(0, 256, (count, 6, 6, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((150, 150), Image.Resampling.BILINEAR)) for one in fields])


def _versions() -> list[bytes]:
    """One for each layer, from the last to the first: dlib's types are nested, and each writes its own."""
    numbers = [2, 2]
    for _, halved in reversed(BLOCKS):
        numbers += [2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 1] if halved else [2, 2, 2, 2, 2, 2, 2, 1]
    return [_whole(number) for number in (*numbers, 2, 2, 2, 3)]


def _whole(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def _float(mantissa: int, exponent: int) -> bytes:
    return _whole(mantissa) + _whole(exponent)


def _text(text: str) -> bytes:
    return _whole(len(text)) + text.encode()


def _tensor(numbers: np.ndarray, rows: int, columns: int) -> bytes:
    return b"".join([_whole(2), *map(_whole, (rows, columns, 1, 1)), numbers.astype("<f4").tobytes()])


def _view(a: int, b: int, c: int = 1, d: int = 1) -> bytes:
    return b"".join(map(_whole, (1, a, b, c, d)))


def _rates() -> bytes:
    return b"".join(_float(*number) for number in (ONE, ONE, ONE, NONE))
