# SPDX-License-Identifier: Apache-2.0
"""Every model facepipe knows, one frozen record each. Looks up, never loads."""

from __future__ import annotations

from facepipe.catalogue.arcface import IRESNET18, IRESNET34, IRESNET50, IRESNET100, MOBILEFACENET_PADDLE
from facepipe.catalogue.blazeface import BLAZEFACE_BACK, BLAZEFACE_FRONT
from facepipe.catalogue.dlib import DLIB_RESNET
from facepipe.catalogue.facenet import FACENET_CASIA, FACENET_SEEDED, FACENET_VGGFACE2
from facepipe.catalogue.mobilefacenet import MOBILEFACENET_MS1M
from facepipe.catalogue.mtcnn import ONET, PNET, RNET
from facepipe.catalogue.retinaface import RETINAFACE_MOBILENET025, RETINAFACE_RESNET50
from facepipe.catalogue.ultraface import (
    ULTRAFACE_RFB_320,
    ULTRAFACE_RFB_640,
    ULTRAFACE_SLIM_320,
    ULTRAFACE_SLIM_640,
)
from facepipe.errors import DataError, did_you_mean
from facepipe.specs import ModelSpec

MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        PNET,
        RNET,
        ONET,
        FACENET_VGGFACE2,
        FACENET_CASIA,
        FACENET_SEEDED,
        MOBILEFACENET_MS1M,
        DLIB_RESNET,
        MOBILEFACENET_PADDLE,
        IRESNET18,
        IRESNET34,
        IRESNET50,
        IRESNET100,
        ULTRAFACE_SLIM_320,
        ULTRAFACE_SLIM_640,
        ULTRAFACE_RFB_320,
        ULTRAFACE_RFB_640,
        RETINAFACE_MOBILENET025,
        RETINAFACE_RESNET50,
        BLAZEFACE_FRONT,
        BLAZEFACE_BACK,
    )
}

DETECTORS: dict[str, tuple[str, ...]] = {
    "mtcnn": ("pnet", "rnet", "onet"),
    **{name: (name,) for name, spec in MODELS.items() if spec.single_shot is not None},
    **{
        f"{name}+onet": (name, "onet")
        for name, spec in MODELS.items()
        if spec.single_shot is not None and spec.single_shot.keypoints == 0
    },
}
"""Detector name to the models it is made of. "+onet": a detector of boxes, with the landmarks of MTCNN's ONet."""

MTCNN_LANDMARKS = 5

EMBEDDERS: tuple[str, ...] = tuple(name for name, spec in MODELS.items() if spec.task == "embed")
"""In the order in which a default is looked for."""


def model(name: str) -> ModelSpec:
    """The record of the model `name`.

    Raises:
        DataError: no such model; the nearest name is guessed, never used.
    """
    if name in MODELS:
        return MODELS[name]
    raise DataError(
        f"model '{name}' is not in the catalogue, expected one of {', '.join(MODELS)}.", did_you_mean(name, MODELS)
    )


def detector_models(name: str) -> tuple[ModelSpec, ...]:
    """The records of the models that the detector `name` runs, in the order of its stages.

    Raises:
        DataError: no such detector.
    """
    if name in DETECTORS:
        return tuple(MODELS[part] for part in DETECTORS[name])
    raise DataError(
        f"detector '{name}' is not known, expected one of {', '.join(DETECTORS)}.", did_you_mean(name, DETECTORS)
    )


def records(name: str) -> tuple[ModelSpec, ...]:
    """What `name` stands for where models are fetched or converted: a detector's models, or the one of that name.

    Raises:
        DataError: it is neither.
    """
    return detector_models(name) if name in DETECTORS else (model(name),)


def landmark_count(detector: str) -> int:
    """How many landmarks the detector gives for each face; 0: none.

    Raises:
        DataError: no such detector.
    """
    specs = detector_models(detector)
    shot = specs[0].single_shot
    return MTCNN_LANDMARKS if shot is None or len(specs) > 1 else shot.keypoints


def embedder(name: str) -> ModelSpec:
    """The record of the embedder `name`.

    Raises:
        DataError: no such embedder.
    """
    if name in EMBEDDERS:
        return MODELS[name]
    choices = ", ".join(EMBEDDERS)
    raise DataError(f"embedder '{name}' is not known, expected one of {choices}.", did_you_mean(name, EMBEDDERS))
