# SPDX-License-Identifier: Apache-2.0
"""The file that dlib saves a face recogniser to, read as data: its input, its layers, their numbers.

A whole number is one byte with the count of the bytes that follow in its low half and the sign in its highest bit, then
those bytes, little endian. Any other number is two of them, mantissa and exponent of 2. A tensor is the number 2, four
sizes, and float32, little endian. A text is its length and its bytes; a truth is the letter 0 or 1.

Source: dlib's own serialisation, `dlib/serialize.h`, `dlib/dnn/layers.h` and `dlib/dnn/core.h`; read for the layers
that dlib's face recogniser has, and no others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from facepipe.errors import DataError

MOST_LAYERS = 10_000
LONGEST_NAME = 64
INPUT = "input_rgb_image_sized"
_INNERMOST = 3  # the version that dlib gives the layer over the input; the others have 1 or 2
# What dlib writes for an exponent where a number is infinite or none.
_SPECIAL = 32_000
_ATTEMPT = "the file dlib_face_recognition_resnet_model_v1.dat of dlib-models; a truncated download is the usual cause."


@dataclass(frozen=True, slots=True, eq=False)
class DlibLayer:
    """One layer.

    Attributes:
        name: as dlib calls it: "con_4", "affine_", "relu_", "max_pool_2", "avg_pool_2", "add_prev_", "fc_2".
        sizes: of a convolution the filters, rows, columns, two strides, two pads; of a pooling the same without filters
            (0 rows and columns: all of the map); of a dense layer outputs and inputs; else nothing.
        numbers: float32 [n], its parameters as they lie in the file; empty where it has none.
    """

    name: str
    sizes: tuple[int, ...]
    numbers: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class DlibNetwork:
    """What the file tells.

    Attributes:
        means: of R, G, B in 0..255; they are taken off before the first layer, and the rest is divided by 256.
        size: (height, width) of the input.
        layers: in the order in which the data meets them.
    """

    means: tuple[float, float, float]
    size: tuple[int, int]
    layers: tuple[DlibLayer, ...]


def read_dlib_network(content: bytes, where: str) -> DlibNetwork:
    """The network in `content`; nothing in it is executed, and no more memory is taken than it has bytes.

    Args:
        content: of the file.
        where: the file's name, for errors.

    Raises:
        DataError: it is truncated, goes on after its end, or is another file than a face recogniser of dlib's.
    """
    read = _Reader(content, where)
    read.expect(read.whole(), 1, "the version of the loss")
    if (loss := read.text()) != "loss_metric_2":
        read.refuse(f"a loss called {loss!r}", "loss_metric_2, of a network that was trained to tell faces apart")
    read.number(), read.number()  # margin and threshold of the training
    for _ in range(MOST_LAYERS):
        if (version := read.whole()) == _INNERMOST:
            break
        if version not in (1, 2):
            read.refuse(f"a layer of version {version}", "1, 2 or 3")
    else:
        read.refuse(f"more than {MOST_LAYERS:,} layers", "dlib's face recogniser")
    if (name := read.text()) != INPUT:
        read.refuse(f"an input called {name!r}", INPUT)
    means = (read.number(), read.number(), read.number())
    size = (read.whole(), read.whole())
    layers: list[DlibLayer] = []
    while not read.is_at_end:
        layers.append(_layer(read))
        if len(layers) == 1:
            read.expect(read.whole(), 1, "the crops of one picture")
        if len(layers) > MOST_LAYERS:
            read.refuse(f"more than {MOST_LAYERS:,} layers", "dlib's face recogniser")
    return DlibNetwork(means, size, tuple(layers))


class _Reader:
    """A place in the file, which only goes forward."""

    def __init__(self, content: bytes, where: str) -> None:
        self._content, self._where, self._at = content, where, 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._content)

    def refuse(self, what: str, expected: str) -> NoReturn:
        raise DataError(f"{self._where}: at byte {self._at:,} there is {what}, expected {expected}.", _ATTEMPT)

    def expect(self, value: int, expected: int, what: str) -> None:
        if value != expected:
            self.refuse(f"{value} for {what}", str(expected))

    def take(self, count: int) -> bytes:
        if count > len(self._content) - self._at:
            self.refuse(f"the end after {len(self._content) - self._at:,} bytes", f"{count:,} more bytes")
        taken = self._content[self._at : self._at + count]
        self._at += count
        return taken

    def whole(self) -> int:
        (head,) = self.take(1)
        count = head & 0x0F
        if head & 0x70 or not 1 <= count <= 8:
            self.refuse(f"the byte {head:#04x}", "a whole number of 1 to 8 bytes")
        value = int.from_bytes(self.take(count), "little")
        return -value if head & 0x80 else value

    def number(self) -> float:
        mantissa, exponent = self.whole(), self.whole()
        if exponent >= _SPECIAL or not -2000 < exponent < 900:  # a mantissa has 64 bits at most
            self.refuse(f"a number with the exponent {exponent}", "a finite one")
        return float(mantissa * 2.0**exponent)

    def text(self) -> str:
        length = self.whole()
        if not 0 <= length <= LONGEST_NAME:
            self.refuse(f"a name of {length:,} bytes", f"0 to {LONGEST_NAME}")
        return self.take(length).decode("ascii", "backslashreplace")

    def truth(self) -> None:
        if (letter := self.take(1)) not in (b"0", b"1"):
            self.refuse(f"the byte {letter[0]:#04x}", "a truth, the letter 0 or 1")

    def sizes(self) -> tuple[int, int, int, int]:
        four = (self.whole(), self.whole(), self.whole(), self.whole())
        if min(four) < 0:
            self.refuse(f"a tensor of {four}", "sizes of 0 or more")
        return four

    def views(self) -> None:
        """Two parts of a tensor, as dlib keeps them beside the tensor: their sizes follow from the layer's."""
        for _ in range(2):
            self.expect(self.whole(), 1, "the version of a part")
            self.sizes()

    def tensor(self) -> np.ndarray:
        self.expect(self.whole(), 2, "the version of a tensor")
        n, k, rows, columns = self.sizes()
        raw = self.take(n * k * rows * columns * 4)  # before any memory is asked for
        numbers = np.frombuffer(raw, "<f4").astype(np.float32, copy=False)
        if not np.isfinite(numbers).all():
            self.refuse("a tensor with numbers that are not finite", "finite ones")
        return numbers


