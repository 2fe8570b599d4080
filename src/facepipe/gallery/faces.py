# SPDX-License-Identifier: Apache-2.0
"""Pictures to embeddings of their faces, in true batches: all faces of several pictures go through the recogniser
together, and the answer for one does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.backends.base import Backend, model_file
from facepipe.backends.by_model import engine_of
from facepipe.catalogue import embedder as embedder_spec
from facepipe.datasets.images import list_keys, read_or_reason
from facepipe.detect import Detector, DetectorSettings, open_detector
from facepipe.embed import Embedder, open_embedder
from facepipe.errors import DataError, StageError
from facepipe.faces.select import choose
from facepipe.geometry.align import align, alignment_for
from facepipe.results import Detections, Face, NoFace
from facepipe.specs import Alignment, MarginCrop
from facepipe.store.provenance import model_provenance

MAX_BATCH_PIXELS = 1 << 23
"""Pictures of one batch together, so that a folder of large ones is never held."""

MAX_PIXELS = 1 << 24
"""The largest picture that is looked at unless told otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedFace:
    """A face of a picture and its embedding, float32 [D] of length 1."""

    face: Face
    embedding: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class PictureFaces:
    """All faces of one picture, in the detector's order, and why some that were found could not be cut out."""

    faces: tuple[EmbeddedFace, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A detector, or none, and an embedder.

    Attributes:
        detector: None: every picture is one face that is cut out and aligned already.
        weights_sha256: digest of the embedder's weights; a gallery is bound to it.
        least_score: faces that the detector is less sure of are passed over.
    """

    detector: Detector | None
    embedder: Embedder
    weights_sha256: str
    least_score: float = 0.0

    @property
    def model(self) -> str:
        """The embedder's name in the catalogue."""
        return self.embedder.spec.name

    @property
    def dimension(self) -> int:
        return self.embedder.spec.outputs[0].dims[1].high

    @property
    def alignment(self) -> Alignment:
        """What is done to a face: the embedder's own, or what the detector's landmarks allow, or the whole picture."""
        wanted = self.embedder.spec.alignment
        assert wanted is not None, self.model
        if self.detector is None:
            return MarginCrop(size=wanted.size, margin=0)
        return alignment_for(wanted, self.detector.landmark_count)

    @property
    def note(self) -> str | None:
        """What a user has to know of the crops; None when they are what the embedder wants."""
        if self.detector is None or self.alignment == self.embedder.spec.alignment:
            return None
        return (
            f"{self.detector.name} gives no landmarks: {self.model}, which wants five-point alignment, gets a margin "
            "crop and is much less accurate with it"
        )

    def all_faces(self, images: Sequence[np.ndarray]) -> list[PictureFaces]:
        """Every face of each uint8 [H, W, 3] RGB picture."""
        faces = [
            [Face(box, float(score), points) for box, score, points in zip(*_arrays(found), strict=True)]
            for found in self._detections(images)
        ]
        crops, placed, reasons = self._crops(images, faces)
        rows = iter(self.embedder.embed(crops))
        return [
            PictureFaces(tuple(EmbeddedFace(face, next(rows)) for face in kept), tuple(why))
            for kept, why in zip(placed, reasons, strict=True)
        ]

    def main_faces(self, images: Sequence[np.ndarray], selection: str) -> list[EmbeddedFace | NoFace]:
        """The one face of each picture that `selection` prefers, or why there is none."""
        chosen = [
            choose(found, image.shape[0], image.shape[1], selection)
            for found, image in zip(self._detections(images), images, strict=True)
        ]
        crops, placed, reasons = self._crops(images, [[face] if isinstance(face, Face) else [] for face in chosen])
        rows = iter(self.embedder.embed(crops))
        return [
            EmbeddedFace(kept[0], next(rows)) if kept else NoFace(why[0]) if why else _none(face)
            for kept, why, face in zip(placed, reasons, chosen, strict=True)
        ]

    def _detections(self, images: Sequence[np.ndarray]) -> list[Detections]:
        if self.detector is None:
            return [_whole(image) for image in images]
        found = self.detector.detect(images)
        return [faces.take(faces.scores >= self.least_score) for faces in found]

    def _crops(
        self, images: Sequence[np.ndarray], faces: Sequence[Sequence[Face]]
    ) -> tuple[np.ndarray, list[list[Face]], list[list[str]]]:
        """All crops together uint8 [N, S, S, 3], and for each picture the faces they are of and the others' reasons."""
        alignment = self.alignment
        crops: list[np.ndarray] = []
        placed: list[list[Face]] = []
        reasons: list[list[str]] = []
        for image, members in zip(images, faces, strict=True):
            placed.append([])
            reasons.append([])
            for face in members:
                try:
                    crops.append(align(image, face, alignment))
                    placed[-1].append(face)
                except DataError as error:  # a box beside the picture: said of this face, the others go on
                    reasons[-1].append(error.what)
        size = alignment.size
        return np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8), placed, reasons


