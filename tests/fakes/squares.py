# SPDX-License-Identifier: Apache-2.0
"""White squares on black pictures, a detector that finds them, and a recogniser that tells their colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facepipe.results import Detections


class Squares:
    """Finds every plain white square of a black picture, by its rows; a detector of tests."""

    name = "squares"
    landmark_count = 0
    calls: list[int]

    def __init__(self) -> None:
        self.calls = []

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.calls.append(len(images))
        return [self._one(image) for image in images]

    def detect_scaled(self, images: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        pairs = zip(images, sizes, self.detect(images), strict=True)
        return [faces.scaled(size[1] / image.shape[1], size[0] / image.shape[0]) for image, size, faces in pairs]

    def _one(self, image: np.ndarray) -> Detections:
        boxes = []
        white = (image[..., 0] > 128).any(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], white.astype(int), [0]])))
        for top, bottom in zip(edges[::2], edges[1::2], strict=True):
            columns = np.flatnonzero(image[top, :, 0] > 128)
            boxes.append([columns[0], top, columns[-1] + 1, bottom])
        if image[0, 0, 2] == 7:  # a mark: one more box, beside the picture
            boxes.append([-50, -50, -40, -40])
        array = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(
            array, np.linspace(0.9, 0.5, len(array), dtype=np.float32), np.zeros((len(array), 0, 2), np.float32)
        )


def mean_colour(images: np.ndarray) -> tuple[np.ndarray]:
    """A network: 512 numbers that depend on the crop alone."""
    rng = np.random.default_rng(0)
    return ((images.mean(axis=(2, 3)) @ rng.normal(size=(3, 512)) + rng.normal(size=512)).astype(np.float32),)


def picture(*squares: tuple[int, int, int], size: int = 200, marked: bool = False) -> np.ndarray:
    """Squares of (top, left, side), each of a colour of its own; `marked` has the detector add a box beside it."""
    image = np.zeros((size, size, 3), np.uint8)
    for number, (top, left, side) in enumerate(squares):
        image[top : top + side, left : left + side] = (255, 40 * number, 255 - 60 * number)
    if marked:
        image[0, 0, 2] = 7
    return image
