# SPDX-License-Identifier: Apache-2.0
"""Folders to embeddings of their faces, with models that a gallery can be bound to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.backends.base import Backend
from facepipe.detect import DetectorSettings
from facepipe.errors import StageError
from facepipe.faces.photographs import EVERYDAY, Limits, read_photographs
from facepipe.faces.pipeline import DEFAULT_SELECTION, FacePipeline, open_pipeline
from facepipe.results import EmbeddedFace, Face, Unread
from facepipe.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A pipeline with an embedder, and the digest of the embedder's weights, which a gallery is bound to."""

    pipeline: FacePipeline
    weights_sha256: str

    @property
    def model(self) -> str:
        """The embedder's name in the catalogue."""
        return self.pipeline.model

    @property
    def spec(self) -> ModelSpec:
        """The embedder's record."""
        assert self.pipeline.embedder is not None, "a recogniser embeds"
        return self.pipeline.embedder.spec

    @property
    def dimension(self) -> int:
        """D, the numbers of one embedding."""
        return self.pipeline.dimension


def recogniser_of(pipeline: FacePipeline, weights: Path) -> Recogniser:
    """A pipeline that embeds, with the digest of the weights behind it, which lie in the folder `weights`.

    Raises:
        StageError: nothing tells which weights the model file was made from, so no gallery could be bound to them.
    """
    loaded = None if pipeline.embedder is None else pipeline.embedder.file
    assert loaded is not None, "open_pipeline loads the embedder's file"
    if loaded.weights_sha256 is None:
        raise StageError(
            f"{weights / loaded.file}: nothing beside it tells which weights it was made from, expected "
            f"{loaded.file}.json.",
            f"`facepipe onnx {pipeline.model}`",
        )
    return Recogniser(pipeline, loaded.weights_sha256)


@contextmanager
def open_recogniser(
    detector: str | None,
    embedder: str,
    backend: Backend,
    weights: Path,
    batch: int,
    *,
    settings: DetectorSettings | None = None,
    selection: str = DEFAULT_SELECTION,
) -> Iterator[Recogniser]:
    """The models loaded from `weights`, closed on every way out; arguments as `open_pipeline`'s.

    Raises:
        DataError: there is no such model.
        BackendError: the back end is unavailable, or a model file is not there.
        StageError: as `recogniser_of`.
    """
    with open_pipeline(
        detector,
        embedder,
        backend,
        weights,
        batch,
        settings=settings,
        selection=selection,
    ) as pipeline:
        yield recogniser_of(pipeline, weights)


@dataclass(frozen=True, slots=True, eq=False)
class FolderFaces:
    """Faces of a folder.

    Attributes:
        faces: (key of the photograph, face), N of them.
        embeddings: float32 [N, D], of length 1.
        left_out: (key, reason) of what could not be read, has no face, or could not be cut out.
    """

    faces: tuple[tuple[str, Face], ...]
    embeddings: np.ndarray
    left_out: tuple[tuple[str, str], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The photograph of each face."""
        return tuple(key for key, _ in self.faces)


def folder_faces(
    root: Path,
    keys: Sequence[str],
    pipeline: FacePipeline,
    *,
    batch: int,
    main: bool = False,
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> FolderFaces:
    """The faces of photographs, which are held `batch` at a time; what has none is listed with its reason.

    Args:
        main: of each photograph its main face alone; else all of them, and one without any is not listed.
    """
    faces: list[tuple[str, Face]] = []
    rows: list[np.ndarray] = []
    left_out: list[tuple[str, str]] = []
    for members in read_photographs(root, keys, batch, limits):
        read = [(member.key, member.decoded) for member in members if not isinstance(member.decoded, Unread)]
        left_out += [(member.key, member.decoded.reason) for member in members if isinstance(member.decoded, Unread)]
        images = [decoded for _, decoded in read]
        found: list[tuple[str, EmbeddedFace]] = []
        if main:
            for (key, _), outcome in zip(read, pipeline.main_faces(images), strict=True):
                if isinstance(outcome, EmbeddedFace):
                    found.append((key, outcome))
                else:
                    left_out.append((key, outcome.reason))
        else:
            for (key, _), picture in zip(read, pipeline.all_faces(images), strict=True):
                found += [(key, face) for face in picture.faces]
                left_out += [(key, reason) for reason in picture.left_out]
        faces += [(key, one.face) for key, one in found]
        rows += [one.embedding for _, one in found]
        progress(len(members))
        del members, read, images
    embeddings = np.stack(rows) if rows else np.zeros((0, pipeline.dimension), np.float32)
    return FolderFaces(tuple(faces), embeddings, tuple(sorted(left_out)) if main else tuple(left_out))
