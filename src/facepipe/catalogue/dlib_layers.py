# SPDX-License-Identifier: Apache-2.0
"""What dlib's recogniser is made of: for the network in PyTorch, the reader of its file, and the graph without torch.

King 2017, dlib's `dnn_face_recognition_ex.cpp`.
"""

from __future__ import annotations

# (channels, halved) of each block. A halved one has stride 2, and the mean of 2x2 beside it.
BLOCKS = (
    *((32, False),) * 3,
    (64, True),
    *((64, False),) * 3,
    (128, True),
    *((128, False),) * 2,
    (256, True),
    *((256, False),) * 2,
    (256, True),
)
SIDE, FIRST, EMBEDDING = 150, 32, 128
POOLED = 35  # rows of the maps that the first block is given: 150 to 72 by the stem, to 35 by the pool


def layers() -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(name, sizes) of each layer as dlib's file must list them; see `datasets.dlib_network.DlibLayer`."""
    listed: list[tuple[str, tuple[int, ...]]] = [
        *_convolution(FIRST, 7, 2, 0),
        ("relu_", ()),
        ("max_pool_2", (3, 3, 2, 2, 0, 0)),
    ]
    for channels, halved in BLOCKS:
        listed += [*_convolution(channels, 3, 2 if halved else 1, 0 if halved else 1), ("relu_", ())]
        listed += _convolution(channels, 3, 1, 1)
        listed += [("avg_pool_2", (2, 2, 2, 2, 0, 0))] * halved
        listed += [("add_prev_", ()), ("relu_", ())]
    return (*listed, ("avg_pool_2", (0, 0, 1, 1, 0, 0)), ("fc_2", (EMBEDDING, BLOCKS[-1][0])))


def _convolution(channels: int, side: int, stride: int, pad: int) -> list[tuple[str, tuple[int, ...]]]:
    return [("con_4", (channels, side, side, stride, stride, pad, pad)), ("affine_", ())]


def block_sizes() -> tuple[tuple[int, int, int], ...]:
    """Of each block: the channels that it is given, the rows of its answer, and by how many rows its convolutions end
    up smaller than that, which are filled up with zeros."""
    sizes, channels, side = [], FIRST, POOLED
    for outputs, halved in BLOCKS:
        convolved, side = ((side - 3) // 2 + 1, side // 2) if halved else (side, side)
        sizes.append((channels, side, side - convolved))
        channels = outputs
    return tuple(sizes)
