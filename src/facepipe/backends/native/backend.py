# SPDX-License-Identifier: Apache-2.0
"""What this engine takes, and the back end around it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Final

from facepipe.backends.base import RuntimeOptions, Session, Traits, network_precision, why_not_honoured
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

PRECISIONS: Final = ("f32",)
LARGEST_FILE: Final = 1 << 23
"""Bytes of the largest model that `takes` looks into: with many channels a general library is as fast."""


@dataclass(frozen=True, slots=True)
class Native:
    """The back end `native`: networks that are a chain of layers, in f32. See `chain.chain_from_onnx`."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "native"
    traits: Traits = Traits(on_host=True, packages=("llvmlite",))

    def why_unavailable(self) -> str | None:
        # The images of a call are shared among the threads, which is what both hints ask for.
        hints = ("latency", "throughput")
        return self.why_not_installed() or why_not_honoured(self.options, PRECISIONS, hints=hints)

    def why_not_installed(self) -> str | None:
        """What is missing and what to install; None when nothing is."""
        for needed in ("llvmlite", "onnx"):
            if importlib.util.find_spec(needed) is None:
                return f"no module named '{needed}'; pip install 'facepipe[native]'."
        return None

    def takes(self, spec: ModelSpec, content: bytes) -> bool:
        """Whether it can run the model that these bytes are in the precision that was asked for.

        What counts is the file, whatever the network's name: it is small, and a chain of layers.
        """
        if network_precision(spec, self.options.precision) != "f32":
            return False
        if len(content) > LARGEST_FILE:
            return False
        from facepipe.backends.native.chain import chain_from_onnx

        try:
            chain_from_onnx(content, spec.name)
        except BackendError:
            return False
        return True

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """The network compiled for this processor, or read from the cache.

        Raises:
            BackendError: the file is no chain of layers.
        """
        from facepipe.backends.native.session import load_native

        return load_native(model, self.options.threads, self.options.cache)
