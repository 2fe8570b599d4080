# SPDX-License-Identifier: Apache-2.0
"""The gallery file: named embeddings and all that is needed to compare with them. docs/galleries.md has the format.

    8 bytes     "FACEGAL2"
    uint64      H, length of the header, little-endian; 16 + H is a multiple of 64
    H bytes     the header: sealed JSON in UTF-8, padded with spaces
    N * D * 4   the embeddings: float32, little-endian, row after row; the file ends with them

The header is plain data and the rest is numbers: reading executes nothing. A file that was cut, joined or altered, in
any bit, is found out: by its lengths, by the seal of the header, and by the digest of the rows, which is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facepipe.backends.base import MadeBy
from facepipe.errors import DataError, StageError
from facepipe.escape import for_terminal
from facepipe.gallery.person_name import person_name
from facepipe.store.files import atomic_path
from facepipe.store.lock import held
from facepipe.store.owned import require_free
from facepipe.store.parts import remove_parts
from facepipe.store.sealed_json import sealed, unsealed

FORMAT = 2
MAGIC = b"FACEGAL2"
METRIC = "cosine"

WAIT_SECONDS = 60.0
"""How long a writer waits for another one, which is done in well under a second for all but galleries of millions."""

_ALIGNED = 64
_MAX_HEADER = 1 << 30
_LENGTH = struct.Struct("<Q")
_LENGTH_TOLERANCE = 0.01  # of a row from 1
_FIELDS = {"model": str, "weights_sha256": str, "dimension": int, "rows_sha256": str, "labels": list, "sources": list}


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine similarity above which a face is called by a name.

    Attributes:
        similarity: in [-1, 1].
        far: the false-accept rate that it was calibrated for; None when it was given by hand.
        source: what it was calibrated on, in words.
    """

    similarity: float
    far: float | None
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Named embeddings of one model.

    Attributes:
        model: name in the catalogue.
        weights_sha256: digest of the weights behind the embeddings.
        threshold: None until one is given or calibrated.
        made_by: the back end and the precision of its rows; None where nobody tells.
        labels, sources: N names of people (see `person_name`), and of the photographs the rows were made from.
        embeddings: float32 [N, D], rows of length 1; may be read from the disk as they are used.
    """

    model: str
    weights_sha256: str
    threshold: Threshold | None
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    embeddings: np.ndarray
    made_by: MadeBy | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dimension(self) -> int:
        return int(self.embeddings.shape[1])

    def people(self) -> dict[str, int]:
        """Each name and how many rows it has, sorted by name."""
        counts: dict[str, int] = {}
        for label in self.labels:
            counts[label] = counts.get(label, 0) + 1
        return dict(sorted(counts.items()))


def empty_gallery(model: str, weights_sha256: str, dimension: int) -> Gallery:
    """A gallery that knows nobody yet."""
    return Gallery(model, weights_sha256, None, (), (), np.zeros((0, dimension), np.float32))


def with_rows(gallery: Gallery, labels: list[str], sources: list[str], embeddings: np.ndarray) -> Gallery:
    """The gallery with rows added at its end. A source that it already has under the same name takes the old row's
    place, so that adding twice adds once.

    Raises:
        DataError: a label is no person's name, a source is no text, or the rows are not unit vectors of the gallery's
            dimension.
    """
    one_form = {label: person_name(label) for label in set(labels)}
    labels = [one_form[label] for label in labels]
    for source in sources:
        _require_text("gallery", source)
    _check_rows("the rows to add", embeddings, len(labels), gallery.dimension)
    fresh = set(zip(labels, sources, strict=True))
    kept = [i for i, entry in enumerate(zip(gallery.labels, gallery.sources, strict=True)) if entry not in fresh]
    last = {entry: i for i, entry in enumerate(zip(labels, sources, strict=True))}  # of a source listed twice, the last
    added = sorted(last.values())
    return replace(
        gallery,
        labels=(*(gallery.labels[i] for i in kept), *(labels[i] for i in added)),
        sources=(*(gallery.sources[i] for i in kept), *(sources[i] for i in added)),
        embeddings=np.concatenate([gallery.embeddings[kept], embeddings[added]]).astype(np.float32),
    )


def without(gallery: Gallery, label: str, source: str | None = None) -> Gallery:
    """The gallery without a person, or without one photograph of theirs.

    Args:
        label: their name, in any of Unicode's forms of it.

    Raises:
        DataError: there is no such row.
    """
    label = unicodedata.normalize("NFC", label)
    kept = [
        i
        for i, entry in enumerate(zip(gallery.labels, gallery.sources, strict=True))
        if entry[0] != label or (source is not None and entry[1] != source)
    ]
    if len(kept) == len(gallery):
        what = f"'{for_terminal(label)}'" + ("" if source is None else f" from '{for_terminal(source)}'")
        raise DataError(f"gallery: there is no {what} in it.", "`facepipe gallery list --sources` shows what is.")
    return replace(
        gallery,
        labels=tuple(gallery.labels[i] for i in kept),
        sources=tuple(gallery.sources[i] for i in kept),
        embeddings=gallery.embeddings[kept],
    )


def least_similarity(gallery: Gallery, given: float | None, where: str, attempt: str) -> Threshold:
    """The threshold that was given, else the gallery's own.

    Args:
        attempt: how one is given or made.

    Raises:
        DataError: there is neither, or what was given is no cosine.
    """
    if given is not None and not -1 <= given <= 1:
        raise DataError(f"{where}: the threshold is {given}, expected a cosine from -1 to 1.")
    if given is not None:
        return Threshold(given, None, "given by hand")
    if gallery.threshold is None:
        raise DataError(f"{where}: it has no threshold, expected one; without it nobody could be unknown.", attempt)
    return gallery.threshold


def require_model(gallery: Gallery, model: str, weights_sha256: str, where: str) -> None:
    """Refuse to compare embeddings of different models.

    Raises:
        DataError: the gallery is of another model, or of other weights of it.
    """
    if gallery.model != model:
        raise DataError(
            f"{where}: its embeddings are of {gallery.model}, expected {model}; numbers of two models mean nothing "
            "to each other.",
            f"--embedder {gallery.model}, or build the gallery again with {model}.",
        )
    if gallery.weights_sha256 != weights_sha256:
        raise DataError(
            f"{where}: it was made with weights {gallery.weights_sha256[:12]}... of {model}, the model here has "
            f"{weights_sha256[:12]}....",
            "build the gallery again with the weights that are here.",
        )


def write_gallery(path: Path, gallery: Gallery, *, overwrite: bool = False) -> None:
    """Write the gallery, whole or not at all; equal galleries give equal bytes.

    Args:
        overwrite: another gallery may be replaced. What is no gallery never is.

    Raises:
        DataError: there is a file that is no gallery.
        StageError: there is another gallery; or another process has been writing to it for longer than `WAIT_SECONDS`.
    """
    _require_gallery(path)
    path = path.resolve()  # through a link, which stays one
    with _written_alone(path):
        _require_gallery(path)
        _write(path, gallery, overwrite)


def update_gallery(path: Path, change: Callable[[Gallery], Gallery]) -> Gallery:
    """What `change` makes of the gallery in `path` takes its place; nobody else writes between the reading and that.

    Args:
        change: quick; what it raises leaves the file as it was.

    Returns:
        The new gallery.

    Raises:
        DataError: there is no such gallery, or it is damaged.
        StageError: another process has been writing to it for longer than `WAIT_SECONDS`.
    """
    named, path = path, path.resolve()
    if not path.is_file():
        read_gallery(named)  # which says so, and leaves no lock beside it
    with _written_alone(path):
        changed = change(read_gallery(path))
        _write(path, changed, True)
    return changed


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse a place where no gallery can be written, before the work for it is done.

    Args:
        overwrite: a gallery that is there may be replaced.

    Raises:
        DataError: the folder, or the nearest one that is there, takes no files; or a file is there that is no gallery.
        StageError: a gallery is there.
    """
    _require_gallery(path)
    require_free([path.resolve()], overwrite)
    folder = next(parent for parent in path.resolve().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{path}: nothing can be written into {folder}, expected a folder that can be written to.")


@contextmanager
def _written_alone(path: Path) -> Iterator[None]:
    """Others who want to write to this gallery wait until this one has."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def busy(owner: str) -> StageError:
        return StageError(
            f"{path}: process {owner} has been writing to it for {WAIT_SECONDS:g} s, expected less.",
            "the same command again, when that process has ended.",
        )

    lock = path.with_name(f".{path.name}.lock")
    try:
        with held(lock, busy, wait_seconds=WAIT_SECONDS, vanishes=True):
            yield
    except OSError as error:
        if error.filename == str(lock):  # a full disk, a read-only folder: said of the gallery
            error.filename = str(path)
        raise


def _require_gallery(path: Path) -> None:
    """Raise DataError where something is there that is no gallery."""
    if path.is_symlink() and not path.exists():
        raise DataError(
            f"{path}: is a link to nothing, expected a gallery or no file.", "another name for the gallery."
        )
    if path.exists():
        try:
            read_gallery(path)
        except DataError as error:
            raise DataError(f"{error.what} It stays.", "another name for the gallery.") from error


def _write(path: Path, gallery: Gallery, overwrite: bool) -> None:
    rows = np.ascontiguousarray(gallery.embeddings, "<f4")
    _check_rows(str(path), rows, len(gallery.labels), gallery.dimension)
    threshold = gallery.threshold
    header = {
        "format": FORMAT,
        "model": gallery.model,
        "weights_sha256": gallery.weights_sha256,
        "dimension": gallery.dimension,
        "metric": METRIC,
        "threshold": None
        if threshold is None
        else {"similarity": threshold.similarity, "far": threshold.far, "source": threshold.source},
        "made_by": None if gallery.made_by is None else asdict(gallery.made_by),
        "rows_sha256": hashlib.sha256(rows.data).hexdigest(),
        "labels": list(gallery.labels),
        "sources": list(gallery.sources),
    }
    text = json.dumps(sealed(header), ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-(len(MAGIC) + _LENGTH.size + len(text)) % _ALIGNED)
    remove_parts(path.parent)
    with atomic_path(path, overwrite=overwrite) as part, part.open("wb") as target:
        target.write(MAGIC + _LENGTH.pack(len(text)) + text)
        target.write(rows.data)


def read_gallery(path: Path | str) -> Gallery:
    """The gallery in `path`, every field checked; the rows stay on the disk until they are used. A writer may replace
    the file meanwhile: what is read is the gallery that was opened.

    Raises:
        DataError: it cannot be read, is no gallery, or is damaged; what is wrong is named.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"{path}: is no file, expected a gallery.")
    try:
        with path.open("rb") as source:
            header, embeddings = _content(path, source)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), expected a gallery.") from error
    if hashlib.sha256(embeddings.data).hexdigest() != header["rows_sha256"]:
        raise DataError(f"{path}: its rows are not those that its header describes; the file is damaged.")
    _check_rows(str(path), embeddings, len(header["labels"]), header["dimension"])
    threshold = header["threshold"]
    return Gallery(
        model=header["model"],
        weights_sha256=header["weights_sha256"],
        threshold=None if threshold is None else Threshold(**threshold),
        labels=tuple(header["labels"]),
        sources=tuple(header["sources"]),
        embeddings=embeddings,
        made_by=None if header["made_by"] is None else MadeBy(**header["made_by"]),
    )


