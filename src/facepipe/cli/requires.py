# SPDX-License-Identifier: Apache-2.0
"""Commands that read ONNX files need the package onnx; a board, and a machine that only compiles, may lack it."""

from __future__ import annotations

import importlib.util

from facepipe.errors import BackendError


def has_onnx() -> bool:
    """Whether ONNX files can be read here."""
    return importlib.util.find_spec("onnx") is not None


def need_onnx() -> None:
    """Raise BackendError where the package is absent."""
    if not has_onnx():
        raise BackendError("no module named 'onnx', which reads the model files.", "pip install onnx, without torch.")
