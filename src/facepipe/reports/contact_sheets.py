# SPDX-License-Identifier: Apache-2.0
"""Groups of faces for the eye: a contact sheet for each person, and one of the faces that stayed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from facepipe.datasets.images import read
from facepipe.geometry.align import align, alignment_for
from facepipe.reports.drawings import contact_sheet, write_drawing
from facepipe.results import Face
from facepipe.specs import Alignment

Faces = Sequence[tuple[str, Face]]

MOST_ON_A_SHEET = 120


def write_sheets(
    out: Path,
    root: Path,
    groups: dict[str, Faces],
    alignment: Alignment,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write `<out>/<name>.png` for each group: its faces, cut out as the recogniser saw them, with their photograph.

    A sheet has the first MOST_ON_A_SHEET faces; one photograph is held at a time.

    Args:
        groups: name to (key below `root`, face).
        progress: called with 1 for each sheet.
    """
    for name, faces in groups.items():
        shown = faces[:MOST_ON_A_SHEET]
        crops = [align(read(root / key), face, alignment_for(alignment, len(face.landmarks))) for key, face in shown]
        write_drawing(out / f"{name}.png", contact_sheet(crops, [key for key, _ in shown]))
        progress(1)
