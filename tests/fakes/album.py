# SPDX-License-Identifier: Apache-2.0
"""Photographs of people that a recogniser of seeded weights tells apart: the made sample's, each several times over.

Such a recogniser knows photographs, not people. So a person here is one photograph of the sample, and the person's
pictures are that one again, each with another comment in its file, so that no two files are the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from facepipe.datasets.images import read

PEOPLE = tuple(f"Person_{number:02d}" for number in range(1, 12))
THRESHOLD = 0.97
"""Cosine: MobileFaceNet of seeded weights gives pictures of one person more, of two people less."""


def make_album(sample: Path, folder: Path) -> Path:
    """Write `people/<Name>/<Name>_0001.jpg` to `_0004.jpg`, `aligned/` alike (112 x 112, cut from the middle),
    `group.jpg` (the first three people and the last three) and `stranger.jpg` (none of them); return `folder`."""
    faces = {name: read(sample / "images" / name / f"{name}_0001.jpg") for name in (*PEOPLE, "Person_12")}
    for name in PEOPLE:
        for number in range(1, 5):
            _write(faces[name], folder / "people" / name / f"{name}_{number:04d}.jpg", number)
            _write(faces[name][70:182, 70:182], folder / "aligned" / name / f"{name}_{number:04d}.jpg", number)
    rows = (PEOPLE[:3], PEOPLE[-3:])
    _write(np.vstack([np.hstack([faces[name] for name in row]) for row in rows]), folder / "group.jpg")
    _write(faces["Person_12"], folder / "stranger.jpg")
    return folder


def album_pairs(folds: int, per_kind: int) -> str:
    """LFW's pairs file over the album: in each fold so many pairs of one person, then so many of two."""
    lines = [f"{folds}\t{per_kind}"]
    count = len(PEOPLE)
    same = [f"{PEOPLE[i % count]}\t{1 + i // count % 3}\t4" for i in range(folds * per_kind)]
    other = [
        f"{PEOPLE[i % count]}\t{1 + i // count % 4}\t{PEOPLE[(i + 1 + i // count) % count]}\t1"
        for i in range(folds * per_kind)
    ]
    for first in range(0, folds * per_kind, per_kind):
        lines += same[first : first + per_kind] + other[first : first + per_kind]
    return "\n".join(lines) + "\n"


def _write(image: np.ndarray, path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=100, subsampling=0, comment=f"picture {number}")
