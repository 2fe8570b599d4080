# SPDX-License-Identifier: Apache-2.0
"""Photographs of people into a gallery, and its threshold: what `facepipe gallery` does, for programs too."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facepipe.backends.base import MadeBy
from facepipe.datasets.face_sets import open_face_set
from facepipe.datasets.image_records import read_labels
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import read_verification_set
from facepipe.errors import DataError
from facepipe.faces.photographs import EVERYDAY, Limits
from facepipe.faces.verdict import threshold_of
from facepipe.gallery.calibrate import calibrate, embed_set
from facepipe.gallery.faces import Recogniser, folder_faces
from facepipe.gallery.file import (
    Gallery,
    Threshold,
    empty_gallery,
    require_model,
    update_gallery,
    with_rows,
)
from facepipe.gallery.person_name import person_name
from facepipe.results import Face, FaceLine, NoFace, UncutFace, Unread
from facepipe.specs import ModelSpec
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, read_embeddings, read_faces, read_main_faces
from facepipe.store.run_record import RUN_FILE, read_run


def named_photographs(root: Path, labels: Path | None = None, name: str | None = None) -> dict[str, str]:
    """The photographs to enrol, sorted, and the name of each: by the lines of `labels`, or one name, or by sub-folder.

    Raises:
        DataError: a photograph has no name, or a label names a photograph that is not there.
    """
    if labels is None:
        keys = list_keys(root)
        if name is not None:
            return dict.fromkeys(keys, name)
        loose = [key for key in keys if "/" not in key]
        if loose:
            raise DataError(
                f"{root}: {len(loose)} photographs lie in no person's folder (first: {loose[0]}), expected <name>/....",
                "--labels with lines 'path<TAB>name', or --name for one person.",
            )
        return {key: key.partition("/")[0] for key in keys}
    names: dict[str, str] = {}
    for path, label in read_labels(labels):
        key = Path(os.path.normpath(path)).as_posix()
        if not (root / key).is_file():
            raise DataError(f"{labels}: '{path}' is no file below {root}, expected its photographs' paths.")
        if names.setdefault(key, label) != label:
            raise DataError(f"{labels}: '{path}' is called '{names[key]}' and '{label}', expected one name.")
    return dict(sorted(names.items()))


@dataclass(frozen=True, slots=True, eq=False)
class Enrolment:
    """The main face of each photograph.

    Attributes:
        labels, sources: N names and photographs, in the order of the photographs.
        embeddings: float32 [N, D].
        left_out: (photograph, reason) of those without a row.
        lost: people of whom no photograph has a face.
    """

    labels: tuple[str, ...]
    sources: tuple[str, ...]
    embeddings: np.ndarray
    left_out: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]


def enrol(
    root: Path,
    names: Mapping[str, str],
    recogniser: Recogniser,
    *,
    batch: int = 16,
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> Enrolment:
    """One embedding for each photograph that has a face; the others are listed with their reasons, none is lost.

    Args:
        names: photograph below `root` to name; see `named_photographs`.

    Raises:
        DataError: a name is none that a gallery can hold.
    """
    people = _people(names)  # refuses names before anything is computed
    found = folder_faces(
        root, list(names), recogniser.pipeline, batch=batch, main=True, limits=limits, progress=progress
    )
    labels = tuple(names[key] for key in found.keys)
    return Enrolment(labels, found.keys, found.embeddings, found.left_out, tuple(sorted(people - set(labels))))


def enrol_run(run: Path, recogniser: Recogniser, labels: Path | None = None, name: str | None = None) -> Enrolment:
    """The faces of a finished run, from the embeddings that lie there, named as `named_photographs` names photographs.

    Args:
        labels: lines "path<TAB>name", or "path#2<TAB>name" for that face of a photograph with several.

    Raises:
        DataError: the run is of other weights; a photograph has no name, or several faces and no label tells which; or
            a label names a face that is not there.
    """
    _root_of(run, recogniser)  # refuses a run of other weights
    lines = list(read_faces(run / FACES_FILE))
    faces = Counter(line.key for line in lines if line.row is not None)
    called = dict(read_labels(labels)) if labels is not None else {}
    if strange := sorted(called.keys() - _labels_of(lines)):
        raise DataError(f"{labels}: '{strange[0]}' is no photograph of {run}, and no face of one, expected its keys.")
    rows: list[tuple[str, str, int]] = []
    left_out: list[tuple[str, str]] = []
    for line in lines:
        outcome, own = line.outcome, called.get(line.key, name if labels is None else None)
        if labels is None and name is None:
            own = _folder_of(run, line.key)
        if isinstance(outcome, Face) and faces[line.key] > 1:
            if own is not None:
                raise DataError(
                    f"{run}: {line.key} has {faces[line.key]} faces, expected to be told whose each of them is.",
                    f"--labels with lines '{line.key}#0<TAB>name'; or `facepipe cluster {run}`, and --names.",
                )
            own = called.get(face_name(line.key, outcome))
        if own is None:
            continue
        if isinstance(outcome, Face):
            rows.append((own, face_name(line.key, outcome) if faces[line.key] > 1 else line.key, line.row or 0))
        elif isinstance(outcome, NoFace | Unread | UncutFace):
            left_out.append((line.key, outcome.reason))
    wanted = _people(called if labels is not None else {key: own for own, key, _ in rows})
    embeddings = np.asarray(read_embeddings(run / EMBEDDINGS_FILE, faces.total())[[row for _, _, row in rows]])
    names, sources = tuple(own for own, _, _ in rows), tuple(source for _, source, _ in rows)
    return Enrolment(names, sources, embeddings, tuple(left_out), tuple(sorted(wanted - set(names))))


def face_name(key: str, face: Face) -> str:
    """What a face is called, in labels and as the source of a row."""
    return f"{key}#{face.number}"


def _labels_of(lines: Sequence[FaceLine]) -> set[str]:
    """All that a label can name."""
    faces = {face_name(line.key, line.outcome) for line in lines if isinstance(line.outcome, Face)}
    return faces | {line.key for line in lines}


def _folder_of(run: Path, key: str) -> str:
    """The person whose folder a photograph lies in."""
    if "/" not in key:
        raise DataError(
            f"{run}: {key} lies in no person's folder, expected <name>/....",
            "--labels with lines 'path<TAB>name', or --name for one person.",
        )
    return key.partition("/")[0]


def _people(names: Mapping[str, str]) -> set[str]:
    """The people, after making sure that each can be called so."""
    people = set(names.values())
    for name in sorted(people):
        person_name(name)
    return people


def new_gallery(recogniser: Recogniser, enrolled: Enrolment, threshold: Threshold | None, made_by: MadeBy) -> Gallery:
    """A gallery of these rows, bound to the recogniser's weights, which tells what computed them."""
    gallery = empty_gallery(recogniser.model, recogniser.weights_sha256, recogniser.dimension)
    gallery = with_rows(gallery, list(enrolled.labels), list(enrolled.sources), enrolled.embeddings)
    return replace(gallery, threshold=threshold, made_by=made_by)


