# SPDX-License-Identifier: Apache-2.0
"""The networks that are written to ONNX without torch: MTCNN's three and dlib's recogniser, each told once.

A network is a function of operators and an image. With `NodeOperators` it becomes the nodes of a graph, operator for
operator those that torch's exporter leaves of `networks.mtcnn` and `networks.dlib_resnet`; with `NumpyOperators` it is
computed, which is what the graph is judged by. That these are the networks of PyTorch, the tests show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from facepipe.catalogue.dlib_layers import BLOCKS, SIDE, block_sizes

T = TypeVar("T")


class Operators(Protocol[T]):
    """What the networks are made of. `name` is a layer's, whose weights are the arrays `name.weight` and `name.bias`.

    Maps are [N, C, H, W], rows [N, D].
    """

    def convolution(self, maps: T, name: str, stride: int = 1, pad: int = 0) -> T:
        """With a bias; `pad` zeros on every side."""

    def prelu(self, maps: T, name: str) -> T:
        """One slope for each channel."""

    def prelu_of_rows(self, rows: T, name: str) -> T:
        """One slope for each column."""

    def relu(self, maps: T) -> T: ...

    def greatest(self, maps: T, side: int, stride: int, whole: bool = True) -> T:
        """The greatest of each window of side x side; `whole`: windows may reach over the last row and column."""

    def means(self, maps: T) -> T:
        """Of 2x2."""

    def mean(self, maps: T) -> T:
        """Of each map, as rows [N, C]."""

    def filled_up(self, maps: T, channels: int, rows: int) -> T:
        """So many more channels, and so many more rows and columns, of zeros, each at the end."""

    def by_columns(self, maps: T) -> T:
        """As rows [N, W * H * C]: the order of MTCNN's published dense layers."""

    def dense(self, rows: T, name: str) -> T:
        """With a bias."""

    def product(self, rows: T, name: str) -> T:
        """A dense layer without a bias."""

    def mirrored(self, image: T, side: int) -> T:
        """Left and right exchanged, of an image with `side` columns."""

    def add(self, one: T, other: T) -> T: ...

    def half(self, rows: T) -> T: ...


def pnet(do: Operators[T], image: T) -> tuple[T, ...]:
    """Box offsets [N, 4, h, w] and face logits [N, 2, h, w] of an image of any size from 12."""
    maps = do.greatest(do.prelu(do.convolution(image, "conv1"), "prelu1"), 2, 2)
    maps = do.prelu(do.convolution(maps, "conv2"), "prelu2")
    maps = do.prelu(do.convolution(maps, "conv3"), "prelu3")
    return do.convolution(maps, "conv4_2"), do.convolution(maps, "conv4_1")


def rnet(do: Operators[T], image: T) -> tuple[T, ...]:
    """Box offsets [N, 4] and face logits [N, 2] of crops of 24x24."""
    maps = do.greatest(do.prelu(do.convolution(image, "conv1"), "prelu1"), 3, 2)
    maps = do.greatest(do.prelu(do.convolution(maps, "conv2"), "prelu2"), 3, 2)
    maps = do.prelu(do.convolution(maps, "conv3"), "prelu3")
    rows = do.prelu_of_rows(do.dense(do.by_columns(maps), "dense4"), "prelu4")
    return do.dense(rows, "dense5_2"), do.dense(rows, "dense5_1")


def onet(do: Operators[T], image: T) -> tuple[T, ...]:
    """Box offsets [N, 4], landmark offsets [N, 10] and face logits [N, 2] of crops of 48x48."""
    maps = do.greatest(do.prelu(do.convolution(image, "conv1"), "prelu1"), 3, 2)
    maps = do.greatest(do.prelu(do.convolution(maps, "conv2"), "prelu2"), 3, 2)
    maps = do.greatest(do.prelu(do.convolution(maps, "conv3"), "prelu3"), 2, 2)
    maps = do.prelu(do.convolution(maps, "conv4"), "prelu4")
    rows = do.prelu_of_rows(do.dense(do.by_columns(maps), "dense5"), "prelu5")
    return do.dense(rows, "dense6_2"), do.dense(rows, "dense6_3"), do.dense(rows, "dense6_1")


def dlib_resnet(do: Operators[T], image: T) -> tuple[T, ...]:
    """Embeddings [N, 128]: the mean of what dlib answers for the image and for its mirror image."""
    mirrored = do.mirrored(image, SIDE)
    return (do.half(do.add(_dlib_embedding(do, image), _dlib_embedding(do, mirrored))),)


def _dlib_embedding(do: Operators[T], image: T) -> T:
    maps = do.greatest(do.relu(do.convolution(image, "stem", stride=2)), 3, 2, whole=False)
    for number, ((channels, halved), (given, _, missing)) in enumerate(zip(BLOCKS, block_sizes(), strict=True)):
        name = f"blocks.{number}"
        stride, pad = (2, 0) if halved else (1, 1)
        added = do.relu(do.convolution(maps, f"{name}.first", stride, pad))
        added = do.convolution(added, f"{name}.second", pad=1)
        maps = do.means(maps) if halved else maps
        maps = do.filled_up(maps, channels - given, 0) if channels > given else maps
        added = do.filled_up(added, 0, missing) if missing else added
        maps = do.relu(do.add(maps, added))
    return do.product(do.mean(maps), "embedding")


PLAIN: Mapping[str, Callable[[Operators[Any], Any], tuple[Any, ...]]] = {
    "pnet": pnet,
    "rnet": rnet,
    "onet": onet,
    "dlib_resnet": dlib_resnet,
}
"""By the catalogue's key of a network."""
