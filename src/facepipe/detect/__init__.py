# SPDX-License-Identifier: Apache-2.0
"""Photographs to detections. Knows the networks as functions; knows no files and no back end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from facepipe.backends.base import Backend, Stated, Traits, model_file, open_session
from facepipe.catalogue import detector_models
from facepipe.detect.marked import MarkedDetector
from facepipe.detect.mtcnn import Mtcnn, MtcnnSettings
from facepipe.detect.single_shot import (
    SingleShotDetector,
    SingleShotSettings,
    on_fixed_canvas,
    single_shot_settings,
)
from facepipe.errors import DataError
from facepipe.geometry.fit import Inside, Stretch, filled_up
from facepipe.geometry.mtcnn_boxes import Borders
from facepipe.geometry.pyramid import CELL
from facepipe.results import Detections


class Detector(Protocol):
    """Finds faces. Batches are true: the answer for one image does not depend on the others."""

    @property
    def name(self) -> str: ...

    @property
    def landmark_count(self) -> int:
        """0 where the detector gives none."""
        ...

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """The faces of each uint8 [H, W, 3] RGB image; sizes may differ."""
        ...

    def detect_scaled(self, images: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The same for smaller copies of photographs of these (height, width), in whose pixels the answers are."""
        ...


DEVICE_CROPS: Final = 512
"""Candidates that go to a device in one call, where a call costs more than a cache."""

EVERYDAY_SIZES: Final = {"mtcnn": 1280, "retinaface.mobilenet0.25": 1600, "retinaface.resnet50": 1600}
"""Pixels of the longer side of the copy in which everyday commands look for faces: docs/decisions/0020."""

EVERYDAY_DETECTOR: Final = "mtcnn"
"""What everyday commands and programs detect with where nothing is named: docs/decisions/0020."""

_SIZE: Final = "--size with one of them."

DetectorSettings = MtcnnSettings | SingleShotSettings


def default_settings(name: str, weights: Path | None = None) -> DetectorSettings:
    """The settings of everyday use of the detector `name`; `weights`: the folder of models, for one's own.

    Raises:
        DataError: no such detector.
    """
    first = detector_models(name, weights)[0]
    return MtcnnSettings() if first.single_shot is None else single_shot_settings(first)


