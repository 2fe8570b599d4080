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

MOST_ON_A_SHEET = 120
_COLUMN = 172  # pixels: a camera's name of a file and a box fit


def write_sheets(
    out: Path,
    root: Path,
    faces: Sequence[tuple[str, Face]],
    groups: Sequence[str],
    weak: Sequence[str | None],
    recogniser: ModelSpec,
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write `<out>/<group>.png` for each group: its faces, cut out as the recogniser saw them. Below each stand its
    photograph's key and the face's number there; its box and score; and why it links nobody, where it does not.

    A sheet has the first MOST_ON_A_SHEET faces; one photograph is held at a time.

    Args:
        faces: (key below `root`, face).
        groups, weak: of each face.
        recogniser: whose crops they are.
        progress: called with 1 for each sheet.

    Raises:
        DataError: a photograph cannot be read any more.
    """
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    for group in sorted(members):
        crops, labels = [], []
        for number in members[group][:MOST_ON_A_SHEET]:
            key, face = faces[number]
            crop = crop_of(decoded_or_error(root / key, limits), face, recogniser)
            if not isinstance(crop, NoFace):
                crops.append(crop)
                labels.append(label_of(key, face, weak[number]))
        write_drawing(out / f"{group}.png", contact_sheet(crops, labels, least_width=_COLUMN))
        progress(1)


def label_of(key: str, face: Face, weak: str | None = None) -> str:
    """What stands below a face: enough for a person to find it on its photograph."""
    left, top, right, bottom = (round(float(value)) for value in face.box)
    place = f"{left},{top} {right - left}x{bottom - top}  {face.score:.2f}"
    return "\n".join([f"{key}#{face.number}", place, weak or ""])
