# SPDX-License-Identifier: Apache-2.0
"""Crops to `.bin` batches: what a recogniser's runner is given.

Two forms of one crop: float32 NCHW, normalised here; or uint8 NHWC for a compiled model that normalises on the device
(Ascend's AIPP), a quarter of the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.errors import TensorError
from facepipe.geometry.normalise import normalise
from facepipe.specs import ModelSpec
from facepipe.store.bins import BinIndex, BinTensor, batches_of, write_bins


def bin_tensor(spec: ModelSpec, batch: int, raw_bytes: bool = False) -> BinTensor:
    """What each file for this recogniser holds; `raw_bytes` where the device normalises."""
    _, channels, height, width = (dim.high for dim in spec.input.dims)
    if raw_bytes:
        return BinTensor(spec.input.name, "uint8", "NHWC", (batch, height, width, channels))
    return BinTensor(spec.input.name, spec.input.dtype, "NCHW", (batch, channels, height, width))


def pack_crops(
    folder: Path,
    shards: Sequence[Sequence[str]],
    crop_of: Callable[[str], np.ndarray],
    spec: ModelSpec,
    batch: int,
    made_from: Mapping[str, Any],
    *,
    raw_bytes: bool = False,
    bins: str = "bins",
    digits: int = 6,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BinIndex:
    """Write the crops of `shards` as bins; no batch spans two shards.

    Args:
        folder: gets `index.json` and the folder `bins`.
        shards: keys of images that have a face, in order.
        crop_of: key to uint8 [S, S, 3] RGB; called only for batches that are not there yet.
        spec: the recogniser; S is its input's size.
        batch: rows of each file; the last of a shard is filled up with zeros.
        made_from: what the crops depend on, as JSON values; the recogniser and the form are added here.
        raw_bytes: uint8 NHWC instead of normalised float32 NCHW.
        bins, digits, force, progress: as `store.bins.write_bins`.

    Raises:
        TensorError: a crop has another size, or a key occurs twice.
        StageError: the folder was begun otherwise.
    """
    tensor = bin_tensor(spec, batch, raw_bytes)
    size = spec.input.dims[2].high

    def load(keys: Sequence[str]) -> np.ndarray:
        crops = np.stack([_checked(key, crop_of(key), size) for key in keys])  # (n, S, S, 3)
        return crops if raw_bytes else normalise(crops, spec.pixels)

    batches = [keys for shard in shards for keys in batches_of(shard, batch)]
    return write_bins(
        folder,
        batches,
        load,
        tensor,
        {**made_from, "embedder": spec.name},
        bins=bins,
        digits=digits,
        force=force,
        progress=progress,
    )


def _checked(key: str, crop: np.ndarray, size: int) -> np.ndarray:
    if crop.shape != (size, size, 3) or crop.dtype != np.uint8:
        raise TensorError(
            f"crop of '{key}': is {crop.dtype} {list(crop.shape)}, expected uint8 [{size}, {size}, 3].",
            "crop again for this embedder.",
        )
    return crop
