# SPDX-License-Identifier: Apache-2.0
"""Every photograph of some people with every other: how far apart, and whether the threshold tells it right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from facepipe.datasets.images import list_keys
from facepipe.errors import DataError
from facepipe.faces.photographs import decoded_or_error
from facepipe.faces.pipeline import FacePipeline
from facepipe.metrics.identification import cosines
from facepipe.metrics.verification import squared_distances
from facepipe.results import EmbeddedFace, NoFace


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """Two photographs by their place in `Comparison.keys`, and the squared distance of their faces.

    Attributes:
        same: whether they are in one person's folder.
        judged: whether the threshold calls them one person; None where there is none.
    """

    first: int
    second: int
    distance: float
    same: bool
    judged: bool | None

    @property
    def is_right(self) -> bool:
        """Whether the threshold tells what the folders tell; without a threshold nothing is wrong."""
        return self.judged in (None, self.same)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Photographs <person>/<photograph> below one folder, the main face of each, and all pairs of them."""

    keys: tuple[str, ...]
    photographs: tuple[np.ndarray, ...]  # uint8 [H, W, 3] RGB
    faces: tuple[EmbeddedFace, ...]
    pairs: tuple[ComparedPair, ...]
    threshold: float | None  # a cosine

    def lines(self) -> Iterator[str]:
        """A line for each pair, the closest first."""
        width = max(map(len, self.keys))
        for pair in sorted(self.pairs, key=lambda pair: pair.distance):
            verdict = {None: "", True: "  the same person", False: "  different people"}[pair.judged]
            first, second = self.keys[pair.first], self.keys[pair.second]
            wrong = "" if pair.is_right else "  WRONG"
            yield f"{pair.distance:.3f}  {first:<{width}}  {second:<{width}}{verdict}{wrong}"

    def summary(self) -> str:
        """How many pairs were told right, and how far the two kinds are apart."""
        alike = [pair.distance for pair in self.pairs if pair.same]
        others = [pair.distance for pair in self.pairs if not pair.same]
        right = sum(pair.is_right for pair in self.pairs)
        told = "" if self.threshold is None else f"{right} of {len(self.pairs)} pairs told right; "
        return (
            f"{told}one person's pairs are at most {max(alike, default=0):.3f} apart, two people's at least "
            f"{min(others, default=4):.3f}; {self.rule()}"
        )

    def rule(self) -> str:
        """Which pairs are called one person: the cosine that judges, and the squared distance that it is."""
        if self.threshold is None:
            return "without a threshold nothing is judged"
        return f"the same person below {2 - 2 * self.threshold:.3f} (cosine above {self.threshold:.4f})"


def compare(root: Path, pipeline: FacePipeline, threshold: float | None) -> Comparison:
    """Compare the photographs below `root`, a folder for each person.

    Args:
        threshold: the cosine that two faces have to be above to be called one person, as for `faces.verdict`.

    Raises:
        DataError: there are fewer than two photographs, or one cannot be read or shows no face.
    """
    keys = tuple(list_keys(root))
    if len(keys) < 2:
        raise DataError(f"{root}: has {len(keys)} photographs, expected two or more in folders of people.")
    photographs = tuple(decoded_or_error(root / key).pixels for key in keys)
    faces: list[EmbeddedFace] = []
    for key, pixels in zip(keys, photographs, strict=True):
        (face,) = pipeline.main_faces([pixels])
        if isinstance(face, NoFace):
            raise DataError(f"{root / key}: {face.reason}, expected a face.")
        faces.append(face)
    pairs = tuple(_pair(first, second, keys, faces, threshold) for first, second in combinations(range(len(keys)), 2))
    return Comparison(keys, photographs, tuple(faces), pairs, threshold)


def _pair(
    first: int, second: int, keys: tuple[str, ...], faces: list[EmbeddedFace], threshold: float | None
) -> ComparedPair:
    rows = (faces[first].embedding[None], faces[second].embedding[None])
    distance = float(squared_distances(*rows)[0])
    same = Path(keys[first]).parent == Path(keys[second]).parent
    judged = None if threshold is None else float(cosines(*rows)[0]) > threshold
    return ComparedPair(first, second, distance, same, judged)