def _content(path: Path, source: BinaryIO) -> tuple[dict[str, Any], np.ndarray]:
    """The header, checked, and the rows of the open file; the lengths agree."""
    size = os.fstat(source.fileno()).st_size
    head = source.read(len(MAGIC) + _LENGTH.size)
    if len(head) < len(MAGIC) + _LENGTH.size or not head.startswith(MAGIC):
        raise DataError(
            f"{path}: it begins with {head[:8]!r}, expected a gallery ({MAGIC.decode()}).",
            "build it again, where it is of an older facepipe; `facepipe gallery import` reads the Paddle port's "
            "index.bin.",
        )
    (length,) = _LENGTH.unpack(head[len(MAGIC) :])
    if length > min(_MAX_HEADER, size - len(head)):
        raise DataError(f"{path}: a header of {length:,} bytes does not fit its {size:,} bytes; it is cut.")
    if (len(head) + length) % _ALIGNED:
        raise DataError(f"{path}: a header of {length:,} bytes, expected one whose end is a multiple of {_ALIGNED}.")
    header = _header(path, source.read(length))
    rows, dimension, start = len(header["labels"]), header["dimension"], len(head) + length
    if size != start + 4 * rows * dimension:
        raise DataError(
            f"{path}: {size:,} bytes, expected {start + 4 * rows * dimension:,} for {rows:,} rows of {dimension}."
        )
    if not rows:
        return header, np.zeros((0, dimension), np.float32)
    return header, np.memmap(source, "<f4", "r", start, (rows, dimension))


