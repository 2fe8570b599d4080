# SPDX-License-Identifier: Apache-2.0
"""Photographs to detections. Knows the networks as functions; knows no files and no back end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from facepipe.backends.base import Backend, model_file, open_session
from facepipe.catalogue import detector_models
from facepipe.detect.mtcnn import Mtcnn, MtcnnSettings
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


@contextmanager
def open_detector(
    name: str, backend: Backend, weights: Path, batch: int, settings: MtcnnSettings | None = None
) -> Iterator[Detector]:
    """The detector `name` with its models loaded from `weights`, closed on every way out.

    Raises:
        DataError: no such detector.
        BackendError: the back end is unavailable, or a model file is not there.
    """
    specs = detector_models(name)
    with ExitStack() as stack:
        pnet, rnet, onet = (
            stack.enter_context(open_session(backend, spec, model_file(backend, spec, weights, batch))).run
            for spec in specs
        )
        yield Mtcnn(pnet, rnet, onet, replace(settings or MtcnnSettings(), batch=batch))
