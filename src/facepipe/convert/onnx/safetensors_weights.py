# SPDX-License-Identifier: Apache-2.0
"""A `.safetensors` file: a header of JSON, then the numbers; there is nothing in it to execute.

    uint64   bytes of the header, little-endian
    bytes    {"name": {"dtype": "F32", "shape": [64, 3], "data_offsets": [0, 768]}, ..., "__metadata__": {...}}
    bytes    the numbers, in C order and little-endian; offsets count from here

Source: the format's own description, huggingface/safetensors `README.md`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from facepipe.errors import WeightsError

SUFFIX = ".safetensors"
_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    "BOOL": torch.bool,
}
_MOST_HEADER = 100_000_000  # bytes, the format's own bound


def read_safetensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a file by name.

    Raises:
        WeightsError: it is cut short, or its header does not describe what follows.
    """
    try:
        size = int.from_bytes(content[:8], "little")
        if len(content) < 8 or size > min(_MOST_HEADER, len(content) - 8):
            raise ValueError(f"a header of {size:,} bytes in a file of {len(content):,}")
        header = json.loads(content[8 : 8 + size])
        body = memoryview(content)[8 + size :]
        header.pop("__metadata__", None)
        return {name: _tensor(name, entry, body) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path}: it is no whole .safetensors file ({error}).",
            "fetch it again; a truncated download is the usual cause.",
        ) from error


def _tensor(name: str, entry: dict[str, object], body: memoryview) -> torch.Tensor:
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _DTYPES:
        raise ValueError(f"'{name}' is {kind}")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"'{name}' has shape {shape}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
        raise ValueError(f"'{name}' lies at {offsets}")
    dtype, (first, last) = _DTYPES[kind], offsets
    if not 0 <= first <= last <= len(body) or last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"'{name}', {kind} {shape}, lies at {first} to {last} of {len(body):,} bytes")
    if first == last:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(body[first:last]), dtype=dtype).reshape(shape)
