# SPDX-License-Identifier: Apache-2.0
"""Zeros of the declared shape: times the harness around a network, and tests it without one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from facepipe.backends.base import RuntimeOptions, Session, Traits
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent


@dataclass(frozen=True, slots=True)
class NullSession:
    """Answers every call with zeros of the least declared size, at the batch it was given."""

    spec: ModelSpec
    fixed_batch: int | None = None

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        batch = len(inputs[0])
        return tuple(
            np.zeros((batch, *(dim.low for dim in tensor.dims[1:])), tensor.dtype) for tensor in self.spec.outputs
        )

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Null:
    """The back end `null`. Zeros are the same under every option."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "null"
    traits: Traits = Traits(on_host=True)

    def why_unavailable(self) -> str | None:
        return None

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        return NullSession(spec)
