# SPDX-License-Identifier: Apache-2.0
"""Two back ends as one: each model goes to the first one where that takes it, the others to the second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from facepipe.backends.base import Backend, RuntimeOptions, Session, Traits, model_file
from facepipe.backends.native.backend import Native
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec


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

    def engine(self, spec: ModelSpec, path: Path) -> Backend:
        """The one that runs this model's file."""
        return self.first if self.first.takes(spec, path) else self.second

    def load(self, spec: ModelSpec, path: Path) -> Session:
        """As the engine of this model does it; with that one's errors."""
        return self.engine(spec, path).load(spec, path)


def engines(backend: Backend, specs: Iterable[ModelSpec], weights: Path, batch: int) -> dict[str, str]:
    """The engine of each model whose file is there, by the model's name."""
    found = {}
    for spec in specs:
        try:
            path = model_file(backend, spec, weights, batch)
        except BackendError:  # a compiled file that is not there; to load it will say so
            continue
        if path.is_file():
            found[spec.name] = engine_of(backend, spec, path)
    return found


def engine_of(backend: Backend, spec: ModelSpec, path: Path) -> str:
    """The name of what executes this model's file: the back end's own, or one of a pair."""
    return backend.engine(spec, path).name if isinstance(backend, ByModel) else backend.name
