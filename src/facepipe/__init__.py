# SPDX-License-Identifier: Apache-2.0
"""Face detection and recognition from PyTorch weights to a device, with an accuracy that does not move on the way."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facepipe.api import (
        Faces,
        Models,
        convert_models,
        embed_folder,
        enrol,
        load,
        recognise,
        run_lfw,
        run_wider,
    )
    from facepipe.errors import (
        AssetError,
        BackendError,
        ConversionError,
        DataError,
        FacepipeError,
        StageError,
        TensorError,
        UnsealedError,
        WeightsError,
    )
    from facepipe.faces.given import PhotographLike
    from facepipe.faces.pipeline import CutFace, FacePipeline, PictureCrops
    from facepipe.faces.verdict import Verdict
    from facepipe.gallery.file import Gallery, read_gallery
    from facepipe.gallery.naming import NamedFace, NamedPhotograph
    from facepipe.results import Detections, EmbeddedFace, Face, Killed, NoFace, PictureFaces, Unread

__version__ = "0.1.0"
_HOMES = {
    "facepipe.api": (
        "load",
        "Faces",
        "Models",
        "embed_folder",
        "run_lfw",
        "run_wider",
        "convert_models",
        "enrol",
        "recognise",
    ),
    "facepipe.faces.given": ("PhotographLike",),
    "facepipe.faces.pipeline": ("CutFace", "FacePipeline", "PictureCrops"),
    "facepipe.faces.verdict": ("Verdict",),
    "facepipe.gallery.file": ("Gallery", "read_gallery"),
    "facepipe.gallery.naming": ("NamedFace", "NamedPhotograph"),
    "facepipe.results": ("Detections", "Face", "NoFace", "Unread", "Killed", "EmbeddedFace", "PictureFaces"),
    "facepipe.errors": (
        "FacepipeError",
        "AssetError",
        "WeightsError",
        "TensorError",
        "ConversionError",
        "BackendError",
        "StageError",
        "UnsealedError",
        "DataError",
    ),
}
__all__ = [
    "AssetError",
    "BackendError",
    "ConversionError",
    "CutFace",
    "DataError",
    "Detections",
    "EmbeddedFace",
    "Face",
    "FacePipeline",
    "FacepipeError",
    "Faces",
    "Gallery",
    "Killed",
    "Models",
    "NamedFace",
    "NamedPhotograph",
    "NoFace",
    "PhotographLike",
    "PictureCrops",
    "PictureFaces",
    "StageError",
    "TensorError",
    "Unread",
    "UnsealedError",
    "Verdict",
    "WeightsError",
    "__version__",
    "convert_models",
    "embed_folder",
    "enrol",
    "load",
    "read_gallery",
    "recognise",
    "run_lfw",
    "run_wider",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first used, so that `facepipe --help` need not load NumPy."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'facepipe' has no attribute '{name}', expected one of {', '.join(__all__)}")
