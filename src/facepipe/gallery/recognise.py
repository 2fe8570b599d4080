# SPDX-License-Identifier: Apache-2.0
"""Names written on the faces of photographs and films, with the answers in JSON beside every drawing. Films stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from facepipe.datasets.video import Frame, open_writer, read_frames, read_info
from facepipe.errors import DataError
from facepipe.faces.photographs import EVERYDAY, Limits, checked, read_photographs
from facepipe.faces.pipeline import Image
from facepipe.gallery.faces import Recogniser
from facepipe.gallery.file import Gallery, Threshold
from facepipe.gallery.naming import NamedFace, NamedPhotograph, Namer
from facepipe.gallery.search import IndexKind, Rule, build_index
from facepipe.reports.drawings import drawing_names, write_drawing
from facepipe.reports.fonts import Font
from facepipe.reports.recognition_drawing import Colour, Label, colours_of, draw_names, font_for
from facepipe.results import Unread
from facepipe.store.files import atomic_path, sha256_of_file, sidecar_of, write_json
from facepipe.store.owned import claim, remove
from facepipe.store.parts import remove_parts
from facepipe.store.run_faces import face_as_json, write_embeddings

Name = Callable[[Sequence[Image]], list[NamedPhotograph]]


@dataclass(frozen=True, slots=True)
class Recognition:
    """What is done to every photograph.

    Attributes:
        name: from photographs to their faces with names.
        font, colours: of the drawing.
        head: begins every JSON file: which gallery, which models.
        batch: photographs that are looked at together.
    """

    name: Name
    font: Font
    colours: Mapping[str, Colour]
    head: Mapping[str, object]
    batch: int
    limits: Limits = EVERYDAY


@dataclass(frozen=True, slots=True)
class Recognised:
    """Photographs or frames, their faces, those with a name, and (photograph, reason) of what was left out."""

    photographs: int
    faces: int
    known: int
    left_out: tuple[tuple[str, str], ...] = ()


_ELSEWHERE = "another --output."


def recognition(
    recogniser: Recogniser,
    gallery: Gallery,
    threshold: Threshold,
    told: Mapping[str, object],
    *,
    batch: int,
    limits: Limits = EVERYDAY,
    search: IndexKind = "exact",
    candidates: int = 5,
    rule: Rule = "best",
    font: Path | None = None,
) -> Recognition:
    """Names of a gallery, which is the recogniser's, for every face.

    Args:
        told: begins every JSON file, before what the models are: which gallery, which detector.
        batch: photographs that are looked at together.
        search, candidates, rule: see `gallery.search`.
        font: for the names; None: one that has their letters.

    Raises:
        BackendError: faiss, which the approximate search needs, is not installed.
    """
    index = build_index(gallery.embeddings, search)
    namer = Namer(recogniser.pipeline, gallery, index, threshold, candidates=candidates, rule=rule)
    people = gallery.people()
    head = {
        **told,
        "embedder": recogniser.model,
        "weights_sha256": recogniser.weights_sha256,
        "threshold": threshold.similarity,
    }
    letters = font_for(["unknown 0123456789.", *people], font)
    return Recognition(namer, letters, colours_of(people), head, batch, limits)


def _silent(key: str, photograph: NamedPhotograph) -> None:
    """Tells nobody."""


def recognise_photographs(
    asked: Recognition,
    root: Path,
    keys: Sequence[str],
    output: Path,
    *,
    progress: Callable[[int], None] = lambda _: None,
    told: Callable[[str, NamedPhotograph], None] = _silent,
) -> Recognised:
    """Draw the names on photographs below `root`, into `output`; beside each drawing its JSON file.

    Args:
        told: given each photograph's key and faces.

    Raises:
        DataError: a drawing would be written over its photograph, or two photographs would have one.
        StageError: `output` holds something and is none of facepipe's folders.
    """
    names = drawing_names(keys)
    claim(output, _ELSEWHERE)
    remove_parts(output)  # of a killed call
    left_out: list[tuple[str, str]] = []
    photographs = faces = known = 0
    for members in read_photographs(root, keys, asked.batch, asked.limits):
        left_out += [(one.key, one.decoded.reason) for one in members if isinstance(one.decoded, Unread)]
        read = [(one.key, one.decoded) for one in members if not isinstance(one.decoded, Unread)]
        for (key, image), photograph in zip(read, asked.name([image for _, image in read]), strict=True):
            target = output / names[key]
            if target.resolve() == (root / key).resolve():
                raise DataError(f"{target}: it would be written over the photograph, expected another --output.")
            write_drawing(target, _drawn(asked, image.pixels, photograph, image.scale))
            content = {**asked.head, "photograph": key, "height": image.height, "width": image.width}
            if rows := _rows(photograph):
                write_embeddings(embeddings_of(target), len(rows), len(rows[0]), [np.stack(rows)])
                content["embeddings_sha256"] = sha256_of_file(embeddings_of(target))
            else:
                remove(embeddings_of(target))  # of an earlier call
            write_json(sidecar_of(target), content | _told(photograph, 0))
            photographs += 1
            faces += len(photograph.faces)
            known += sum(_person(face) is not None for face in photograph.faces)
            told(key, photograph)
        progress(len(members))
    return Recognised(photographs, faces, known, tuple(left_out))


def recognise_film(
    asked: Recognition, film: Path, target: Path, *, progress: Callable[[int], None] = lambda _: None
) -> Recognised:
    """Draw the names on a film, frame by frame, into `target`; the answers go into a line for each frame beside it.

    Raises:
        DataError: the film cannot be read, its frames are larger than the limits, or it would be written over itself.
        BackendError: PyAV is not installed.
    """
    claim(target.parent, _ELSEWHERE)
    remove_parts(target.parent)
    info = read_info(film)
    if target.resolve() == film.resolve():
        raise DataError(f"{target}: it would be written over the film, expected another --output.")
    frames = faces = known = rows = dimension = 0
    with (
        open_writer(target, info) as write,
        atomic_path(lines_of(target)) as part,
        part.open("w", encoding="utf-8") as lines,
        TemporaryFile() as spool,
    ):
        _line(lines, {**asked.head, "film": film.name})
        for batch in _in_batches(read_frames(film), asked.batch):
            for frame, photograph in zip(batch, asked.name(_looked_at(film, batch, asked.limits)), strict=True):
                write(Frame(_drawn(asked, frame.image, photograph), frame.ticks))
                seconds = round(float(frame.ticks * info.time_base), 4)
                _line(lines, {"frame": frames, "seconds": seconds} | _told(photograph, rows))
                for row in _rows(photograph):
                    spool.write(row.tobytes())
                    rows, dimension = rows + 1, len(row)
                frames += 1
                faces += len(photograph.faces)
                known += sum(_person(face) is not None for face in photograph.faces)
            progress(len(batch))
        if rows:
            write_embeddings(embeddings_of(target), rows, dimension, _spooled(spool, dimension))
        else:
            remove(embeddings_of(target))  # of an earlier call
    return Recognised(frames, faces, known)


def lines_of(target: Path) -> Path:
    """Where the answers for a drawn film's frames are."""
    return target.with_name(f"{target.name}.jsonl")