def _layer(read: _Reader) -> DlibLayer:
    name = read.text()
    if name not in _DETAILS:
        read.refuse(f"a layer called {name!r}", f"one of {', '.join(_DETAILS)}")
    sizes, numbers = _DETAILS[name](read)
    for _ in range(3):
        read.truth()
    for _ in range(3):  # what training keeps between its steps: empty in a file that was cleaned for use
        read.tensor()
    return DlibLayer(name, sizes, numbers)


_Details = tuple[tuple[int, ...], np.ndarray]


def _convolution(read: _Reader) -> _Details:
    numbers = read.tensor()
    sizes = _wholes(read, 7)
    read.views()
    _rates(read)
    return sizes, numbers


def _affine(read: _Reader) -> _Details:
    numbers = read.tensor()
    read.views()
    read.expect(read.whole(), 0, "the mode of an affine layer")
    return (), numbers


def _pooling(read: _Reader) -> _Details:
    return _wholes(read, 6), _nothing()


def _dense(read: _Reader) -> _Details:
    sizes = _wholes(read, 2)
    numbers = read.tensor()
    read.views()
    read.expect(read.whole(), 1, "the mode of a dense layer")  # without bias
    _rates(read)
    return sizes, numbers


def _plain(_: _Reader) -> _Details:
    return (), _nothing()


def _wholes(read: _Reader, count: int) -> tuple[int, ...]:
    return tuple(read.whole() for _ in range(count))


def _rates(read: _Reader) -> None:
    """Of learning and decay, for weights and biases."""
    for _ in range(4):
        read.number()


def _nothing() -> np.ndarray:
    return np.zeros(0, np.float32)


_DETAILS: dict[str, Callable[[_Reader], _Details]] = {
    "con_4": _convolution,
    "affine_": _affine,
    "relu_": _plain,
    "max_pool_2": _pooling,
    "avg_pool_2": _pooling,
    "add_prev_": _plain,
    "fc_2": _dense,
}
"""What stands between a layer's name and what every layer has."""
