# SPDX-License-Identifier: Apache-2.0
"""The tensors in a file that `torch.save` wrote before PyTorch 1.6, as MTCNN's published weights are; needs no torch.

Five pickles follow one another: a number that says what the file is, the version of the form, what the machine's
integers were, the state dict without its numbers, and the names of the blocks of numbers in the file's order. Then each
block: how many numbers it has, 8 bytes, and the numbers, float32; all little endian.

Source: `torch/serialization.py` of PyTorch, `_legacy_save`; the pickles are read as data (`restricted_pickle`).
"""

from __future__ import annotations

import math

import numpy as np

from facepipe.datasets.restricted_pickle import StoredTensor, read_pickles
from facepipe.errors import DataError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
_KINDS = ("dict", "list", "str", "int", "bool", "tensor")
_ATTEMPT = "fetch it again; a truncated download is the usual cause."


def read_torch_file(content: bytes, where: str) -> dict[str, np.ndarray]:
    """The tensors by name, float32 each; nothing in the file is executed, and no more memory is taken than it has.

    Args:
        content: of the file.
        where: the file's name, for errors.

    Raises:
        DataError: it is of another form (`torch.save` writes zip files today), holds more than float32 tensors, is
            truncated, or goes on after its end.
    """
    (magic, version, machine, state, names), place = read_pickles(content, where, _KINDS, 5)
    if (magic, version) != (MAGIC, VERSION):
        raise DataError(f"{where}: begins with {str(magic)[:40]!r}, expected PyTorch's form before 1.6.", _ATTEMPT)
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise DataError(f"{where}: its numbers are not little endian, expected those that are.", _ATTEMPT)
    if type(names) is not list or not all(type(name) is str for name in names):
        raise DataError(f"{where}: its blocks of numbers have no names, expected a list of them.", _ATTEMPT)
    if type(state) is not dict or not all(isinstance(tensor, StoredTensor) for tensor in state.values()):
        raise DataError(f"{where}: it holds more than tensors by name, expected a plain state dict.", _ATTEMPT)
    blocks = _blocks(content, place, names, where)
    if sum(math.prod(tensor.shape) for tensor in state.values()) * 4 > len(content):
        raise DataError(f"{where}: its tensors have more numbers than the file, expected each number once.", _ATTEMPT)
    return {str(name): _tensor(str(name), tensor, blocks, where) for name, tensor in state.items()}


def _blocks(content: bytes, place: int, names: list[str], where: str) -> dict[str, np.ndarray]:
    """The blocks of numbers by name; views of the file's bytes."""
    blocks = {}
    for name in names:
        count = int.from_bytes(content[place : place + 8], "little")
        place += 8
        if count * 4 > len(content) - place:  # so it is too where the 8 bytes are cut short
            raise DataError(f"{where}: ends within a block of numbers, at byte {len(content):,}.", _ATTEMPT)
        blocks[name] = np.frombuffer(content, "<f4", count, place)
        place += count * 4
    if place != len(content):
        raise DataError(f"{where}: has {len(content) - place:,} bytes behind its last block, expected none.", _ATTEMPT)
    return blocks


def _tensor(name: str, tensor: StoredTensor, blocks: dict[str, np.ndarray], where: str) -> np.ndarray:
    block = blocks.get(tensor.storage)
    if block is None or len(block) != tensor.count:
        raise DataError(f"{where}: '{name[:80]}' has no block of {tensor.count:,} numbers, expected one.", _ATTEMPT)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or last >= tensor.count:
        raise DataError(f"{where}: '{name[:80]}' does not lie in its block of numbers, expected it to.", _ATTEMPT)
    steps = [step * 4 for step in tensor.strides]
    numbers = np.lib.stride_tricks.as_strided(block[tensor.offset :], tensor.shape, steps, writeable=False)
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: '{name[:80]}' has numbers that are not finite, expected finite ones.", _ATTEMPT)
    return np.array(numbers, np.float32, order="C")
