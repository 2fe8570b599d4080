# SPDX-License-Identifier: Apache-2.0
"""The threshold of a gallery from a false-accept rate: on aligned faces with pairs, or on a run that embedded them.

The rate is that of one comparison. A probe is compared with every person, so in a gallery of many a stranger is called
by a name more often than this: about N times as often with N photographs, while that is small.

The similarities are the search's own (`metrics.identification.cosines`), and a face has a name only above the
threshold, not at it: the pairs that were allowed are those that get through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from facepipe.datasets.face_sets import FaceSet
from facepipe.datasets.lfw import VerificationSet
from facepipe.embed.embedder import Embedder
from facepipe.errors import DataError
from facepipe.gallery.file import Threshold
from facepipe.metrics.identification import cosines, threshold_at

HIGH_FAR = 1e-2
"""Above this rate of one comparison even a small gallery names many strangers."""
_PAIRS_AT_ONCE = 8192  # bounds memory: two float64 [8192, 512] are 67 MB


def embed_set(
    faces: FaceSet, embedder: Embedder, progress: Callable[[int], None] = lambda _: None
) -> dict[str, np.ndarray]:
    """The unit embedding of every face that the pairs name, by key; one batch of photographs is held at a time."""
    keys, size = faces.pairs.keys(), embedder.spec.input.dims[2].high
    rows: dict[str, np.ndarray] = {}
    for start in range(0, len(keys), embedder.batch):
        part: Sequence[str] = keys[start : start + embedder.batch]
        embeddings = embedder.embed(np.stack([faces.load(key, size) for key in part]))
        rows.update(zip(part, embeddings, strict=True))
        progress(len(part))
    return rows


def calibrate(pairs: VerificationSet, rows: Mapping[str, np.ndarray], far: float, where: str) -> Threshold:
    """The lowest similarity that at most the share `far` of the different pairs is above; a float32.

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
    parts = [different[start : start + _PAIRS_AT_ONCE] for start in range(0, len(different), _PAIRS_AT_ONCE)]
    similarities = np.concatenate(
        [
            cosines(np.stack([rows[pair.first] for pair in part]), np.stack([rows[pair.second] for pair in part]))
            for part in parts
        ]
    )
    return Threshold(
        similarity=max(-1.0, threshold_at(similarities, far)),
        far=far,
        source=f"{where}: {len(different):,} pairs of different people",
    )


def strangers_named(far: float, people: int) -> str:
    """What a rate of one comparison means among so many people, in words: 1 - (1 - far)^people of the strangers.

    As if comparisons were independent and everybody were there once; more photographs of each make it higher.
    """
    share = 1 - (1 - far) ** people
    return f"among {people:,} people about {100 * share:.2g} of 100 strangers get a wrong name"