def add_to_gallery(path: Path, recogniser: Recogniser, enrolled: Enrolment) -> tuple[Gallery, int]:
    """The gallery as it is by now with these rows, and how many of them took the place of older ones.

    Raises:
        StageError: the gallery is of other weights.
    """
    before: list[int] = []

    def grown(now: Gallery) -> Gallery:
        require_model(now, recogniser.model, recogniser.weights_sha256, str(path))
        before.append(len(now))
        return with_rows(now, list(enrolled.labels), list(enrolled.sources), enrolled.embeddings)

    gallery = update_gallery(path, grown)
    return gallery, before[0] + len(enrolled.labels) - len(gallery)


def known_threshold(spec: ModelSpec, note: str | None) -> Threshold | None:
    """The catalogue's threshold for an embedder, or its own record's; None where there is none, or only behind another
    alignment.

    Args:
        note: see `faces.verdict.threshold_of`.
    """
    known = threshold_of(spec, note)
    return None if known is None else Threshold(known.similarity, known.far, known.source)


def calibrated(
    where: Path,
    pairs: Path | None,
    far: float,
    recogniser: Recogniser,
    progress: Callable[[int], None] = lambda _: None,
) -> Threshold:
    """The threshold for a false-accept rate, on a set of aligned faces or on the folder of a finished run.

    Raises:
        DataError: the set has too few pairs for the rate; or the run is of other weights, or no pairs file was given.
    """
    if not (where / FACES_FILE).is_file():
        faces = open_face_set(where, pairs)
        assert recogniser.pipeline.embedder is not None, "a recogniser embeds"
        return calibrate(faces.pairs, embed_set(faces, recogniser.pipeline.embedder, progress), far, where.name)
    if pairs is None:
        raise DataError(f"{where}: it is a run, expected --pairs with the pairs of its photographs.")
    root = _root_of(where, recogniser)
    lines = [line for line in read_main_faces(where / FACES_FILE) if line.row is not None]
    embeddings = read_embeddings(where / EMBEDDINGS_FILE, len(lines))
    if embeddings.shape[1] != recogniser.dimension:
        raise DataError(f"{where}: embeddings of {embeddings.shape[1]} numbers, expected {recogniser.dimension}.")
    rows = {line.key: np.asarray(embeddings[line.row]) for line in lines}
    return calibrate(read_verification_set(pairs, root), rows, far, where.name)


def _root_of(run: Path, recogniser: Recogniser) -> Path:
    """Where the photographs of a run lay; refuses one whose own record does not name these weights."""
    record = read_run(run)
    models: Sequence[Mapping[str, object]] = record.get("models", [])
    wanted = (recogniser.model, recogniser.weights_sha256)
    if not any((entry.get("model"), entry.get("weights_sha256")) == wanted for entry in models):
        named = ", ".join(str(entry.get("model")) for entry in models) or "no model"
        raise DataError(
            f"{run / RUN_FILE}: it names {named}, expected {recogniser.model} with weights "
            f"{recogniser.weights_sha256[:12]}....",
        )
    return Path(str(record.get("root", "")))
