# SPDX-License-Identifier: Apache-2.0
"""The steps that every driver shares: photographs of a folder in bounded batches, and the crop of one face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from facepipe.datasets.images import digest, read_or_reason, read_size
from facepipe.errors import DataError
from facepipe.geometry.align import align
from facepipe.results import Face, NoFace
from facepipe.specs import Alignment, FivePoint

MAX_BATCH_PIXELS = 1 << 23
"""Photographs of one batch together: 8.4 million pixels, one 4K scene or 134 of LFW's."""

PEEK_PIXELS = MAX_BATCH_PIXELS // 4
"""From here on the size of the next photograph is read from its header first; 34 of LFW's are fewer."""

MAX_PIXELS = 12_500_000
"""The largest photograph that a run looks at unless told otherwise, a telephone's 4032 x 3024: the cascade takes some
25 bytes for each pixel, so that a process stays below 1 GB whatever lies in an unknown folder."""

MAX_SIDE = 65_535
"""The longest side that is looked at: JPEG's own limit, and what the first network is declared for."""

Batch = list[tuple[str, np.ndarray | NoFace]]


def read_batches(root: Path, keys: Sequence[str], batch: int, max_pixels: int = MAX_PIXELS) -> Iterator[Batch]:
    """The photographs in order, at most `batch` and MAX_BATCH_PIXELS at a time (one that is larger comes alone).

    One of more than `max_pixels` pixels is not decoded.

    What cannot be read comes as NoFace with the reason, in its place. Nothing of one batch is kept while the caller
    has the next, and while the batch is large its successor is not decoded yet.
    """
    members: Batch = []
    pixels = 0
    for key in keys:
        is_full = len(members) == batch
        if is_full or (pixels > PEEK_PIXELS and pixels + _declared(root / key, max_pixels) > MAX_BATCH_PIXELS):
            yield members
            members, pixels = [], 0
        image = _bounded(read_or_reason(root, key, max_pixels))
        size = 0 if isinstance(image, NoFace) else image.shape[0] * image.shape[1]
        if members and pixels + size > MAX_BATCH_PIXELS:
            yield members
            members, pixels = [], 0
        members.append((key, image))
        del image
        pixels += size
    if members:
        yield members


def digests(root: Path, keys: Sequence[str]) -> np.ndarray:
    """sha256 of the files of `keys`, in hex: text [n], "" where there is none to read."""
    return np.array([digest(root, key) for key in keys], np.str_)


def _declared(path: Path, max_pixels: int) -> int:
    """The pixels that a photograph says it has; 0 when it will not be decoded."""
    try:
        height, width = read_size(path)
    except DataError:
        return 0
    return height * width if height * width <= max_pixels else 0


def _bounded(image: np.ndarray | NoFace) -> np.ndarray | NoFace:
    if isinstance(image, NoFace) or max(image.shape[:2]) <= MAX_SIDE:
        return image
    return NoFace(f"a side of {max(image.shape[:2])} pixels, expected at most {MAX_SIDE}")


def crop_or_reason(image: np.ndarray, face: Face, alignment: Alignment) -> np.ndarray | NoFace:
    """The crop uint8 [S, S, 3] for the recogniser, or why the face gives none (it covers no pixel, say)."""
    if isinstance(alignment, FivePoint) and len(face.landmarks) == 0:
        # A wrong pairing of models, not a property of this face: it ends the run instead of emptying it.
        raise DataError(
            "alignment: this detector gives no landmarks, and the embedder wants a five-point alignment.",
            "a detector with landmarks (mtcnn), or an embedder that takes a margin crop (facenet.*).",
        )
    try:
        return align(image, face, alignment)
    except DataError as error:
        return NoFace(error.what)