def everyday_settings(
    name: str, size: int | None = None, *, compiled: bool = False, weights: Path | None = None
) -> DetectorSettings:
    """The settings for photographs of any size: faces are looked for in a copy of a working size.

    Args:
        size: pixels of the copy's longer side; None: EVERYDAY_SIZES, else what the detector was trained for. 0: the
            photograph as it is for a cascade, and for a detector of one network what it was trained for.
        compiled: the models were compiled for sizes, so that None is 0.
        weights: the folder of models, for one's own.

    Raises:
        DataError: no such detector, or it takes no such size.
    """
    settings, spec = default_settings(name, weights), detector_models(name, weights)[0]
    if size is None:
        size = 0 if compiled else EVERYDAY_SIZES.get(name, 0)
    if isinstance(settings, MtcnnSettings):
        if size < 0 or 0 < size < CELL:
            raise DataError(f"detector {name}: a working size of {size} pixels, expected 0, or {CELL} or more.", _SIZE)
        return replace(settings, size=size)
    if not size or size == looked_at(settings):
        return settings
    least, most = spec.input.dims[3].low, spec.input.dims[3].high
    if not least <= size <= most:
        raise DataError(f"detector {name}: a working size of {size} pixels, expected 0, or {least} to {most}.", _SIZE)
    if isinstance(settings.fit, Stretch):
        return replace(settings, fit=Stretch(size * settings.fit.height // settings.fit.width, size))
    if settings.canvas is None:
        return replace(settings, fit=Inside(size, size, grow=False))
    side = filled_up(size, spec.input.dims[3].step)
    return replace(settings, fit=Inside(size, size, grow=True), canvas=(side, side))


def looked_at(settings: DetectorSettings) -> int:
    """Pixels of the longer side that a detector looks at, whatever more a photograph has; 0: all of them."""
    if isinstance(settings, MtcnnSettings):
        return settings.size
    fit = settings.fit
    return max(fit.height, fit.width) if isinstance(fit, (Inside, Stretch)) else 0


def asked_settings(
    settings: DetectorSettings,
    *,
    batch: int,
    min_face_px: int | None = None,
    least_score: float | None = None,
    borders: Borders | None = None,
) -> DetectorSettings:
    """Settings with what somebody wants otherwise; None leaves one as it is.

    Args:
        min_face_px: of the cascade's pyramid; for the others a filter of the boxes.
        least_score: of the cascade it is ONet's threshold: PNet's and RNet's let candidates through.
        borders: of the cascade alone.

    Raises:
        DataError: borders of another detector.
    """
    if borders is not None and not isinstance(settings, MtcnnSettings):
        raise DataError(
            f"borders: {borders} was asked for, and a detector of one network looks at no box a second time, expected "
            "a cascade.",
            "detector mtcnn, or no borders.",
        )
    settings = replace(settings, batch=batch)
    if min_face_px is not None:
        settings = replace(settings, min_face_px=min_face_px)
    if isinstance(settings, SingleShotSettings):
        return settings if least_score is None else replace(settings, threshold=least_score)
    if borders is not None:
        settings = replace(settings, borders=borders)
    return settings if least_score is None else replace(settings, thresholds=(*settings.thresholds[:2], least_score))


@contextmanager
def open_detector(
    name: str,
    backend: Backend,
    weights: Path,
    batch: int,
    settings: DetectorSettings | None = None,
    *,
    stated: Stated | None = None,
) -> Iterator[Detector]:
    """The detector `name` with its models loaded from `weights`, closed on every way out.

    Args:
        settings: of the kind that `default_settings` gives for this detector, which is also the default.
        stated: sha256 of each model file; see `open_session`.

    Raises:
        DataError: no such detector, or settings of another kind of detector.
        BackendError: the back end is unavailable, or a model file is not there.
        StageError: a model file is another than was stated, or than the record beside it says.
    """
    chosen = replace(settings or default_settings(name, weights), batch=batch)
    specs = detector_models(name, weights)
    if isinstance(chosen, SingleShotSettings):
        with open_single_shot(name, backend, weights, chosen, stated=stated) as detector:
            if len(specs) == 1:
                yield detector
                return
            second = fitted(MtcnnSettings(kernels=chosen.kernels), backend.traits, batch)
            file = model_file(backend, specs[1], weights, batch)
            with open_session(backend, specs[1], file, stated) as last:
                yield MarkedDetector(name, detector, last.run, second)
        return
    if specs[0].single_shot is not None:
        raise DataError(
            f"detector {name}: the settings are the cascade's, expected those of a detector of one network."
        )
    with ExitStack() as stack:
        pnet, rnet, onet = (
            stack.enter_context(open_session(backend, spec, model_file(backend, spec, weights, batch), stated)).run
            for spec in specs
        )
        yield Mtcnn(pnet, rnet, onet, fitted(chosen, backend.traits, batch))


def fitted(settings: MtcnnSettings, traits: Traits, batch: int) -> MtcnnSettings:
    """The cascade's settings as a back end wants them: many rows for each call of a device, no strip for its shapes."""
    rows = traits.rows_per_call(batch)
    if traits.on_host:
        return replace(settings, batch=rows)
    return replace(settings, batch=rows, crops=max(DEVICE_CROPS, rows), crop_step=1, strip_pixels=0)


@contextmanager
def open_single_shot(
    name: str, backend: Backend, weights: Path, settings: SingleShotSettings, *, stated: Stated | None = None
) -> Iterator[SingleShotDetector]:
    """A detector of one network, which can also be given scaled copies of photographs.

    Raises:
        DataError: no such detector, or it is a cascade, or a compiled model does not take these sizes.
        BackendError: the back end is unavailable, or the model file is not there.
        StageError: as `open_detector`.
    """
    spec = detector_models(name, weights)[0]
    if spec.single_shot is None:
        raise DataError(f"detector {name}: it is a cascade, expected a detector of one network.")
    if backend.traits.compiled:
        settings = on_fixed_canvas(settings, spec)
    with open_session(backend, spec, model_file(backend, spec, weights, settings.batch), stated) as session:
        yield SingleShotDetector(spec, session.run, settings, session.fixed_batch)