@contextmanager
def open_recogniser(
    detector: str | None,
    embedder: str,
    backend: Backend,
    weights: Path,
    batch: int,
    *,
    settings: DetectorSettings | None = None,
    least_score: float = 0.0,
) -> Iterator[Recogniser]:
    """The models loaded from `weights`, closed on every way out.

    Raises:
        DataError: there is no such model.
        BackendError: the back end is unavailable, or a model file is not there.
        StageError: nothing tells which weights the model file was made from, so no gallery could be bound to them.
    """
    spec = embedder_spec(embedder)
    with ExitStack() as stack:
        faces_to_points = stack.enter_context(open_embedder(spec, backend, weights, batch))
        path = model_file(backend, spec, weights, batch)
        digest = model_provenance(spec.name, path, engine_of(backend, spec, path)).weights_sha256
        if digest is None:
            raise StageError(
                f"{path}: nothing beside it tells which weights it was made from, expected {path.name}.json.",
                f"`facepipe onnx {spec.name}`",
            )
        found = None
        if detector is not None:
            found = stack.enter_context(open_detector(detector, backend, weights, batch, settings))
        yield Recogniser(found, faces_to_points, digest, least_score)


def photographs_of(root: Path, out: Path) -> list[str]:
    """The keys of `root`, without what lies in `out`: results of an earlier call are no photographs.

    Raises:
        DataError: there is no such folder, or no photograph in it.
    """
    keys, folder = list_keys(root), out.resolve()
    if not folder.is_relative_to(root.resolve()) or folder == root.resolve():
        return keys
    inside = folder.relative_to(root.resolve()).as_posix() + "/"
    kept = [key for key in keys if not key.startswith(inside)]
    if not kept:
        raise DataError(f"{root}: no photograph in it beside {out}, expected some.")
    return kept


def read_pictures(
    root: Path, keys: Sequence[str], batch: int, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[list[tuple[str, np.ndarray]], list[tuple[str, str]]]]:
    """The pictures of `keys` below `root` in order, `batch` at a time: those that can be read, and why others not."""
    members: list[tuple[str, np.ndarray]] = []
    unread: list[tuple[str, str]] = []
    pixels = 0
    for key in keys:
        image = read_or_reason(root, key, max_pixels)
        if isinstance(image, NoFace):
            unread.append((key, image.reason))
            continue
        size = image.shape[0] * image.shape[1]
        if members and (len(members) == batch or pixels + size > MAX_BATCH_PIXELS):
            yield members, unread
            members, unread, pixels = [], [], 0
        members.append((key, image))
        pixels += size
    if members or unread:
        yield members, unread


@dataclass(frozen=True, slots=True, eq=False)
class Enrolment:
    """The main face of each picture of a folder.

    Attributes:
        keys: pictures with a face, in the order asked for.
        embeddings: float32 [N, D].
        without: (key, reason) of the others.
    """

    keys: tuple[str, ...]
    embeddings: np.ndarray
    without: tuple[tuple[str, str], ...]


def enrol(
    root: Path,
    keys: Sequence[str],
    recogniser: Recogniser,
    *,
    batch: int,
    selection: str = "center_weighted_size",
    progress: Callable[[int], None] = lambda _: None,
) -> Enrolment:
    """One embedding for each picture that has a face; the others are listed with their reasons, none is lost."""
    found: list[str] = []
    rows: list[np.ndarray] = []
    without: list[tuple[str, str]] = []
    for members, unread in read_pictures(root, keys, batch):
        without += unread
        outcomes = recogniser.main_faces([image for _, image in members], selection) if members else []
        for (key, _), outcome in zip(members, outcomes, strict=True):
            if isinstance(outcome, NoFace):
                without.append((key, outcome.reason))
            else:
                found.append(key)
                rows.append(outcome.embedding)
        progress(len(members) + len(unread))
    embeddings = np.stack(rows) if rows else np.zeros((0, recogniser.dimension), np.float32)
    return Enrolment(tuple(found), embeddings, tuple(sorted(without)))


def _whole(image: np.ndarray) -> Detections:
    """The picture as one face."""
    height, width = image.shape[:2]
    box = np.array([[0, 0, width, height]], np.float32)
    return Detections(box, np.ones(1, np.float32), np.zeros((1, 0, 2), np.float32))


def _arrays(found: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return found.boxes, found.scores, found.landmarks


def _none(face: Face | NoFace) -> NoFace:
    assert isinstance(face, NoFace), "a face without crop and without reason"
    return face
