# SPDX-License-Identifier: Apache-2.0
"""The threshold of a gallery from a false-accept rate: on aligned faces with pairs, or on a run that embedded them.

The rate is that of one comparison. A probe is compared with every person, so in a gallery of many a stranger is called
by a name more often than this: about N times as often with N pictures, while that is small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from facepipe.datasets.face_sets import FaceSet
from facepipe.datasets.lfw import VerificationSet
from facepipe.embed.embedder import Embedder
from facepipe.errors import DataError
from facepipe.gallery.file import Threshold
from facepipe.metrics.identification import threshold_at


def embed_set(
    faces: FaceSet, embedder: Embedder, progress: Callable[[int], None] = lambda _: None
) -> dict[str, np.ndarray]:
    """The unit embedding of every face that the pairs name, by key; one batch of pictures is held at a time."""
    keys, size = faces.pairs.keys(), embedder.spec.input.dims[2].high
    rows: dict[str, np.ndarray] = {}
    for start in range(0, len(keys), embedder.batch):
        part: Sequence[str] = keys[start : start + embedder.batch]
        embeddings = embedder.embed(np.stack([faces.load(key, size) for key in part]))
        rows.update(zip(part, embeddings, strict=True))
        progress(len(part))
    return rows


def calibrate(pairs: VerificationSet, rows: Mapping[str, np.ndarray], far: float, where: str) -> Threshold:
    """The lowest similarity that at most the share `far` of the different pairs is above.

    Args:
        rows: unit embeddings by key; pairs of which one lacks are left out (a run may have found no face).
        far: in (0, 1), no finer than the set can show.
        where: what the set is called in the gallery.

    Raises:
        DataError: the set has too few different pairs for the rate.
    """
    different = [pair for pair in pairs.pairs if not pair.same and pair.first in rows and pair.second in rows]
    if not different:
        raise DataError(f"{where}: no pair of different people has two embeddings, expected some.")
    first = np.stack([rows[pair.first] for pair in different]).astype(np.float64)
    second = np.stack([rows[pair.second] for pair in different]).astype(np.float64)
    threshold = threshold_at(np.einsum("pd,pd->p", first, second), far)
    return Threshold(
        similarity=float(np.clip(threshold, -1, 1)),
        far=far,
        source=f"{where}: {len(different):,} pairs of different people",
    )