def embeddings_of(target: Path) -> Path:
    """Where the embeddings of a drawing's faces are, by `row`."""
    return target.with_name(f"{target.name}.npy")


def _rows(photograph: NamedPhotograph) -> list[np.ndarray]:
    """The embeddings that a gallery was asked with."""
    return [face.embedding for face in photograph.faces if face.embedding is not None]


def _spooled(spool: IO[bytes], dimension: int) -> Iterator[np.ndarray]:
    """Rows that were written one after the other, in blocks."""
    spool.seek(0)
    while content := spool.read(4 * dimension * 4096):
        yield np.frombuffer(content, np.float32).reshape(-1, dimension)


def _looked_at(film: Path, frames: Sequence[Frame], limits: Limits) -> list[np.ndarray]:
    images = []
    for frame in frames:
        image = checked(frame.image, limits)
        if isinstance(image, Unread):
            raise DataError(f"{film}: a frame {image.reason}.", "--max-pixels with more.")
        images.append(image)
    return images


def _in_batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, size)):
        yield batch


def _line(lines: IO[str], value: object) -> None:
    lines.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def _drawn(
    job: Recognition, image: np.ndarray, photograph: NamedPhotograph, scale: tuple[float, float] = (1, 1)
) -> np.ndarray:
    """Names on what was decoded of a photograph, whose pixels are `scale` of its own."""
    labels = [Label(face.face.scaled(*scale).box, plate_of(face), _person(face)) for face in photograph.faces]
    return draw_names(image, labels, job.font, job.colours)


def _person(face: NamedFace) -> str | None:
    return None if face.answer is None else face.answer.label


def plate_of(face: NamedFace) -> str:
    """The name and how near it is; "unknown"; or the detector's score where no gallery was asked."""
    if face.answer is None:
        return f"{face.face.score:.2f}"
    if not face.answer.is_known or face.answer.similarity is None:
        return face.answer.text
    return f"{face.answer.text} {face.answer.similarity:.2f}"


def _told(photograph: NamedPhotograph, row: int) -> dict[str, object]:
    """The faces as JSON; `row` is that of the first one's embedding."""
    faces = []
    for named in photograph.faces:
        told = face_as_json(named.face)
        if named.embedding is not None:
            told["row"] = row
            row += 1
        if named.answer is not None:
            told["label"] = named.answer.label
            told["similarity"] = named.answer.similarity
            told["candidates"] = [asdict(near) for near in named.answer.candidates]
        faces.append(told)
    return {"faces": faces, "left_out": list(photograph.left_out)}
