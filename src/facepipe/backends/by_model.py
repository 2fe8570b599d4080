# SPDX-License-Identifier: Apache-2.0
"""Two back ends as one: each model goes to the first one where that takes it, the others to the second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from facepipe.backends.base import Backend, Pair, RuntimeOptions, Session, Traits, model_file
from facepipe.backends.native.backend import LARGEST_FILE, Native
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent


@dataclass(frozen=True, slots=True)
class ByModel:
    """A pair such as `native+openvino`. Both compute on the host, with the same options."""

    first: Native
    second: Backend

    @property
    def name(self) -> str:
        return f"{self.first.name}+{self.second.name}"

    @property
    def options(self) -> RuntimeOptions:
        return self.second.options

    @property
    def traits(self) -> Traits:
        return replace(self.second.traits, packages=self.first.traits.packages + self.second.traits.packages)

    def why_unavailable(self) -> str | None:
        """The reason of either. What precision a network is asked for is the second one's to know."""
        return self.first.why_not_installed() or self.second.why_unavailable()

    def engine(self, spec: ModelSpec, content: bytes) -> Backend:
        """The one that runs this model."""
        return self.first if self.first.takes(spec, content) else self.second

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """As the engine of this model does it; with that one's errors."""
        return self.engine(spec, model.content).load(spec, model)


def engines(backend: Backend, specs: Iterable[ModelSpec], weights: Path, batch: int) -> dict[str, str]:
    """The engine of each model whose file is there, by the model's name: to be told, before anything is loaded."""
    found = {}
    for spec in specs:
        try:
            path = model_file(backend, spec, weights, batch)
        except BackendError:  # a compiled file that is not there; to load it will say so
            continue
        if path.is_file():
            found[spec.name] = _engine(backend, spec, path)
    return found


def _engine(backend: Backend, spec: ModelSpec, path: Path) -> str:
    if not isinstance(backend, Pair):
        return backend.name
    with path.open("rb") as file:  # of a larger one the size alone decides
        return backend.engine(spec, file.read(LARGEST_FILE + 1)).name
