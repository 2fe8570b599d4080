# SPDX-License-Identifier: Apache-2.0
"""Pickles of NumPy arrays, as Paddle's programs leave them: written opcode by opcode, read as data.

What is written is protocol 4 and names `numpy.core.multiarray`, which NumPy 1 and 2 both know; Python's own pickler
writes the name of the NumPy that it runs with, which an older one cannot read.

Source: Python's `Lib/pickletools.py` (the opcodes), NumPy's documentation of `ndarray.__reduce__`, and a file that
PaddlePaddle 3.3.1 saved.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from facepipe.datasets.restricted_pickle import read_pickle
from facepipe.errors import DataError

_PROTOCOL, _STOP = b"\x80\x04", b"."
_MARK, _TUPLE, _REDUCE, _BUILD = b"(", b"t", b"R", b"b"
_FALSE, _TRUE, _NONE = b"\x89", b"\x88", b"N"


def pickled_array(array: np.ndarray) -> bytes:
    """A pickle of one array of float32, as `pickle.dump(array, file)` means it."""
    return b"".join((_PROTOCOL, *_array(array), _STOP))


def pickled_state(arrays: Mapping[str, np.ndarray], table: tuple[str, Mapping[str, str]]) -> bytes:
    """A pickle of a dictionary: arrays of float32 by name, and last, under the key of `table`, texts by text."""
    key, names = table
    parts = [_PROTOCOL, b"}", _MARK]
    for name, array in arrays.items():
        parts += [_text(name), *_array(array)]
    parts += [_text(key), b"}", _MARK, *(_text(text) for pair in names.items() for text in pair), b"u", b"u", _STOP]
    return b"".join(parts)


def read_pickled_array(path: Path, axes: int) -> np.ndarray:
    """The array in a pickle, float32 of so many axes; nothing in the file is executed.

    Raises:
        DataError: the file cannot be read, holds another value, or numbers that are not finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), expected a pickled array.") from error
    array = read_pickle(content, str(path), ("array",))
    assert isinstance(array, np.ndarray), "read_pickle admits nothing else"
    if array.ndim != axes or array.dtype.kind != "f":
        raise DataError(f"{path}: holds {array.dtype} {list(array.shape)}, expected floats with {axes} axes.")
    if not np.isfinite(array).all():
        raise DataError(f"{path}: holds numbers that are not finite, expected none.")
    return np.asarray(array, np.float32)


def _array(array: np.ndarray) -> Iterator[bytes]:
    assert array.dtype == np.float32, f"{array.dtype}, expected float32"
    yield from (_name("numpy.core.multiarray", "_reconstruct"), _name("numpy", "ndarray"))
    yield from (_whole(0), b"\x85", _bytes(b"b"), b"\x87", _REDUCE)  # an empty array, whose state follows
    yield from (_MARK, _whole(1), _MARK, *(_whole(side) for side in array.shape), _TUPLE)
    yield from (_name("numpy", "dtype"), _text("f4"), _FALSE, _TRUE, b"\x87", _REDUCE)
    yield from (_MARK, _whole(3), _text("<"), _NONE, _NONE, _NONE, _whole(-1), _whole(-1), _whole(0), _TUPLE, _BUILD)
    yield from (_FALSE, _bytes(array.astype("<f4").tobytes()), _TUPLE, _BUILD)  # not in Fortran's order


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _whole(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _bytes(content: bytes) -> bytes:
    short = len(content) < 1 << 32
    return (b"B" + struct.pack("<I", len(content)) if short else b"\x8e" + struct.pack("<Q", len(content))) + content
