# SPDX-License-Identifier: Apache-2.0
"""Precision over recall on WIDER FACE, as a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from facepipe.datasets.widerface import SETTINGS
from facepipe.reports.figures import new_figure, png_of
from facepipe.runs.score_detection import WiderScores
from facepipe.store.files import write_bytes

_COLOURS = {"easy": "#1f6fb4", "medium": "#d1662a", "hard": "#3b8f4a"}


def draw_precision_recall(path: Path, scores: WiderScores, caption: str) -> None:
    """Write the three curves at IoU 0.5 as PNG.

    Args:
        caption: of what; goes under the axes.

    Raises:
        BackendError: matplotlib is not installed.
    """
    figure = new_figure(caption)
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
    write_bytes(path, png_of(figure))


def curve_files(folder: Path, passes: Mapping[str, WiderScores]) -> dict[str, Path]:
    """The drawing of each pass: precision_recall.png, or one for each name where there are several."""
    if len(passes) == 1:
        return dict.fromkeys(passes, folder / "precision_recall.png")
    return {name: folder / f"precision_recall.{name}.png" for name in passes}
