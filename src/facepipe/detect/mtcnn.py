# SPDX-License-Identifier: Apache-2.0
"""MTCNN's cascade: PNet proposes, RNet refines, ONet locates. One function for each arrow; the same for every driver.

Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded Convolutional Networks", section II-A.
The answers are those of facenet-pytorch, except where that has a bug: a candidate without pixels is dropped together
with its scores, a photograph smaller than the least face has no faces, and nothing is shared between photographs.

Candidates of many photographs go through RNet and ONet together; suppression never crosses from one to another.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np

from facepipe.backends.base import Run
from facepipe.catalogue import model
from facepipe.geometry.boxes import square
from facepipe.geometry.fit import inside
from facepipe.geometry.kernels import Kernels, kernels_by_name
from facepipe.geometry.mtcnn_boxes import (
    ONE,
    Borders,
    apply_offsets,
    boxes_of_cells,
    cells_above,
    face_probability,
    has_pixels,
    landmarks_of_offsets,
    pixel_regions,
)
from facepipe.geometry.pyramid import CELL, Level, pyramid_levels
from facepipe.results import Detections, no_detections
from facepipe.specs import Pixels

RNET_SIDE: Final = 24
ONET_SIDE: Final = 48

# IoU above which the lesser of two boxes goes: within one scale, across scales, after RNet, and over the smaller
# area after ONet. The authors' values, kept by every implementation.
NMS_SCALE, NMS_IMAGE, NMS_REFINE, NMS_LOCATE = 0.5, 0.7, 0.7, 0.7

# Of `mark`: how often ONet looks at a box of another detector, and by what share of its side it moves one in between.
LOOKS, MOST_MOVED = 2, 0.49


LEAST_WORKING_PX: Final = 20
"""Least side of a face in a copy of the working size, unless smaller ones are asked for in the photograph itself."""


@dataclass(frozen=True, slots=True)
class MtcnnSettings:
    """What may be chosen about the cascade.

    Attributes:
        min_face_px: the least side of a face that is looked for, in pixels of the photograph; smaller is slower.
            facenet-pytorch's default.
        size: pixels of the longer side of the copy in which faces are looked for; in it none is looked for that is
            smaller than LEAST_WORKING_PX. 0: in all pixels, as the authors do.
        thresholds: least face probability after PNet, RNet and ONet, in (0, 1). The authors' values.
        factor: from one pyramid level to the next; about the root of one half, so that areas halve.
        batch: photographs of one size that go through PNet in one call.
        crops: candidates that go through RNet in one call, a quarter of them through ONet. As many as a processor's
            own cache holds between two layers (some 28 kB for each); more take more memory and are no faster.
        crop_step: the number of candidates of a call is rounded up to a multiple of this (ONet: a quarter of it), with
            black crops whose answers are cut off. OpenVINO prepares for every new number, some 6 ms each time.
        call_pixels: pixels of a pyramid level, of several photographs, that go through PNet in one call; the same.
        strip_pixels: pixels of a pyramid level of one photograph that go through PNet in one call; bounds memory to
            some 230 bytes for each. 0 means all, for compiled models that have only so many input shapes.
        borders: "pad": a box that leaves the photograph is black there, as the authors have it. "stretch": what is left
            of it fills RNet's and ONet's input, and offsets and landmarks of faces at the edge slide: facenet-pytorch's
            way, to compare with it.
        kernels: name of the host kernels; see `geometry.kernels`. All give the same bits.
    """

    min_face_px: int = 20
    size: int = 0
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    factor: float = 0.709
    batch: int = 16
    crops: int = 48
    crop_step: int = 12
    call_pixels: int = 1 << 16
    strip_pixels: int = 1 << 18
    borders: Borders = "pad"
    kernels: str = "fastest"


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """One photograph as the cascade sees it: its size, and its integral image, computed once for all three stages."""

    height: int
    width: int
    sums: np.ndarray = field(repr=False)  # uint32 [H + 1, W + 1, 3]


def photograph(image: np.ndarray, kernels: Kernels) -> Photograph:
    """A uint8 [H, W, 3] RGB image, made ready for the stages."""
    return Photograph(image.shape[0], image.shape[1], kernels.integral(image))


def propose(photographs: Sequence[Photograph], run: Run, settings: MtcnnSettings) -> list[Detections]:
    """PNet over every pyramid level: square boxes that may hold a face.

    Args:
        photographs: of any sizes; those of one size share PNet's batches.
        run: PNet. Input float32 [N, 3, h, w]; outputs box offsets [N, 4, r, c] and face logits [N, 2, r, c].

    Returns:
        For each photograph its proposals, best score first. Boxes are 1-based corners and may leave the photograph.
    """
    kernels = kernels_by_name(settings.kernels)
    found = [no_detections()] * len(photographs)
    for members in _same_size(photographs, settings.batch):
        group = [photographs[index] for index in members]
        for index, detections in zip(members, _propose_one_size(group, run, settings, kernels), strict=True):
            found[index] = detections
    return found


def refine(
    photographs: Sequence[Photograph], proposals: Sequence[Detections], run: Run, settings: MtcnnSettings
) -> list[Detections]:
    """RNet over the proposals: those it believes in, moved by its offsets and made square.

    Args:
        run: RNet. Input float32 [N, 3, 24, 24]; outputs box offsets [N, 4] and face logits [N, 2].

    Returns:
        For each photograph at most as many detections as before, best score first, IoU at most 0.7 between any two
        before they were moved.
    """
    kernels = kernels_by_name(settings.kernels)
    candidates = _candidates(photographs, proposals, settings.borders)
    (offsets, _), scores = _look_closer(
        photographs, candidates, run, RNET_SIDE, model("rnet").pixels, settings, kernels
    )
    kept = np.flatnonzero(scores > np.float32(settings.thresholds[1]))
    boxes, images = candidates.boxes[kept], candidates.images[kept]
    picked = kernels.suppress(boxes, scores[kept], images, NMS_REFINE, False, False)
    moved = square(apply_offsets(boxes[picked], offsets[kept[picked]], plus_one=True))
    return _by_photograph(
        len(photographs), images[picked], moved, scores[kept[picked]], np.zeros((len(picked), 0, 2), np.float32)
    )


def locate(
    photographs: Sequence[Photograph], proposals: Sequence[Detections], run: Run, settings: MtcnnSettings
) -> list[Detections]:
    """ONet over the refined proposals: the faces, with five landmarks each.

    Args:
        run: ONet. Input float32 [N, 3, 48, 48]; outputs box offsets [N, 4], landmark offsets [N, 10], logits [N, 2].

    Returns:
        For each photograph its faces, best score first, no two sharing more than 0.7 of the smaller one's area.
    """
    kernels = kernels_by_name(settings.kernels)
    candidates = _candidates(photographs, proposals, settings.borders)
    (offsets, points, _), scores = _look_closer(
        photographs, candidates, run, ONET_SIDE, model("onet").pixels, settings, kernels
    )
    kept = _sure_best_first(scores, candidates.images, settings.thresholds[2])
    boxes = candidates.boxes[kept]
    landmarks = landmarks_of_offsets(boxes, points[kept])
    moved = apply_offsets(boxes, offsets[kept], plus_one=True)
    picked = kernels.suppress(moved, scores[kept], candidates.images[kept], NMS_LOCATE, True, True)
    return _by_photograph(
        len(photographs),
        candidates.images[kept[picked]],
        moved[picked],
        scores[kept[picked]],
        landmarks[picked],
    )


def mark(
    photographs: Sequence[Photograph], found: Sequence[Detections], run: Run, settings: MtcnnSettings
) -> list[Detections]:
    """ONet's landmarks on the boxes of a detector that gives none; boxes, scores and their order stay.

    ONet looks twice: in between, its own offsets move the square around a box to where RNet would have put it
    (docs/decisions/0022 has what that is worth).

    Args:
        found: faces of each photograph, whose boxes lie within it.
        run: ONet, as in `locate`.
    """
    if not found:
        return []
    kernels, pixels = kernels_by_name(settings.kernels), model("onet").pixels
    ends = np.cumsum([len(faces) for faces in found])[:-1]
    boxes = square(np.concatenate([faces.boxes for faces in found])) + ONE  # corners that count from 1
    landmarks = np.zeros((len(boxes), 5, 2), np.float32)
    for _ in range(LOOKS):
        asked = [
            Detections(own, faces.scores, faces.landmarks)
            for own, faces in zip(np.split(boxes, ends), found, strict=True)
        ]
        candidates = _candidates(photographs, asked, settings.borders)
        boxes = candidates.boxes  # all of them: each has a pixel
        (offsets, points, _), _ = _look_closer(photographs, candidates, run, ONET_SIDE, pixels, settings, kernels)
        landmarks = landmarks_of_offsets(boxes, points)
        # No side is moved past the middle, which lies in the photograph: every box keeps a pixel.
        most = np.float32(MOST_MOVED) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = square(np.clip(apply_offsets(boxes, offsets, plus_one=True), boxes - most, boxes + most))
    rows = zip(found, np.split(landmarks, ends), strict=True)
    return [Detections(faces.boxes, faces.scores, own) for faces, own in rows]


@dataclass(frozen=True, slots=True)
class Mtcnn:
    """The detector `mtcnn`: the three stages in a row."""

    pnet: Run
    rnet: Run
    onet: Run
    settings: MtcnnSettings = field(default_factory=MtcnnSettings)
    name: str = "mtcnn"
    landmark_count: int = 5

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """The faces of each uint8 [H, W, 3] RGB image; sizes may differ."""
        return self.detect_scaled(images, [(image.shape[0], image.shape[1]) for image in images])

    def detect_scaled(self, images: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The same for copies of photographs of these (height, width), in whose pixels the answers are."""
        size = self.settings.size
        copies = [inside(image, size) if size else image for image in images]
        scales = [(size[1] / copy.shape[1], size[0] / copy.shape[0]) for copy, size in zip(copies, sizes, strict=True)]
        least = [_least_face(self.settings.min_face_px, *scale) for scale in scales]
        found = [no_detections(self.landmark_count)] * len(images)
        for pixels in sorted(set(least)):
            members = [index for index, own in enumerate(least) if own == pixels]
            group = self._cascade([copies[index] for index in members], replace(self.settings, min_face_px=pixels))
            for index, faces in zip(members, group, strict=True):
                found[index] = faces.scaled(*scales[index])
        return found

    def _cascade(self, images: Sequence[np.ndarray], settings: MtcnnSettings) -> list[Detections]:
        kernels = kernels_by_name(settings.kernels)
        photographs = [photograph(image, kernels) for image in images]
        proposals = propose(photographs, self.pnet, settings)
        refined = refine(photographs, proposals, self.rnet, settings)
        return locate(photographs, refined, self.onet, settings)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Boxes of many photographs that hold at least one pixel: image row, box, pixels."""

    images: np.ndarray  # intp [R]
    boxes: np.ndarray  # float32 [R, 4]
    regions: np.ndarray  # int64 [R, 4]


def _least_face(pixels: int, across: float, down: float) -> int:
    """Pixels of the photograph as those of a copy so many times smaller, and no fewer than one sees a face in."""
    return max(round(pixels / max(across, down)), min(pixels, LEAST_WORKING_PX))


def _same_size(photographs: Sequence[Photograph], batch: int) -> Iterator[list[int]]:
    """Positions of photographs of one size, at most `batch` at a time."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, item in enumerate(photographs):
        by_size.setdefault((item.height, item.width), []).append(index)
    for members in by_size.values():
        for start in range(0, len(members), batch):
            yield members[start : start + batch]


