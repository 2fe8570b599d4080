# SPDX-License-Identifier: Apache-2.0
"""Forms of detectors that users bring: what goes in, what comes out, and how that becomes faces.

SCRFD, Guo et al. 2021, "Sample and Computation Redistribution for Efficient Face Detection": the interface of
insightface's files, as its own reader has it (deepinsight/insightface, python-package, model_zoo/scrfd.py, MIT): nine
outputs, or six without landmarks; two anchors in each cell of strides 8, 16 and 32, whose centre is the cell's upper
left corner; a box by its distances to left, top, right and bottom, and a landmark by its own, all in strides; scores
behind a sigmoid; the picture in the upper left of 640 x 640, black beyond it.

YuNet, Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector": the interface of OpenCV's
face_detection_yunet_2023mar.onnx, as OpenCV reads it (opencv/opencv, modules/objdetect/src/face_detect.cpp,
Apache-2.0): twelve outputs known by name; one prior in each cell, at the same corner and of the stride's size; the
score is the root of class times objectness, both cut to 0..1; bytes go in as they are, black beyond the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from facepipe.specs import BoxCode, Pixels, PriorLayout, SingleShot, Suppression


@dataclass(frozen=True, slots=True)
class DetectorForm:
    """One form.

    Attributes:
        pixels: what its networks are usually shown.
        single_shot: how their outputs become faces; the size is what a network of any size is run at.
        parts: what the outputs are, with the numbers of each row: of each part one output for each stride.
        named: an output has to be called as its part and stride are: "cls_8". Else the shapes tell an exchanged order.
    """

    pixels: Pixels
    single_shot: SingleShot
    parts: tuple[tuple[str, int], ...]
    named: bool


STRIDES: Final = (8, 16, 32)
LANDMARKS: Final = "kps"
"""The part that a network may lack."""
_FIVE: Final = (1, 0, 2, 4, 3)

DETECTOR_FORMS: Final[Mapping[str, DetectorForm]] = {
    "scrfd": DetectorForm(
        pixels=Pixels(order="RGB", mean=(127.5, 127.5, 127.5), scale=(1 / 128, 1 / 128, 1 / 128)),
        single_shot=SingleShot(
            size=(640, 640),
            fit="pad",
            multiple=32,
            priors=PriorLayout(
                strides=STRIDES,
                sides=tuple((stride, stride) for stride in STRIDES),
                even=False,
                clipped=False,
                corner=True,
            ),
            code=BoxCode(centre=1.0, size=1.0, distances=True),
            threshold=0.5,
            suppression=Suppression(method="hard", overlap=0.4, plus_one=True),
            keypoints=5,
            mirrored=_FIVE,
            heads="scrfd",
            black=True,
        ),
        parts=(("score", 1), ("bbox", 4), (LANDMARKS, 10)),
        named=False,
    ),
    "yunet": DetectorForm(
        pixels=Pixels(order="BGR", mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0)),
        single_shot=SingleShot(
            size=(640, 640),
            fit="pad",
            multiple=32,
            priors=PriorLayout(
                strides=STRIDES, sides=tuple((stride,) for stride in STRIDES), even=False, clipped=False, corner=True
            ),
            code=BoxCode(centre=1.0, size=1.0),
            threshold=0.9,  # FaceDetectorYN's own
            suppression=Suppression(method="hard", overlap=0.3),
            keypoints=5,
            mirrored=_FIVE,
            heads="yunet",
            black=True,
        ),
        parts=(("cls", 1), ("obj", 1), ("bbox", 4), (LANDMARKS, 10)),
        named=True,
    ),
}
