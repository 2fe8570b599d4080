# SPDX-License-Identifier: Apache-2.0
"""The faces of photographs anywhere, one photograph after the other, each drawn as soon as it was looked at."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facepipe.datasets.images import list_keys
from facepipe.errors import DataError
from facepipe.escape import for_terminal
from facepipe.faces.photographs import EVERYDAY, MAX_FILE_BYTES, Limits, photographs_of, read_given
from facepipe.faces.pipeline import FacePipeline, each_face
from facepipe.reports.drawings import DRAWN, draw_detections, drawing_names, require_drawable, write_drawing
from facepipe.results import Detections, Unread
from facepipe.store.owned import claim, require_free
from facepipe.store.parts import remove_parts
from facepipe.store.run_faces import face_as_json

STANDARD_INPUT = Path("-")

TEXT_HEADER = "        x1       y1       x2       y2   score  landmarks (x, y)"
"""Stands above the faces of `Detected.as_text`."""

_ELSEWHERE = "--draw with another folder."


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """One photograph.

    Attributes:
        name: the path that it was given by.
        height, width: of the photograph as it is seen, in which boxes are; 0 where it could not be read.
        found: its faces, or why it could not be read.
    """

    name: str
    height: int
    width: int
    found: Detections | Unread

    def as_json(self) -> dict[str, object]:
        """What a line of JSON tells; docs/file-formats.md describes it."""
        if isinstance(self.found, Unread):
            return {"photograph": self.name, "error": self.found.reason}
        faces = [face_as_json(face) for face in each_face(self.found)]
        return {"photograph": self.name, "width": self.width, "height": self.height, "faces": faces}

    def as_text(self) -> str:
        """A line for the photograph and one for each face."""
        if isinstance(self.found, Unread):
            return for_terminal(f"{self.name}: {self.found.reason}.")
        lines = [for_terminal(f"{self.name}: {len(self.found)} face{'' if len(self.found) == 1 else 's'}")]
        for face in each_face(self.found):
            corners = " ".join(f"{value:8.1f}" for value in face.box)
            marks = " ".join(f"({x:.1f}, {y:.1f})" for x, y in face.landmarks)
            lines.append(f"  {corners}  {face.score:.4f}  {marks}")
        return "\n".join(lines)


def photographs_given(given: Sequence[Path], draw: Path | None = None) -> list[Path]:
    """The files that were given, and in place of a folder the photographs in it, without the drawings of `draw`.

    Raises:
        DataError: a folder holds no photograph.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += [path / key for key in (list_keys(path) if draw is None else photographs_of(path, draw))]
        else:
            found.append(path)
    return found


def drawing_paths(
    given: Sequence[Path], photographs: Sequence[Path], draw: Path, *, overwrite: bool = False
) -> dict[Path, Path]:
    """Each photograph's drawing, and their folder made ready, before anything is drawn.

    One file that was given has its drawing at `draw`, if that ends like a picture. Else `draw` is a folder, in which
    every drawing has its photograph's path from the folder that holds all those given (of one folder: from there).

    Args:
        given: files and folders, as a user names them; `photographs` are those of `photographs_given`.
        overwrite: files that are there already may be replaced.

    Raises:
        DataError: two photographs have one drawing, or a drawing would be written over a photograph.
        StageError: something is in the way that is not facepipe's.
    """
    if draw.suffix and not draw.is_dir() and len(given) == 1 and not given[0].is_dir():
        require_drawable(draw)
        drawings = {photographs[0]: draw}
    elif draw.suffix.lower() in DRAWN.split() and not draw.is_dir():
        raise DataError(f"{draw}: one drawing for {len(photographs):,} photographs, expected a folder.", _ELSEWHERE)
    else:
        above = os.path.commonpath([_named(path if path.is_dir() else path.parent) for path in given])
        keys = [Path(os.path.relpath(_named(path), above)).as_posix() for path in photographs]
        names = drawing_names(keys)
        drawings = {path: draw / names[key] for path, key in zip(photographs, keys, strict=True)}
    own = {path.resolve() for path in photographs}
    for drawing in drawings.values():
        if drawing.resolve() in own:
            raise DataError(f"{drawing}: would be drawn over a photograph, expected another place.", "another --draw.")
    if draw not in drawings.values():
        claim(draw, _ELSEWHERE)
        remove_parts(draw)  # of a killed call
    require_free(drawings.values(), overwrite)
    return drawings


def in_another_format(drawings: Mapping[Path, Path]) -> str | None:
    """That some drawings are in another format than their photographs, in words; None where none is."""
    other = [drawing for path, drawing in drawings.items() if drawing.name == f"{path.name}{drawing.suffix}"]
    if not other:
        return None
    return f"drawn in another format than the photograph's, which holds no drawing: {len(other):,} (first: {other[0]})"


def standard_input(photographs: Sequence[Path]) -> dict[Path, bytes]:
    """The content of `-`, where it is among the photographs.

    Raises:
        DataError: there is nothing, or more than of a file is read.
    """
    if STANDARD_INPUT not in photographs or sys.stdin is None:
        return {}
    content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if not content or len(content) > MAX_FILE_BYTES:
        size = f"more than {MAX_FILE_BYTES:,}" if content else "no"
        raise DataError(f"standard input: {size} bytes came, expected a photograph.")
    return {STANDARD_INPUT: content}


def detect_photographs(
    pipeline: FacePipeline,
    photographs: Sequence[Path],
    batch: int,
    limits: Limits = EVERYDAY,
    drawings: Mapping[Path, Path] | None = None,
    *,
    overwrite: bool = False,
    content: Mapping[Path, bytes] | None = None,
) -> Iterator[Detected]:
    """The faces of each photograph, in their order, as they come; drawn by then, where it has a drawing.

    Args:
        batch: photographs that are looked at together; an answer does not depend on the others.
        drawings: of `drawing_paths`.
        content: of photographs that are no files.
    """
    names = iter(photographs)
    for members in read_given([(content or {}).get(path, path) for path in photographs], batch, limits):
        read = iter(pipeline.detect([one.decoded for one in members if not isinstance(one.decoded, Unread)]))
        for one in members:
            path, image = next(names), one.decoded
            if isinstance(image, Unread):
                yield Detected(str(path), 0, 0, image)
                continue
            found = next(read)
            if path in (drawings or {}):
                drawn = draw_detections(image.pixels, found.scaled(*image.scale))
                write_drawing((drawings or {})[path], drawn, overwrite=overwrite)
            yield Detected(str(path), image.height, image.width, found)


def _named(path: Path) -> str:
    """The whole path, links as they are called."""
    return os.path.normpath(path.absolute())
