# SPDX-License-Identifier: Apache-2.0
"""Groups of faces for the eye: a contact sheet for each person, and one of the faces that stayed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from facepipe.faces.photographs import EVERYDAY, Limits, decoded_or_error
from facepipe.faces.pipeline import crop_of
from facepipe.reports.drawings import contact_sheet, write_drawing
from facepipe.results import Face, NoFace
from facepipe.specs import ModelSpec

Faces = Sequence[tuple[str, Face]]

MOST_ON_A_SHEET = 120


def write_sheets(
    out: Path,
    root: Path,
    groups: dict[str, Faces],
    recogniser: ModelSpec,
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write `<out>/<name>.png` for each group: its faces, cut out as the recogniser saw them, with their photograph.

    A sheet has the first MOST_ON_A_SHEET faces; one photograph is held at a time.

    Args:
        groups: name to (key below `root`, face).
        recogniser: whose crops they are.
        progress: called with 1 for each sheet.

    Raises:
        DataError: a photograph cannot be read any more.
    """
    for name, faces in groups.items():
        shown = faces[:MOST_ON_A_SHEET]
        cut = [(key, crop_of(decoded_or_error(root / key, limits), face, recogniser)) for key, face in shown]
        crops = [(key, crop) for key, crop in cut if not isinstance(crop, NoFace)]
        write_drawing(out / f"{name}.png", contact_sheet([crop for _, crop in crops], [key for key, _ in crops]))
        progress(1)
