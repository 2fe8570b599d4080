# SPDX-License-Identifier: Apache-2.0
"""Two sheets of a staged run: photographs with the face that was chosen, and the crops, a row for each person."""

from __future__ import annotations

from pathlib import Path

from facepipe.datasets.images import read
from facepipe.reports.drawings import Picture, blank, contact_sheet, draw_face, write_drawing
from facepipe.results import Face, FaceLine
from facepipe.runs.staged_run import crop_path
from facepipe.store.run_faces import FACES_FILE, read_main_faces

FACES_SHEET, CROPS_SHEET = "faces.png", "crops.png"
CROPS_SHOWN = 8  # of each person


def write_run_sheets(out: Path, run: Path, photographs: Path, side: int) -> tuple[Path, Path]:
    """Write `out`/faces.png and `out`/crops.png of a run over <person>/<photograph>.

    Args:
        run: the staged run's folder, with its crops.
        photographs: the folder that its keys are of.
        side: of a crop, in pixels; where there is no face, a white square stands in its place.

    Raises:
        DataError: a photograph cannot be read any more.
    """
    people: dict[str, list[FaceLine]] = {}
    for line in read_main_faces(run / FACES_FILE):
        people.setdefault(line.key.partition("/")[0], []).append(line)
    first = [person[0] for person in people.values()]
    drawn = [draw_face(read(photographs / line.key), line.outcome) for line in first]
    write_drawing(out / FACES_SHEET, contact_sheet(drawn, list(map(_label, first)), columns=4))
    shown = [line for person in people.values() for line in person[:CROPS_SHOWN]]
    crops = [_crop(run, line, side) for line in shown]
    write_drawing(out / CROPS_SHEET, contact_sheet(crops, list(map(_label, shown)), columns=CROPS_SHOWN))
    return out / FACES_SHEET, out / CROPS_SHEET


def _crop(run: Path, line: FaceLine, side: int) -> Picture:
    return read(crop_path(run / "crop", line.key)) if isinstance(line.outcome, Face) else blank(side)


def _label(line: FaceLine) -> str:
    name = Path(line.key).stem
    return name if isinstance(line.outcome, Face) else f"{name.rpartition('_')[2]}: no face"
