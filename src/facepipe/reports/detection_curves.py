# SPDX-License-Identifier: Apache-2.0
"""Precision over recall on WIDER FACE, as a picture."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facepipe.datasets.widerface import SETTINGS
from facepipe.errors import BackendError
from facepipe.runs.score_detection import WiderScores
from facepipe.store.files import atomic_path

_COLOURS = {"easy": "#1f6fb4", "medium": "#d1662a", "hard": "#3b8f4a"}


def draw_precision_recall(path: Path, scores: WiderScores, caption: str) -> None:
    """Write the three curves at IoU 0.5 as PNG. matplotlib is used through its objects: no window, no global figure.

    Args:
        caption: of what; goes under the axes.

    Raises:
        BackendError: matplotlib is not installed.
    """
    figure_class, canvas_class = _matplotlib()
    figure = figure_class(figsize=(7, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for setting in SETTINGS:
        curve = scores.curves[setting]
        if curve.average_precision is None:
            continue
        label = f"{setting}: AP {curve.average_precision:.3f} ({curve.faces:,} faces)"
        axes.plot(curve.recall, curve.precision, color=_COLOURS[setting], linewidth=1.8, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title="WIDER FACE val, IoU 0.5")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc="lower left")
    figure.supxlabel(caption, fontsize=8, color="0.35")
    with atomic_path(path) as part, part.open("wb") as target:
        figure.set_dpi(120)
        canvas_class(figure).print_png(target)


def curve_files(folder: Path, passes: Mapping[str, WiderScores]) -> dict[str, Path]:
    """The picture of each pass: precision_recall.png, or one for each name where there are several."""
    if len(passes) == 1:
        return dict.fromkeys(passes, folder / "precision_recall.png")
    return {name: folder / f"precision_recall.{name}.png" for name in passes}


def _matplotlib() -> tuple[Any, Any]:
    try:
        return (
            importlib.import_module("matplotlib.figure").Figure,
            importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg,
        )
    except ImportError as error:
        raise BackendError(
            f"precision-recall curves: matplotlib is not installed ({error}).", "pip install 'facepipe[report]'"
        ) from error
