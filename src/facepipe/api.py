# SPDX-License-Identifier: Apache-2.0
"""facepipe for programs: open a detector and an embedder once, then ask them about photographs.

    import facepipe
    with facepipe.open("mtcnn", "mobilefacenet.ms1m") as faces:
        print(faces.distance("one.jpg", "other.jpg"))

The command line does more (folders, resuming, reports); this is for a few photographs inside another program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import embedder as embedder_spec
from facepipe.datasets.images import read
from facepipe.detect import Detector, open_detector
from facepipe.embed import Embedder, open_embedder
from facepipe.errors import DataError
from facepipe.faces.select import choose
from facepipe.geometry.align import align
from facepipe.metrics.verification import squared_distances
from facepipe.results import Detections, Face, NoFace

Photograph = str | Path | np.ndarray
"""A path, or uint8 [H, W, 3] in RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The face of one photograph that was chosen, and its embedding, float32 [D] of length 1."""

    face: Face
    embedding: np.ndarray


@dataclass(frozen=True, slots=True)
class Faces:
    """An open detector and an open embedder. `facepipe.open` makes one."""

    detector: Detector
    embedder: Embedder
    selection: str

    def detect(self, photographs: Sequence[Photograph]) -> list[Detections]:
        """Every face of every photograph, in their order.

        Raises:
            DataError: a photograph cannot be read.
        """
        return self.detector.detect([_pixels(photograph) for photograph in photographs])

    def embed(self, photographs: Sequence[Photograph]) -> list[Embedded | NoFace]:
        """One answer for each photograph, in their order: the chosen face with its embedding, or why there is none.

        Raises:
            DataError: a photograph cannot be read, or the detector gives no landmarks where the embedder needs them.
        """
        images = [_pixels(photograph) for photograph in photographs]
        found = self.detector.detect(images)
        chosen = [choose(d, i.shape[0], i.shape[1], self.selection) for d, i in zip(found, images, strict=True)]
        alignment = self.embedder.spec.alignment
        assert alignment is not None, f"{self.embedder.spec.name} is an embedder without an alignment"
        crops = [align(i, face, alignment) for i, face in zip(images, chosen, strict=True) if isinstance(face, Face)]
        rows = iter(self.embedder.embed(np.stack(crops)) if crops else ())
        return [Embedded(face, next(rows)) if isinstance(face, Face) else face for face in chosen]

    def distance(self, one: Photograph, other: Photograph) -> float:
        """The squared Euclidean distance of the two embeddings, in [0, 4]: small means the same person.

        Raises:
            DataError: one of the photographs cannot be read or has no face.
        """
        first, second = (self._vector(photograph) for photograph in (one, other))
        return float(squared_distances(first[None], second[None])[0])

    def _vector(self, photograph: Photograph) -> np.ndarray:
        (answer,) = self.embed([photograph])
        if isinstance(answer, NoFace):
            name = "the array" if isinstance(photograph, np.ndarray) else photograph
            raise DataError(f"{name}: {answer.reason}, expected a photograph with a face.")
        return answer.embedding


@contextmanager
def open_faces(
    detector: str = "mtcnn",
    embedder: str = "facenet.vggface2",
    *,
    backend: str = "onnxruntime",
    weights: Path | str = "weights",
    batch: int = 16,
    threads: int = 1,
    selection: str = "center_weighted_size",
) -> Iterator[Faces]:
    """A detector and an embedder, loaded from converted models and closed on every way out.

    Args:
        detector, embedder: names of the catalogue; `facepipe models` lists them.
        backend: what executes them; `facepipe backends` lists what can run here.
        weights: the folder that `facepipe onnx` (or `facepipe om`) wrote.
        batch: the most photographs or crops in one call of a network.
        threads: of each network.
        selection: which of several faces `embed` takes; a name of `facepipe.faces.select.SELECTIONS`.

    Raises:
        DataError: a name is not in the catalogue.
        BackendError: the back end is unavailable here, or a model was not converted yet.
    """
    spec = embedder_spec(embedder)
    runner = backend_by_name(backend, RuntimeOptions(threads=threads))
    folder = Path(weights)
    with (
        open_detector(detector, runner, folder, batch) as opened_detector,
        open_embedder(spec, runner, folder, batch) as opened_embedder,
    ):
        yield Faces(opened_detector, opened_embedder, selection)


def _pixels(photograph: Photograph) -> np.ndarray:
    return photograph if isinstance(photograph, np.ndarray) else read(Path(photograph))