def _header(path: Path, text: bytes) -> dict[str, Any]:
    """The header as a dictionary whose fields have the right types and values; its seal is compared first."""
    try:
        header = unsealed(text)
    except ValueError as error:
        raise DataError(f"{path}: its header cannot be used ({error}), expected a gallery.") from error
    if type(header.get("format")) is not int or header["format"] != FORMAT:
        raise DataError(f"{path}: gallery format {header.get('format')!r:.40}, expected {FORMAT}.")
    if header.get("metric") != METRIC:
        raise DataError(f"{path}: metric {header.get('metric')!r}, expected '{METRIC}'.")
    if set(header) != {*_FIELDS, "format", "metric", "threshold", "made_by"}:
        odd = sorted({*_FIELDS, "threshold", "made_by"} ^ (set(header) - {"format", "metric"}))
        raise DataError(f"{path}: the field {odd[0]!a:.80} is lacking in its header, or is none of a gallery's.")
    for name, form in _FIELDS.items():
        if type(header.get(name)) is not form:
            raise DataError(f"{path}: its field '{name}' is {header.get(name)!r:.80}, expected {form.__name__}.")
    if len(header["labels"]) != len(header["sources"]) or not 0 < header["dimension"] <= 1 << 16:
        raise DataError(
            f"{path}: {len(header['labels'])} labels and {len(header['sources'])} sources, expected as many."
        )
    for text_field in (*header["labels"], *header["sources"]):
        if type(text_field) is not str:
            raise DataError(f"{path}: {text_field!r:.80} among its labels or sources, expected text.")
    for label in set(header["labels"]):
        if person_name(label) != label:
            raise DataError(f"{path}: the name '{for_terminal(label)}' is not in Unicode's composed form (NFC).")
    threshold = header["threshold"]
    if threshold is not None and not _is_threshold(threshold):
        raise DataError(f"{path}: its threshold is {threshold!r:.80}, expected similarity, far and source.")
    made_by = header["made_by"]
    if made_by is not None and not _is_made_by(made_by):
        raise DataError(f"{path}: its made_by is {made_by!r:.80}, expected backend and precision.")
    return {**header, "threshold": threshold, "made_by": made_by}


def _is_made_by(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"backend", "precision"}
        and all(isinstance(text, str) for text in value.values())
    )


def _is_threshold(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"similarity", "far", "source"}
        and type(value["similarity"]) in (int, float)
        and -1 <= value["similarity"] <= 1
        and (value["far"] is None or (type(value["far"]) in (int, float) and 0 < value["far"] <= 1))
        and isinstance(value["source"], str)
    )


def _require_text(where: str, text: str) -> None:
    """Raise DataError for half a surrogate pair: the name of a file that is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: '{for_terminal(text)}' is no text in UTF-8.", "a photograph of another name."
        ) from error


def _check_rows(where: str, rows: np.ndarray, count: int, dimension: int) -> None:
    """Raise DataError unless `rows` is [count, dimension] of unit vectors."""
    if rows.shape != (count, dimension):
        raise DataError(f"{where}: embeddings are {list(rows.shape)}, expected [{count}, {dimension}].")
    block = 1 << 16
    for start in range(0, count, block):
        lengths = np.linalg.norm(rows[start : start + block], axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE))
        if len(wrong):
            raise DataError(f"{where}: row {start + wrong[0]} has length {lengths[wrong[0]]:.4g}, expected 1.")
