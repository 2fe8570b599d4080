# SPDX-License-Identifier: Apache-2.0
"""A recogniser as a function from crops to points on the unit sphere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facepipe.backends.base import Backend, Run, Stated, model_file, open_session
from facepipe.errors import TensorError
from facepipe.geometry.normalise import normalise
from facepipe.specs import ModelSpec
from facepipe.store.provenance import ModelFile


@dataclass(frozen=True, slots=True)
class Embedder:
    """Crops to embeddings of length 1, `batch` at a time.

    Attributes:
        fixed_batch: the batch that every call must have; short ones are padded with zeros and cut again. None: any.
        file: that was loaded, by digest; None where no file is behind the network.
    """

    spec: ModelSpec
    run: Run
    batch: int
    fixed_batch: int | None = None
    file: ModelFile | None = None

    @property
    def rows_per_call(self) -> int:
        """The crops of one call of the network."""
        return self.fixed_batch or self.batch

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """Unit embeddings.

        Args:
            crops: uint8 [N, S, S, 3], RGB, S as the specification's alignment says.

        Returns:
            float32 [N, D], rows of length 1.

        Raises:
            TensorError: crops of another size; or a network that returned something with no direction.
        """
        return unit_rows(self.raw(crops), self.spec.name)

    def raw(self, crops: np.ndarray) -> np.ndarray:
        """The network's own answers, float32 [N, D], of any length. Arguments as `embed`'s.

        Raises:
            TensorError: crops of another size.
        """
        width = self.spec.outputs[0].dims[1].high
        size = self.rows_per_call
        parts = [self._raw_batch(crops[start : start + size]) for start in range(0, len(crops), size)]
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)

    def _raw_batch(self, crops: np.ndarray) -> np.ndarray:
        images = normalise(crops, self.spec.pixels)
        if self.fixed_batch is not None and len(images) < self.fixed_batch:
            images = np.concatenate(
                [images, np.zeros((self.fixed_batch - len(images), *images.shape[1:]), images.dtype)]
            )
        (raw,) = self.run(images)
        return raw[: len(crops)]


def unit_rows(raw: np.ndarray, where: str) -> np.ndarray:
    """Rows divided by their length: float32 [N, D].

    Raises:
        TensorError: a row is zero or not finite, so that it has no direction.
    """
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise TensorError(
            f"{where}: the embedding of row {bad[0]} has length {lengths[bad[0], 0]}, expected a finite positive one.",
            "a precision with more range; fp16 overflows above 65504.",
        )
    return (raw / lengths).astype(np.float32)


@contextmanager
def open_embedder(
    spec: ModelSpec, backend: Backend, weights: Path, batch: int, *, stated: Stated | None = None
) -> Iterator[Embedder]:
    """The recogniser `spec` loaded from `weights`, closed on every way out.

    Args:
        stated: sha256 of each model file; see `open_session`.

    Raises:
        BackendError: the back end is unavailable, or the model file is not there.
        StageError: the model file is another than was stated, or than the record beside it says.
    """
    with open_session(backend, spec, model_file(backend, spec, weights, batch), stated) as session:
        rows = backend.traits.rows_per_call(batch)
        yield Embedder(spec, session.run, rows, session.fixed_batch, session.file)
