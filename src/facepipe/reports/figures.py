# SPDX-License-Identifier: Apache-2.0
"""matplotlib by its objects, never by pyplot: no window, no global figure, no display needed."""

from __future__ import annotations

import importlib
import io
from typing import Any

from facepipe.errors import BackendError


def new_figure(caption: str) -> Any:
    """A figure of one size for all, with what it is of under its axes.

    Raises:
        BackendError: matplotlib is not installed.
    """
    require_matplotlib()
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(7, 5.6), layout="constrained")
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def require_matplotlib() -> None:
    """Refuse before any work where it is not installed.

    Raises:
        BackendError: it is not.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise BackendError(
            f"matplotlib is not installed ({error}), expected it for drawing.", "pip install 'facepipe[report]'"
        ) from error


def png_of(figure: Any) -> bytes:
    """The figure as a PNG file."""
    canvas = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    figure.set_dpi(120)
    target = io.BytesIO()
    canvas.print_png(target)
    return target.getvalue()