def _propose_one_size(
    group: Sequence[Photograph], run: Run, settings: MtcnnSettings, kernels: Kernels
) -> list[Detections]:
    """`propose` for photographs of one size."""
    levels = pyramid_levels(group[0].height, group[0].width, settings.min_face_px, settings.factor)
    if not levels:
        return [no_detections() for _ in group]
    parts = [_propose_level(group, level, run, settings, kernels) for level in levels]
    images, boxes, scores, offsets = (np.concatenate(column) for column in zip(*parts, strict=True))
    picked = kernels.suppress(boxes, scores, images, NMS_IMAGE, False, False)
    moved = square(apply_offsets(boxes[picked], offsets[picked], plus_one=False))
    no_landmarks = np.zeros((len(picked), 0, 2), np.float32)
    return _by_photograph(len(group), images[picked], moved, scores[picked], no_landmarks)


def _propose_level(
    group: Sequence[Photograph], level: Level, run: Run, settings: MtcnnSettings, kernels: Kernels
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One pyramid level: image rows [M], boxes [M, 4], scores [M], offsets [M, 4], suppressed within the level."""
    together = max(1, settings.call_pixels // (level.height * level.width)) if settings.strip_pixels else len(group)
    parts = []
    for first in range(0, len(group), together):
        images, *rest = _cells(group[first : first + together], level, run, settings, kernels)
        parts.append((images + first, *rest))
    images, rows, columns, scores, offsets = (np.concatenate(column) for column in zip(*parts, strict=True))
    boxes = boxes_of_cells(rows, columns, level.scale)
    picked = kernels.suppress(boxes, scores, images, NMS_SCALE, False, False)
    return images[picked], boxes[picked], scores[picked], offsets[picked]


def _cells(
    group: Sequence[Photograph], level: Level, run: Run, settings: MtcnnSettings, kernels: Kernels
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """PNet's cells above the threshold: image rows, rows, columns [M] each, scores [M], offsets [M, 4]."""
    pixels = model("pnet").pixels
    scaled = np.empty((len(group), 3, level.height, level.width), np.float32)
    for row, item in enumerate(group):
        whole = np.array([[0, item.height, 0, item.width]], np.int64)
        _resize(kernels, item.sums, whole, pixels, scaled[row : row + 1])
    offsets, logits = _pnet(scaled, run, settings)
    images, rows, columns, scores = cells_above(logits, settings.thresholds[0])
    return images, rows, columns, scores, offsets[images, :, rows, columns]  # (M, 4)


def _pnet(scaled: np.ndarray, run: Run, settings: MtcnnSettings) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and logits of a pyramid level; of a large one strip after strip of rows.

    Cell i looks at the rows 2 i to 2 i + 11, so that strips which overlap by ten rows give every cell once, of the
    same pixels.
    """
    _, _, height, width = scaled.shape
    strip_pixels = settings.strip_pixels
    if strip_pixels == 0 or height * width <= strip_pixels:
        offsets, logits = run(scaled)
        return offsets, logits
    step = max(2, (strip_pixels // width) // 2 * 2)  # rows; the last strip takes what is left, at least one cell
    starts = [start for start in range(0, height, step) if start == 0 or height - start >= CELL]
    ends = [*(start + step + CELL - 2 for start in starts[:-1]), height]
    parts = [run(np.ascontiguousarray(scaled[:, :, a:b])) for a, b in zip(starts, ends, strict=True)]
    offsets, logits = (np.concatenate(column, axis=2) for column in zip(*parts, strict=True))
    return offsets, logits


def _resize(kernels: Kernels, sums: np.ndarray, regions: np.ndarray, pixels: Pixels, out: np.ndarray) -> None:
    """Regions of one photograph, area-resized and normalised into `out` float32 [N, 3, h, w]."""
    mean, scale = _mean_and_scale(pixels)
    kernels.regions(sums, regions, out.shape[2], out.shape[3], mean, scale, out)


@functools.cache
def _mean_and_scale(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    return np.array(pixels.mean, np.float32), np.array(pixels.scale, np.float32)


def _candidates(photographs: Sequence[Photograph], proposals: Sequence[Detections], borders: Borders) -> _Candidates:
    """All proposals in one table. A box without a pixel goes here, together with all that belongs to it."""
    images, boxes, regions = [], [], []
    for index, (item, detections) in enumerate(zip(photographs, proposals, strict=True)):
        covered = pixel_regions(detections.boxes, item.height, item.width, borders)
        seen = has_pixels(covered, item.height, item.width)
        images.append(np.full(int(seen.sum()), index, np.intp))
        boxes.append(detections.boxes[seen])
        regions.append(covered[seen])
    if not images:
        return _Candidates(np.zeros(0, np.intp), np.zeros((0, 4), np.float32), np.zeros((0, 4), np.int64))
    return _Candidates(np.concatenate(images), np.concatenate(boxes), np.concatenate(regions))


def _look_closer(
    photographs: Sequence[Photograph],
    candidates: _Candidates,
    run: Run,
    side: int,
    pixels: Pixels,
    settings: MtcnnSettings,
    kernels: Kernels,
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The network's outputs for every candidate, and the face probabilities float32 [R] from its last output."""
    parts: list[tuple[np.ndarray, ...]] = []
    size = max(1, settings.crops * RNET_SIDE**2 // side**2)  # as many pixels for ONet as for RNet
    step = max(1, settings.crop_step * RNET_SIDE**2 // side**2)
    for start in range(0, len(candidates.boxes), size):
        images = candidates.images[start : start + size]
        regions = candidates.regions[start : start + size]
        count = len(images)
        crops = np.empty((-(-count // step) * step, 3, side, side), np.float32)
        crops[count:] = 0
        # The candidates of one photograph are neighbours, so its crops are one slice.
        edges = np.flatnonzero(np.diff(images, prepend=-1, append=-1))
        for low, high in pairwise(edges):
            _resize(kernels, photographs[images[low]].sums, regions[low:high], pixels, crops[low:high])
        parts.append(tuple(output[:count] for output in run(crops)))
    if not parts:
        widths = (4, 2) if side == RNET_SIDE else (4, 10, 2)
        return tuple(np.zeros((0, width), np.float32) for width in widths), np.zeros(0, np.float32)
    outputs = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return outputs, face_probability(outputs[-1])


def _sure_best_first(scores: np.ndarray, images: np.ndarray, threshold: float) -> np.ndarray:
    """Rows above the threshold: photographs ascending, within one the best score first.

    Many faces score within one float32 step of 1, so ties are common, and which of two equal boxes stays can move it by
    pixels. After PNet and RNet the first of equals wins; here the reference walks NumPy's default argsort from its end,
    and so does this. That sort leaves equal scores in an order of its own, the same for the same scores on the same
    processor: another photograph in the batch never changes it.
    """
    parts = []
    for rows in np.split(np.arange(len(images)), np.flatnonzero(np.diff(images)) + 1):
        sure = rows[scores[rows] > np.float32(threshold)]
        parts.append(sure[np.argsort(scores[sure])[::-1]])
    return np.concatenate(parts)


def _by_photograph(
    count: int, images: np.ndarray, boxes: np.ndarray, scores: np.ndarray, landmarks: np.ndarray
) -> list[Detections]:
    """One table of all photographs, whose rows are ordered by photograph, as one `Detections` each."""
    edges = np.searchsorted(images, np.arange(count + 1))
    return [Detections(boxes[low:high], scores[low:high], landmarks[low:high]) for low, high in pairwise(edges)]
