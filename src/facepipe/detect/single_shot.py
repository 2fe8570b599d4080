# SPDX-License-Identifier: Apache-2.0
"""Detectors that are one network: UltraFace, RetinaFace, BlazeFace; SCRFD, YuNet. What differs is in the catalogue.

Photographs of any sizes; those whose inputs have one size share a batch, so the answer for one photograph does not
depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facepipe.backends.base import Run
from facepipe.errors import DataError
from facepipe.geometry.anchors import decode_boxes, decode_landmarks, priors
from facepipe.geometry.box_voting import blend
from facepipe.geometry.boxes import clip
from facepipe.geometry.fit import Fit, Inside, Resample, Stretch, filled_up, fitted, stretch
from facepipe.geometry.heads import joined
from facepipe.geometry.kernels import kernels_by_name
from facepipe.geometry.normalise import normalise_planes
from facepipe.geometry.soft_nms import soft_nms
from facepipe.results import Detections, no_detections
from facepipe.specs import ModelSpec, Pixels, SingleShot, Suppression

Size = tuple[int, int]
"""(height, width) in pixels."""

# biubug6/Pytorch_Retinaface, test_widerface.py: --top_k and --keep_top_k.
MOST_CANDIDATES, MOST_FACES = 5000, 750


@dataclass(frozen=True, slots=True)
class SingleShotSettings:
    """What may be chosen about a detector of one network.

    Attributes:
        fit: how a photograph becomes an input; see `geometry.fit`.
        canvas: (height, width) of every input, filled up with the mean colour; None: the fitted size, filled up to the
            multiple that the network needs.
        threshold: a face's score is above this.
        min_face_px: the least longer side of a face's box, as it lies in the photograph; 0: any. The network is asked
            the same and sees small faces too, unlike the cascade's.
        suppression: how several boxes on one face become one.
        candidates: best-scored boxes of a photograph that go into suppression.
        faces: most faces of a photograph.
        resample: how pixels are weighed when a photograph is scaled.
        batch: inputs of one call.
        kernels: name of the host kernels of hard suppression; see `geometry.kernels`. All give the same bits.
    """

    fit: Fit
    canvas: Size | None
    threshold: float
    suppression: Suppression
    min_face_px: int = 0
    candidates: int = MOST_CANDIDATES
    faces: int = MOST_FACES
    resample: Resample = "smooth"
    batch: int = 16
    kernels: str = "fastest"


def single_shot_settings(spec: ModelSpec) -> SingleShotSettings:
    """The settings of everyday use, from the catalogue."""
    shot = _shot(spec)
    height, width = shot.size
    fit: Fit = Stretch(height, width) if shot.fit == "stretch" else Inside(height, width, grow=shot.fit == "pad")
    return SingleShotSettings(
        fit=fit,
        canvas=(height, width) if shot.fit == "pad" else None,
        threshold=shot.threshold,
        suppression=shot.suppression,
    )


def on_fixed_canvas(settings: SingleShotSettings, spec: ModelSpec) -> SingleShotSettings:
    """The same, for a model that was compiled for the catalogue's size: every input is filled up to it.

    Raises:
        DataError: the settings ask for inputs that do not fit into that size.
    """
    size = _shot(spec).size
    # Both kinds bound the fitted size by themselves; the others depend on the photograph.
    if isinstance(settings.fit, (Stretch, Inside)) and settings.fit.height <= size[0] and settings.fit.width <= size[1]:
        return replace(settings, canvas=size)
    raise DataError(
        f"{spec.name}: inputs are {settings.fit}, and the compiled model takes {size[0]} x {size[1]} alone.",
        "the default size, or an ONNX back end.",
    )


def _shot(spec: ModelSpec) -> SingleShot:
    assert spec.single_shot is not None, f"{spec.name} is no detector of one network"
    return spec.single_shot


@dataclass(frozen=True, slots=True)
class SingleShotDetector:
    """A detector of one network.

    Attributes:
        run: the network. Input float32 [N, 3, H, W]; outputs as `geometry.heads` has them, a row for each input.
        fixed_batch: the batch that every call must have; None: any.
    """

    spec: ModelSpec
    run: Run
    settings: SingleShotSettings
    fixed_batch: int | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def landmark_count(self) -> int:
        return _shot(self.spec).keypoints

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """The faces of each uint8 [H, W, 3] RGB image; sizes may differ."""
        return self.detect_scaled(images, [(image.shape[0], image.shape[1]) for image in images])

    def detect_scaled(self, images: Sequence[np.ndarray], sizes: Sequence[Size]) -> list[Detections]:
        """The same for copies of photographs that were scaled before, perhaps with another aspect.

        Args:
            images: uint8 [H, W, 3], RGB.
            sizes: (height, width) of the photographs; inputs are fitted to these, and boxes are in their pixels.

        Returns:
            For each photograph its faces, best score first, cut to the photograph.
        """
        found = [no_detections(self.landmark_count)] * len(images)
        for canvas, members in self._batches(sizes):
            group = [images[index] for index in members]
            fits = [fitted(self.settings.fit, *sizes[index]) for index in members]
            outputs = self.run(self._inputs(group, fits, canvas))
            anchors = priors(_shot(self.spec).priors, *canvas)
            for row, index in enumerate(members):
                numbers = tuple(output[row] for output in outputs)
                found[index] = self._faces(numbers, anchors, canvas, fits[row], sizes[index])
        return found

    def inputs_of(self, image: np.ndarray) -> np.ndarray:
        """What the network would be shown of one uint8 [H, W, 3] RGB image: float32 [1, 3, h, w]."""
        fit = fitted(self.settings.fit, *image.shape[:2])
        return self._inputs([image], [fit], self._canvas(fit))[:1]

    def _batches(self, sizes: Sequence[Size]) -> Iterator[tuple[Size, list[int]]]:
        """Positions of photographs whose inputs have one size, with that size, a batch at a time."""
        by_canvas: dict[Size, list[int]] = {}
        for index, size in enumerate(sizes):
            by_canvas.setdefault(self._canvas(fitted(self.settings.fit, *size)), []).append(index)
        most = self.fixed_batch or self.settings.batch
        for canvas, members in by_canvas.items():
            for start in range(0, len(members), most):
                yield canvas, members[start : start + most]

    def _canvas(self, fit: Size) -> Size:
        if self.settings.canvas is not None:
            return self.settings.canvas
        multiple = _shot(self.spec).multiple
        height, width = (
            filled_up(max(side, dim.low), multiple) for side, dim in zip(fit, self.spec.input.dims[2:], strict=True)
        )
        return height, width

    def _inputs(self, images: Sequence[np.ndarray], fits: Sequence[Size], canvas: Size) -> np.ndarray:
        """float32 [N, 3, H, W]: each image at its size in the upper left corner, mean colour or black elsewhere."""
        rows = self.fixed_batch or len(images)
        inputs = np.zeros((rows, 3, *canvas), np.float32)
        if _shot(self.spec).black:
            inputs[:] = _planes(np.zeros((1, 1, 3), np.uint8), self.spec.pixels)
        for row, (image, (height, width)) in enumerate(zip(images, fits, strict=True)):
            scaled = stretch(image, height, width, self.settings.resample)
            inputs[row, :, :height, :width] = _planes(scaled, self.spec.pixels)
        return inputs

    def _faces(
        self, numbers: tuple[np.ndarray, ...], anchors: np.ndarray, canvas: Size, fit: Size, size: Size
    ) -> Detections:
        """One photograph's rows of the network's outputs as faces."""
        shot, settings = _shot(self.spec), self.settings
        offsets, points, scores = joined(numbers, shot.heads)  # (P, 4), (P, 2 K), (P,)
        rows = np.flatnonzero(scores > np.float32(settings.threshold))
        if len(rows) > settings.candidates:
            rows = rows[np.argsort(-scores[rows], kind="stable")[: settings.candidates]]
        # From fractions of the input, to its pixels, to the photograph's.
        to_pixels = np.array([canvas[1] * size[1] / fit[1], canvas[0] * size[0] / fit[0]], np.float32)
        boxes = decode_boxes(offsets[rows], anchors[rows], shot.code) * np.tile(to_pixels, 2)
        landmarks = (
            decode_landmarks(points[rows], anchors[rows], shot.code) * to_pixels
            if points is not None
            else np.zeros((len(rows), 0, 2), np.float32)
        )
        candidates = Detections(boxes, scores[rows], landmarks)
        kept = suppress(candidates, settings.suppression, settings.threshold, settings.kernels)
        kept = _inside(kept, size, settings.min_face_px)
        return kept.take(np.arange(min(len(kept), settings.faces)))


def suppress(detections: Detections, suppression: Suppression, least: float, kernels: str = "numpy") -> Detections:
    """One box for each face, best score first.

    Args:
        detections: candidates of one photograph.
        least: soft suppression drops what falls to this score or below.
        kernels: name of the host kernels of hard suppression.
    """
    boxes, scores = detections.boxes, detections.scores
    if suppression.method == "soft":
        kept, lowered = soft_nms(boxes, scores, suppression.sigma, least, plus_one=suppression.plus_one)
        return Detections(boxes[kept], lowered, detections.landmarks[kept])
    if suppression.method == "blending":
        blended = Detections(
            *blend(
                boxes,
                scores,
                detections.landmarks,
                suppression.overlap,
                weights=suppression.weights,
                plus_one=suppression.plus_one,
            )
        )
        return blended.take(np.argsort(-blended.scores, kind="stable"))
    one_image = np.zeros(len(boxes), np.intp)
    return detections.take(
        kernels_by_name(kernels).suppress(boxes, scores, one_image, suppression.overlap, False, suppression.plus_one)
    )


def _inside(detections: Detections, size: Size, least_side: int) -> Detections:
    """Boxes cut to the photograph; those that lie outside, or whose longer side is shorter than that, are dropped."""
    boxes = clip(detections.boxes, *size)
    sides = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
    seen = (sides > 0).all(axis=1) & (sides.max(axis=1) >= least_side)
    return Detections(boxes[seen], detections.scores[seen], detections.landmarks[seen])


def _planes(image: np.ndarray, pixels: Pixels) -> np.ndarray:
    """One uint8 [h, w, 3] image as float32 [3, h, w], normalised."""
    planes = image.transpose(2, 0, 1)  # (3, h, w)
    ordered = planes[::-1] if pixels.order == "BGR" else planes
    return normalise_planes(np.ascontiguousarray(ordered)[None], pixels)[0]
