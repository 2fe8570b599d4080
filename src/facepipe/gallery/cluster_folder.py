# SPDX-License-Identifier: Apache-2.0
"""What `facepipe cluster` leaves in its folder, and who a user says that they are.

faces.jsonl      the faces, in a run's form, each with its `group`; and `weak` where it links nobody
embeddings.npy   theirs, by `row`
clusters.json    of what they were made, how they were grouped, and the digests of both; written last
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.backends.base import MadeBy
from facepipe.catalogue import embedder
from facepipe.datasets.image_records import read_labels
from facepipe.errors import DataError, StageError
from facepipe.gallery.clusters import ALONE, Grouped, Linking, agreement
from facepipe.gallery.enrol import face_name, known_threshold
from facepipe.gallery.faces import FolderFaces
from facepipe.gallery.file import Gallery, Threshold, empty_gallery, require_model, update_gallery, with_rows
from facepipe.gallery.person_name import person_name
from facepipe.results import Face, FaceLine
from facepipe.store.files import read_json, sha256_of_file, write_json
from facepipe.store.owned import is_own, remove
from facepipe.store.run_faces import (
    EMBEDDINGS_FILE,
    FACES_FILE,
    read_embeddings,
    read_faces,
    write_embeddings,
    write_faces,
)
from facepipe.store.run_record import RUN_FILE, read_run

CLUSTERS_FILE = "clusters.json"
FORMAT = 2
_WRITTEN = (FACES_FILE, EMBEDDINGS_FILE)
_AGAIN = "`facepipe cluster` again."
_NAMING = "--names person-0001=Ann person-0007=Bob, or --labels FILE with lines 'person-0001<TAB>Ann'."


@dataclass(frozen=True, slots=True, eq=False)
class Pile:
    """Faces that are grouped, and what their embeddings came from.

    Attributes:
        root: the folder of photographs.
        embedder, weights_sha256: the model, and the digest of the weights behind it.
        made_by: the back end and the precision.
        note: what a user has to know of the crops; None when they are what the embedder wants.
    """

    root: Path
    embedder: str
    weights_sha256: str
    made_by: MadeBy
    found: FolderFaces
    note: str | None = None


def pile_of_run(run: Path) -> Pile:
    """The faces of a finished run: the main one of each photograph, or all, as it was asked for.

    Raises:
        DataError: the record does not tell what it has to.
        StageError: the folder is of no finished run, or nothing tells the weights of its embedder.
    """
    record = read_run(run)
    lines = [line for line in read_faces(run / FACES_FILE) if line.row is not None]
    embeddings = np.array(read_embeddings(run / EMBEDDINGS_FILE, len(lines)))
    faces = tuple((line.key, line.outcome) for line in lines if isinstance(line.outcome, Face))
    try:
        asked = record["parameters"]
        weights = {model["model"]: model["weights_sha256"] for model in record["models"]}
        name, made_by = asked["embedder"], MadeBy(asked["backend"], asked["precision"])
        note = asked.get("alignment")
        root, digest = Path(record["root"]), weights[name]
    except (KeyError, TypeError) as error:
        raise DataError(f"{run / RUN_FILE}: it does not tell {error}, expected a run's record.") from error
    if digest is None:
        raise StageError(f"{run / RUN_FILE}: it does not tell which weights {name} was made from.", "`facepipe onnx`")
    return Pile(root, name, digest, made_by, FolderFaces(faces, embeddings, ()), note)


def write_clusters(
    out: Path, pile: Pile, grouped: Grouped, linking: Linking, *, truth: bool = False
) -> Mapping[str, Any]:
    """Write faces.jsonl, embeddings.npy and then clusters.json into `out`; return the content of the last.

    Args:
        truth: the first sub-folder of a photograph is its person: how well the groups agree is told too.
    """
    remove(out / CLUSTERS_FILE)
    lines = zip(pile.found.faces, grouped.names, grouped.weak, strict=True)
    write_faces(out / FACES_FILE, (FaceLine(key, face, None, name, weak) for (key, face), name, weak in lines))
    rows = pile.found.embeddings
    write_embeddings(out / EMBEDDINGS_FILE, len(rows), rows.shape[1], [rows])
    content: dict[str, Any] = {
        "format": FORMAT,
        "root": str(pile.root.absolute()),
        "embedder": pile.embedder,
        "weights_sha256": pile.weights_sha256,
        "made_by": asdict(pile.made_by),
        "linking": asdict(linking),
        "faces": len(rows),
        "people": grouped.people,
        "alone": int((grouped.groups < 0).sum()),
        "weak": sum(reason is not None for reason in grouped.weak),
    }
    if pile.note is not None:
        content["alignment"] = pile.note
    if truth and len(rows):
        agreed = agreement(grouped.groups, pile.found.keys)
        content["truth"] = {"folders": agreed.people, "b_cubed": agreed.b_cubed.told(), "pairs": agreed.pairs.told()}
    content["results"] = {name: sha256_of_file(out / name) for name in _WRITTEN}
    write_json(out / CLUSTERS_FILE, content)
    return content


def remove_sheets(out: Path) -> None:
    """Remove the sheets that an earlier call wrote into `out`: its groups are no longer."""
    for path in (*out.glob("person-*.png"), out / f"{ALONE}.png"):
        if is_own(path):
            remove(path)


def is_cluster(folder: Path) -> bool:
    """Whether `facepipe cluster` wrote this folder."""
    return (folder / CLUSTERS_FILE).is_file()


def gallery_of_clusters(
    folder: Path,
    names: Sequence[str] = (),
    labels: Path | None = None,
    threshold: float | None = None,
    weights: Path | None = None,
) -> Gallery:
    """A gallery of the people of a cluster's folder to whom a name is given, from the embeddings that lie there.

    The rows are the faces that link; a face that was only put to a person, being small or blurred or unsure, is none. A
    row's source is the photograph's key and the face: `beach/IMG_0042.jpg#2`.

    Args:
        names: "person-0001=Ann", each. Two groups may have one name.
        labels: the same as lines "person-0001<TAB>Ann".
        threshold: least cosine for a name; None: the catalogue's, where it holds one.
        weights: the folder of models, for one's own.

    Raises:
        DataError: there is no such group, or a name is none that a gallery can hold.
        StageError: a file is not the one that clusters.json tells of.
    """
    record = _record(folder)
    lines = [line for line in read_faces(folder / FACES_FILE) if line.row is not None]
    called = _called(folder, names, labels, {str(line.group) for line in lines} - {ALONE})
    chosen = [line for line in lines if line.group in called and line.weak is None]
    embeddings = read_embeddings(folder / EMBEDDINGS_FILE, len(lines))
    rows = np.array([embeddings[line.row] for line in chosen], np.float32).reshape(-1, embeddings.shape[1])
    sources = [face_name(line.key, line.outcome) for line in chosen if isinstance(line.outcome, Face)]
    gallery = empty_gallery(record["embedder"], record["weights_sha256"], rows.shape[1])
    gallery = with_rows(gallery, [called[str(line.group)] for line in chosen], sources, rows)
    least = known_threshold(embedder(gallery.model, weights), record.get("alignment"))
    least = least if threshold is None else Threshold(threshold, None, "given by hand")
    return replace(gallery, threshold=least, made_by=MadeBy(**record["made_by"]))


def add_clusters(
    path: Path,
    folder: Path,
    names: Sequence[str] = (),
    labels: Path | None = None,
    weights: Path | None = None,
) -> Gallery:
    """The gallery at `path`, as it is by now, with the rows that `gallery_of_clusters` makes.

    Raises:
        StageError: the gallery is of other weights.
    """
    made = gallery_of_clusters(folder, names, labels, weights=weights)

    def grown(now: Gallery) -> Gallery:
        require_model(now, made.model, made.weights_sha256, str(path))
        return with_rows(now, list(made.labels), list(made.sources), made.embeddings)

    return update_gallery(path, grown)


def _record(folder: Path) -> dict[str, Any]:
    """clusters.json, after holding against it what lies beside it."""
    record = read_json(folder / CLUSTERS_FILE, _AGAIN)
    if record.get("format") != FORMAT:
        raise StageError(f"{folder / CLUSTERS_FILE}: is of format {record.get('format')}, expected {FORMAT}.", _AGAIN)
    for name, digest in record["results"].items():
        if sha256_of_file(folder / name) != digest:
            raise StageError(f"{folder / name}: is not as `facepipe cluster` wrote it, expected that.", _AGAIN)
    return record


def _called(folder: Path, names: Sequence[str], labels: Path | None, groups: set[str]) -> dict[str, str]:
    """Who each of the named groups is."""
    pairs = [(group, name) for group, _, name in (given.partition("=") for given in names)]
    called: dict[str, str] = {}
    for group, name in [*pairs, *(read_labels(labels) if labels is not None else [])]:
        if group not in groups or called.setdefault(group, name) != name:
            wrong = "is none of its people" if group not in groups else f"is called '{called[group]}' and '{name}'"
            raise DataError(f"{folder}: '{group}' {wrong}, expected one name for one of {len(groups):,}.", _NAMING)
        person_name(name)
    if not called:
        raise DataError(f"{folder}: none of its {len(groups):,} people has a name, expected some to have.", _NAMING)
    return called
