# SPDX-License-Identifier: Apache-2.0
"""What a program gives as photographs, one or many, looked at at the door.

A photograph that cannot be read is an answer. What can only be a mistake of the program (an array of another kind, an
open file) is an error that names its place: it would be there in every call, and to guess is to be wrong in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from facepipe.datasets.images import PillowImage
from facepipe.errors import DataError

PhotographLike = str | os.PathLike[str] | bytes | bytearray | memoryview | np.ndarray | PillowImage
"""A photograph: the path of a file, the bytes of one, what Pillow opened or made, or uint8 [H, W, 3] in RGB."""

Form = Path | bytes | np.ndarray | PillowImage
"""What was looked at at the door: a path, the bytes of a file, uint8 [H, W, 3] in RGB, or what Pillow holds."""

_FORMS = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, PillowImage)
_EXPECTED = "expected a path, the bytes of a file, a PIL image, or a NumPy array uint8 [H, W, 3] in RGB"
_PIXELS = "expected uint8 [H, W, 3] in RGB"


def is_one(given: object) -> bool:
    """Whether one photograph was given, and not many: text, bytes and arrays are one, though Python counts in them."""
    is_array_or_file = hasattr(given, "__array__") or hasattr(given, "read")
    return isinstance(given, _FORMS) or is_array_or_file or not isinstance(given, Iterable)


def many(given: Iterable[PhotographLike]) -> Iterator[Form]:
    """Photographs in their order, each `checked_form`: those of a list before the first is looked at.

    Raises:
        DataError: one is none; its place is named. Or they have no order.
    """
    if isinstance(given, Mapping | Set):
        raise DataError(f"photographs: are a {type(given).__name__}, expected a list; answers come in its order.")
    forms = (checked_form(one, f"photographs[{place}]") for place, one in enumerate(given))
    yield from list(forms) if isinstance(given, Sequence) else forms


def checked_form(given: PhotographLike, where: str = "photograph") -> Form:
    """One photograph in one of four forms; none of its pixels is looked at.

    Args:
        where: begins the error.

    Raises:
        DataError: it is something else, or an array of another kind; with what would make it one.
    """
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or 0 in given.shape:
            raise DataError(f"{where}: is {_described(given)}, {_PIXELS}.", _attempt(given))
        return given
    if isinstance(given, PillowImage | bytes):
        return given
    if isinstance(given, bytearray | memoryview):
        return bytes(given)
    if isinstance(given, str | os.PathLike):
        return Path(given)
    attempt = "its .read()." if hasattr(given, "read") else None
    if hasattr(given, "__array__"):
        attempt = "list(...) of several photographs; of one numpy.asarray(...), height and width first, 0 to 255."
    raise DataError(f"{where}: is of type {type(given).__name__}, {_EXPECTED}.", attempt)


def _described(array: np.ndarray) -> str:
    """Type, shape and range; the range of uint8 is nobody's question."""
    text = f"{array.dtype} {list(array.shape)}"
    if array.size and array.dtype != np.uint8 and array.dtype.kind in "iuf":
        text += f" from {array.min():.6g} to {array.max():.6g}"
    return text


def _attempt(array: np.ndarray) -> str | None:
    """What would make it a photograph, where one can tell; nothing is ever guessed in silence."""
    if not array.size:
        return None
    if array.ndim == 4:
        return "list(array): one answer comes for each."
    if array.dtype.kind in "iuf" and array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        is_fraction = array.dtype.kind == "f" and high <= 1
        if low >= 0 and high <= 255:
            return f"({'255 * ' if is_fraction else ''}array).round().astype(numpy.uint8)."
        if array.dtype == np.uint16:
            return "(array / 257).round().astype(numpy.uint8), where 65535 is white."
        return "the pixels from 0 to 255, before they were normalised."
    if array.dtype.kind in "UO":
        return "list(array), where it holds several photographs."
    if array.dtype != np.uint8:
        return None
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] > 4:
        return "array.transpose(1, 2, 0)."
    if array.ndim == 3 and array.shape[2] == 1:
        return "PIL.Image.fromarray(array[..., 0]), which tells that it is grey."
    if array.ndim == 3 and array.shape[2] == 4:
        return "array[..., :3], where those are red, green and blue; or PIL.Image.fromarray(array)."
    return "PIL.Image.fromarray(array), which tells that it is grey." if array.ndim == 2 else None
