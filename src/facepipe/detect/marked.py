# SPDX-License-Identifier: Apache-2.0
"""A detector of boxes, with the landmarks that MTCNN's last network sees in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.backends.base import Run
from facepipe.detect.mtcnn import MtcnnSettings, mark, photograph
from facepipe.detect.single_shot import SingleShotDetector, Size
from facepipe.geometry.kernels import kernels_by_name
from facepipe.results import Detections, no_detections


@dataclass(frozen=True, slots=True)
class MarkedDetector:
    """Detectors such as `ultraface.rfb-320+onet`: boxes and scores of the one, five landmarks of the other.

    Attributes:
        detector: gives no landmarks.
        onet: see `detect.mtcnn.mark`.
        settings: of the calls of ONet; no threshold of them is used.
    """

    name: str
    detector: SingleShotDetector
    onet: Run
    settings: MtcnnSettings
    landmark_count: int = 5

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """The faces of each uint8 [H, W, 3] RGB image; sizes may differ."""
        return self.detect_scaled(images, [(image.shape[0], image.shape[1]) for image in images])

    def detect_scaled(self, images: Sequence[np.ndarray], sizes: Sequence[Size]) -> list[Detections]:
        """The same for copies of photographs, as `SingleShotDetector.detect_scaled`; landmarks are seen in the copy."""
        kernels = kernels_by_name(self.settings.kernels)
        answers = []
        for image, size, faces in zip(images, sizes, self.detector.detect_scaled(images, sizes), strict=True):
            if not len(faces):
                answers.append(no_detections(self.landmark_count))
                continue
            across, down = image.shape[1] / size[1], image.shape[0] / size[0]
            (marked,) = mark([photograph(image, kernels)], [faces.scaled(across, down)], self.onet, self.settings)
            landmarks = marked.landmarks / np.array([across, down], np.float32)
            answers.append(Detections(faces.boxes, faces.scores, landmarks))
        return answers
