# SPDX-License-Identifier: Apache-2.0
"""Detect, choose, align, embed: the one place that composes them, for the API, every run and every command.

`main_faces` and `all_faces` go the whole way. What writes shards goes in two steps, so that the crops of many batches
are embedded together and the bytes of a shard do not depend on how photographs were batched: `detect` and `cut` (or
`cut_each`) for each batch, then `embed` for all of its crops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from facepipe.backends.base import Backend, Stated
from facepipe.catalogue import DETECTORS, landmark_count
from facepipe.catalogue import embedder as embedder_spec
from facepipe.datasets.images import Decoded
from facepipe.detect import Detector, DetectorSettings, open_detector
from facepipe.embed import Embedder, open_embedder
from facepipe.errors import DataError
from facepipe.faces.select import NO_FACE, SELECTIONS, choose
from facepipe.geometry.align import align, alignment_for, crop_scale, sharpness, surroundings
from facepipe.results import Detections, EmbeddedFace, Face, NoFace, PictureFaces, UncutFace
from facepipe.specs import Alignment, MarginCrop, ModelSpec

SELECTION_NAMES = tuple(SELECTIONS)
DEFAULT_SELECTION = "center_weighted_size"

ARITHMETIC = 2
"""Of this code: raised by every change that moves a box or an embedding by a bit, so that no run mixes two of them."""


ENOUGH = 2 / 3
"""Pixels that a face is cut out of, for each of its crop's, along a side: with fewer the file is decoded again. A crop
of all pixels skips most of them (docs/decisions/0020)."""

Image = np.ndarray | Decoded
"""A picture: uint8 [H, W, 3] RGB, or what was decoded of a photograph."""


@dataclass(frozen=True, slots=True, eq=False)
class CutFace:
    """A face and its crop, uint8 [S, S, 3]."""

    face: Face
    crop: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class PictureCrops:
    """All faces of one picture with their crops, in the detector's order, and why some could not be cut out."""

    faces: tuple[CutFace, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FacePipeline:
    """From pictures to faces, crops and embeddings. `open_pipeline` makes one.

    A picture is uint8 [H, W, 3] RGB, or what was decoded of a photograph at a reduced scale: faces are in pixels of the
    photograph, and a face is cut out of as many pixels as its crop needs.

    Attributes:
        detector: None: every picture is one face that is cut out and aligned already.
        embedder: None: nothing is embedded.
        alignment: how a face is cut, decided once for this pair; None where nothing is cut.
        selection: which face of a picture is its main one; a name of `SELECTION_NAMES`.
        note: what a user has to know of the crops; None when they are what the embedder wants.
    """

    detector: Detector | None
    embedder: Embedder | None
    alignment: Alignment | None
    selection: str = DEFAULT_SELECTION
    note: str | None = None

    @property
    def model(self) -> str:
        """The embedder's name in the catalogue."""
        return self._embedder().spec.name

    @property
    def dimension(self) -> int:
        """D, the numbers of one embedding."""
        return self._embedder().spec.outputs[0].dims[1].high

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """The faces of each picture, in the detector's order; without a detector the whole picture."""
        if self.detector is None:
            return [_whole(*_size(image)) for image in images]
        pixels = [image.pixels if isinstance(image, Decoded) else image for image in images]
        return self.detector.detect_scaled(pixels, [_size(image) for image in images])

    def choose(self, image: Image, found: Detections) -> Face | NoFace:
        """The main face among those found in a picture, or why there is none.

        Raises:
            DataError: the selection is not known.
        """
        return choose(found, *_size(image), self.selection)

    def crop(self, image: Image, face: Face) -> np.ndarray | NoFace:
        """The crop uint8 [S, S, 3] for the recogniser, or why the face gives none (it covers no pixel, say)."""
        assert self.alignment is not None, "a pipeline without an embedder cuts nothing"
        return next(_crops(image, [face], self.alignment))

    def cut(self, image: Image, found: Detections) -> CutFace | NoFace:
        """The main face of a picture with its crop, or why there is none: `choose`, then `crop`."""
        face = self.choose(image, found)
        if isinstance(face, NoFace):
            return face
        crop = self.crop(image, face)
        return crop if isinstance(crop, NoFace) else _measured(face, crop)

    def cut_each(self, image: Image, found: Detections) -> Iterator[CutFace | UncutFace | NoFace]:
        """Every face of a picture with its crop, in the detector's order, each cut when it is asked for; or that there
        is none."""
        assert self.alignment is not None, "a pipeline without an embedder cuts nothing"
        if not len(found):
            yield NO_FACE
        faces = each_face(found)
        for face, crop in zip(faces, _crops(image, faces, self.alignment), strict=True):
            yield UncutFace(face, crop.reason) if isinstance(crop, NoFace) else _measured(face, crop)

    def embed(self, crops: Iterable[np.ndarray]) -> np.ndarray:
        """Crops uint8 [S, S, 3] to float32 [N, D], rows of length 1; N may be 0.

        They are taken as the network's calls need them: no more than those of one call are held.

        Raises:
            TensorError: the network returned something with no direction.
        """
        embedder, waiting = self._embedder(), iter(crops)
        rows = [np.zeros((0, self.dimension), np.float32)]
        while call := list(islice(waiting, embedder.rows_per_call)):
            rows.append(embedder.embed(np.stack(call)))
        return np.concatenate(rows)

    def main_faces(self, images: Sequence[Image]) -> list[EmbeddedFace | NoFace]:
        """The main face of each picture, embedded, or why there is none; an answer does not depend on the others."""
        cut = [self.cut(image, found) for image, found in zip(images, self.detect(images), strict=True)]
        rows = iter(self.embed([one.crop for one in cut if isinstance(one, CutFace)]))
        return [EmbeddedFace(one.face, next(rows)) if isinstance(one, CutFace) else one for one in cut]

    def all_faces(self, images: Sequence[Image]) -> list[PictureFaces]:
        """Every face of each picture, embedded together, and why some could not be cut out."""
        kept: list[list[Face]] = []
        left_out: list[list[str]] = []

        def crops() -> Iterator[np.ndarray]:
            for image, found in zip(images, self.detect(images), strict=True):
                kept.append([])
                left_out.append([])
                for one in self.cut_each(image, found):
                    if isinstance(one, CutFace):
                        kept[-1].append(one.face)
                        yield one.crop
                    elif isinstance(one, UncutFace):
                        left_out[-1].append(one.reason)

        rows = iter(self.embed(crops()))
        return [
            PictureFaces(tuple(EmbeddedFace(face, next(rows)) for face in faces), tuple(reasons))
            for faces, reasons in zip(kept, left_out, strict=True)
        ]

    def all_crops(self, images: Sequence[Image]) -> list[PictureCrops]:
        """Every face of each picture with its crop, and why some could not be cut out."""
        pictures = []
        for image, found in zip(images, self.detect(images), strict=True):
            cut = list(self.cut_each(image, found))
            faces = tuple(one for one in cut if isinstance(one, CutFace))
            pictures.append(PictureCrops(faces, tuple(one.reason for one in cut if isinstance(one, UncutFace))))
        return pictures

    def _embedder(self) -> Embedder:
        assert self.embedder is not None, "a pipeline without an embedder embeds nothing"
        return self.embedder


@contextmanager
def open_pipeline(
    detector: str | None,
    embedder: str | None,
    backend: Backend,
    weights: Path,
    batch: int,
    *,
    settings: DetectorSettings | None = None,
    selection: str = DEFAULT_SELECTION,
    stated: Stated | None = None,
) -> Iterator[FacePipeline]:
    """The models loaded from `weights`, closed on every way out.

    Args:
        detector, embedder: names of the catalogue or of `weights`, or None.
        batch: pictures through the first network, and crops through the recogniser, in one call.
        settings: of the detector, of its kind; None: its everyday ones.
        selection: see `FacePipeline`.
        stated: sha256 of each model file; see `backends.base.open_session`.

    Raises:
        DataError: there is no such model or selection.
        BackendError: the back end is unavailable, or a model file is not there.
        StageError: a model file is another than was stated, or than the record beside it says.
    """
    if selection not in SELECTIONS:
        raise DataError(f"selection '{selection}' is not known, expected one of {', '.join(SELECTIONS)}.")
    with ExitStack() as stack:
        finds, embeds, alignment, note = None, None, None, None
        if embedder is not None:
            alignment, note = alignment_of(detector, embedder, weights), alignment_note(detector, embedder, weights)
        if detector is not None:
            finds = stack.enter_context(open_detector(detector, backend, weights, batch, settings, stated=stated))
        if embedder is not None:
            spec = embedder_spec(embedder, weights)
            embeds = stack.enter_context(open_embedder(spec, backend, weights, batch, stated=stated))
        yield FacePipeline(finds, embeds, alignment, selection, note)


def alignment_of(detector: str | None, embedder: str, weights: Path | None = None) -> Alignment:
    """How a face is cut for this pair: as the embedder wants, or by a margin where the detector gives no landmarks.

    Without a detector the picture is the face, and is brought to the embedder's size.

    Args:
        weights: the folder of models, for one's own.

    Raises:
        DataError: there is no such model.
    """
    wanted = _wanted(embedder_spec(embedder, weights))
    if detector is None:
        return MarginCrop(size=wanted.size, margin=0)
    return alignment_for(wanted, landmark_count(detector, weights))


def alignment_note(detector: str | None, embedder: str, weights: Path | None = None) -> str | None:
    """What a user has to know of this pair's crops; None when they are what the embedder wants."""
    used = alignment_of(detector, embedder, weights)
    if detector is None or used == embedder_spec(embedder, weights).alignment:
        return None
    assert isinstance(used, MarginCrop)
    return (
        f"{detector} gives no landmarks: {embedder}, which wants five-point alignment, gets the margin crop "
        f"({used.size} pixels, {used.margin} of them margin) and is much less accurate with it"
    )


def require_alignment(
    detector: str | None, embedder: str, allowed: bool, option: str, weights: Path | None = None
) -> None:
    """Refuse a pair whose crops are not what the embedder wants, unless the user said so.

    Args:
        option: by which it is said.
        weights: the folder of models, for one's own.

    Raises:
        DataError: so it is.
    """
    if not allowed and alignment_note(detector, embedder, weights) is not None:
        marked = [f"detector {detector}+onet, or "] if f"{detector}+onet" in DETECTORS else []
        raise DataError(
            f"{detector}: it gives no landmarks, and {embedder} wants five; with a margin crop in their place it is "
            "much less accurate.",
            f"{''.join(marked)}{option}.",
        )


def crop_of(image: Image, face: Face, recogniser: ModelSpec) -> np.ndarray | NoFace:
    """The crop that a recogniser was given of a face that a run recorded; the face's own landmarks tell how."""
    return next(_crops(image, [face], alignment_for(_wanted(recogniser), len(face.landmarks))))


def each_face(found: Detections) -> list[Face]:
    """Detections one by one."""
    rows = zip(found.boxes, found.scores, found.landmarks, strict=True)
    return [Face(box, float(score), points, number) for number, (box, score, points) in enumerate(rows)]


def _measured(face: Face, crop: np.ndarray) -> CutFace:
    return CutFace(replace(face, sharpness=sharpness(crop)), crop)


def _crops(image: Image, faces: Iterable[Face], alignment: Alignment) -> Iterator[np.ndarray | NoFace]:
    """Each face's crop, or why it gives none, in their order, when it is asked for.

    Each is cut out of the least scale that fills it, so that it does not depend on the others; a photograph is decoded
    at most once at each scale.
    """
    if isinstance(image, np.ndarray):
        yield from (_aligned(image, face, alignment) for face in faces)
        return
    decoded = {image.by: image}
    for face in faces:
        by = image.enough(ENOUGH * crop_scale(face, alignment))
        if by not in decoded:
            decoded[by] = image.at(by)
        one = decoded[by]
        face = face if one.by == 1 else face.scaled(*one.scale)
        yield _aligned(one.pixels, face, alignment, apart=image.by > 1)  # what was never reduced keeps its bits


def _aligned(pixels: np.ndarray, face: Face, alignment: Alignment, *, apart: bool = False) -> np.ndarray | NoFace:
    """`apart`: cut the surroundings out first."""
    try:
        return align(*(surroundings(pixels, face, alignment) if apart else (pixels, face)), alignment)
    except DataError as error:  # a box beside the picture: said of this face, the others go on
        return NoFace(error.what)


def _wanted(spec: ModelSpec) -> Alignment:
    assert spec.alignment is not None, f"{spec.name} is no recogniser of faces"
    return spec.alignment


def _size(image: Image) -> tuple[int, int]:
    """(height, width) of the photograph."""
    return (image.height, image.width) if isinstance(image, Decoded) else (image.shape[0], image.shape[1])


def _whole(height: int, width: int) -> Detections:
    """The picture as one face."""
    box = np.array([[0, 0, width, height]], np.float32)
    return Detections(box, np.ones(1, np.float32), np.zeros((1, 0, 2), np.float32))
