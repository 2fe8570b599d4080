# SPDX-License-Identifier: Apache-2.0
"""Face detection and recognition from PyTorch weights to a device, with an accuracy that does not move on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facepipe.api import open_faces as open

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def __getattr__(name: str) -> Any:
    """`facepipe.open`, loaded when it is first used, so that `facepipe --help` need not load NumPy."""
    if name == "open":
        from facepipe.api import open_faces

        return open_faces
    raise AttributeError(f"module 'facepipe' has no attribute '{name}', expected one of {', '.join(__all__)}")
