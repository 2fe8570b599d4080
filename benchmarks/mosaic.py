# SPDX-License-Identifier: Apache-2.0
"""Large photographs with a known number of people in them: small ones side by side, as one JPEG."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from facepipe.datasets.images import read
from facepipe.store.files import write_bytes


def write_mosaic(photographs: Sequence[Path], target: Path, height: int, width: int) -> int:
    """Write a JPEG of height x width pixels, filled with the photographs in turn, each in its own size; what does not
    fit is cut at the right and lower edge.

    Returns:
        How many tiles it holds whole.

    Raises:
        DataError: one of the photographs cannot be read.
    """
    canvas = np.zeros((height, width, 3), np.uint8)
    rest = itertools.cycle(photographs)
    top = whole = 0
    while top < height:
        left, lowest = 0, height
        while left < width:
            tile = read(next(rest))[: height - top, : width - left]
            canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left, lowest = left + tile.shape[1], min(lowest, top + tile.shape[0])
            whole += left < width and lowest < height
        top = lowest
    content = io.BytesIO()
    Image.fromarray(canvas).save(content, "JPEG", quality=92)
    write_bytes(target, content.getvalue())
    return whole
