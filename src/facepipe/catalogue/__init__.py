# SPDX-License-Identifier: Apache-2.0
"""Every model facepipe knows, one frozen record each. Looks up, never loads.

A user's own models are looked up in the folder that a caller names; see `catalogue.imported`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from facepipe.catalogue.arcface import IRESNET18, IRESNET34, IRESNET50, IRESNET100, MOBILEFACENET_PADDLE
from facepipe.catalogue.blazeface import BLAZEFACE_BACK, BLAZEFACE_FRONT
from facepipe.catalogue.dlib import DLIB_RESNET
from facepipe.catalogue.facenet import FACENET_CASIA, FACENET_SEEDED, FACENET_VGGFACE2
from facepipe.catalogue.imported import imported_names, read_imported, record_path
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


def find(name: str, weights: Path | None = None) -> ModelSpec | None:
    """The record of the model `name`: the catalogue's, else the user's own in the folder `weights`; None: neither.

    Raises:
        DataError: the user's record cannot be read.
    """
    if name in MODELS or weights is None:
        return MODELS.get(name)
    return read_imported(name, weights)


def model(name: str, weights: Path | None = None) -> ModelSpec:
    """The record of the model `name`.

    Args:
        weights: the folder of models, whose own records count too; None: the catalogue alone. So of all functions here.

    Raises:
        DataError: no such model; the nearest name is guessed, never used.
    """
    found = find(name, weights)
    if found is None:
        raise _unknown("model", name, MODELS, weights)
    return found


def detector_models(name: str, weights: Path | None = None) -> tuple[ModelSpec, ...]:
    """The records of the models that the detector `name` runs, in the order of its stages.

    Raises:
        DataError: no such detector.
    """
    if name in DETECTORS:
        return tuple(MODELS[part] for part in DETECTORS[name])
    found = None if name in MODELS else find(name, weights)
    if found is None:
        raise _unknown("detector", name, DETECTORS, weights)
    return (_of_task(found, "detect", "detector"),)


def records(name: str, weights: Path | None = None) -> tuple[ModelSpec, ...]:
    """What `name` stands for where models are fetched or converted: a detector's models, or the one of that name.

    Raises:
        DataError: it is neither.
    """
    return detector_models(name) if name in DETECTORS else (model(name, weights),)


def landmark_count(detector: str, weights: Path | None = None) -> int:
    """How many landmarks the detector gives for each face; 0: none.

    Raises:
        DataError: no such detector.
    """
    specs = detector_models(detector, weights)
    shot = specs[0].single_shot
    return MTCNN_LANDMARKS if shot is None or len(specs) > 1 else shot.keypoints


def embedder(name: str, weights: Path | None = None) -> ModelSpec:
    """The record of the embedder `name`.

    Raises:
        DataError: no such embedder.
    """
    if name in EMBEDDERS:
        return MODELS[name]
    found = None if name in MODELS else find(name, weights)
    if found is None:
        raise _unknown("embedder", name, EMBEDDERS, weights)
    return _of_task(found, "embed", "embedder")


def own_models(weights: Path) -> tuple[ModelSpec, ...]:
    """The models that were imported into a folder, by name.

    Raises:
        DataError: a record cannot be read, or has the name of a model of the catalogue.
    """
    found = []
    for name in imported_names(weights):
        if is_taken(name):
            path = record_path(name, weights)
            raise DataError(f"{path}: the catalogue has {name}, expected another name.", f"rename {path}.")
        if (spec := read_imported(name, weights)) is not None:
            found.append(spec)
    return tuple(found)


def is_taken(name: str) -> bool:
    """Whether the catalogue has a model or a detector of that name."""
    return name in MODELS or name in DETECTORS


def _of_task(spec: ModelSpec, task: str, what: str) -> ModelSpec:
    if spec.task != task:
        raise DataError(f"{spec.name}: its record says task '{spec.task}', expected '{task}' of {what} {spec.name}.")
    return spec


def _unknown(what: str, name: str, choices: Iterable[str], weights: Path | None) -> DataError:
    known = [*choices, *imported_names(weights)]
    where = "in the catalogue" if what == "model" else "known"
    return DataError(f"{what} '{name}' is not {where}, expected one of {', '.join(known)}.", did_you_mean(name, known))
