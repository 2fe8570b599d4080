# SPDX-License-Identifier: Apache-2.0
"""Every face of a photograph with what it is called: the one function behind photographs, folders and films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.faces.pipeline import FacePipeline, Image, each_face
from facepipe.gallery.file import Gallery, Threshold
from facepipe.gallery.search import Answer, Index, Rule, identify
from facepipe.results import Face


@dataclass(frozen=True, slots=True, eq=False)
class NamedFace:
    """A face, a gallery's answer and the embedding float32 [D] that it was asked with; None where none was asked."""

    face: Face
    answer: Answer | None
    embedding: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class NamedPhotograph:
    """The faces of one photograph, and why some that were found could not be cut out."""

    faces: tuple[NamedFace, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Namer:
    """A pipeline with a gallery that is ready to be searched."""

    pipeline: FacePipeline
    gallery: Gallery
    index: Index
    threshold: Threshold
    candidates: int = 5
    rule: Rule = "best"

    def __call__(self, images: Sequence[Image]) -> list[NamedPhotograph]:
        """All faces of uint8 [H, W, 3] RGB photographs, embedded together and looked up together."""
        photographs = self.pipeline.all_faces(images)
        rows = [face.embedding for photograph in photographs for face in photograph.faces]
        probes = np.stack(rows) if rows else np.zeros((0, self.pipeline.dimension), np.float32)
        found = identify(self.gallery, self.index, probes, self.threshold, candidates=self.candidates, rule=self.rule)
        answers = iter(found)
        return [
            NamedPhotograph(
                tuple(NamedFace(face.face, next(answers), face.embedding) for face in one.faces), one.left_out
            )
            for one in photographs
        ]


def nameless(pipeline: FacePipeline, images: Sequence[Image]) -> list[NamedPhotograph]:
    """All faces of uint8 [H, W, 3] RGB photographs, without names."""
    return [
        NamedPhotograph(tuple(NamedFace(face, None) for face in each_face(found)), ())
        for found in pipeline.detect(images)
    ]
