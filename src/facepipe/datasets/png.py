# SPDX-License-Identifier: Apache-2.0
"""Pictures written as PNG: what the staged run leaves for the eye, without loss."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from facepipe.store.files import write_bytes


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 [H, W, 3] RGB as PNG, whole."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)  # speed: the files are read once and thrown away
    write_bytes(path, content.getvalue())
