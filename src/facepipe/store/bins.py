# SPDX-License-Identifier: Apache-2.0
"""Batches as headerless `.bin` files that any board's runner takes, and the index that says whose rows they hold.

    packed/
      index.json         which file holds which keys, the tensor, the digest of every file; written last
      bins/000012.bin    one whole batch, C order, no header; the last batch of a group is padded with zeros

The index lies beside the folder of bins, never in it: msame takes every visible file of a folder for an input.
A file that exists is whole, `index.json` exists when all are there, and a second run writes only what is missing.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facepipe.errors import StageError, TensorError
from facepipe.store import owned, resumable
from facepipe.store.files import sha256_of_file, sha256_of_json, write_bytes
from facepipe.store.resumable import START_OVER, Resumable, listing

BINS_FORMAT = "facepipe.bins.1"
INDEX, BEGUN = "index.json", "index.begun.json"
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class BinTensor:
    """What every file of a folder holds: one batch of this tensor."""

    name: str
    dtype: str  # NumPy's name, little-endian on disk: "float32", "uint8"
    layout: Layout
    shape: tuple[int, ...]  # of the whole batch

    @property
    def batch(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """The length of every file."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class BinFile:
    """One file: row i is the image `keys[i]`; rows from len(keys) on are padding."""

    file: str
    keys: tuple[str, ...]
    sha256: str

    @property
    def stem(self) -> str:
        return self.file.removesuffix(".bin")


@dataclass(frozen=True, slots=True)
class BinIndex:
    """The content of index.json. `made_from` is what the rows depend on, in the packer's own words."""

    tensor: BinTensor
    folder: str
    made_from: Mapping[str, Any]
    files: tuple[BinFile, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the files and of the rows in them."""
        return tuple(key for file in self.files for key in file.keys)


def batches_of(keys: Sequence[str], batch: int) -> list[tuple[str, ...]]:
    """`keys` cut into batches, in order; only the last may be short. No batch spans two calls (two shards).

    Raises:
        StageError: batch is below 1.
    """
    if batch < 1:
        raise StageError(f"batch is {batch}, expected 1 or more.")
    return [tuple(keys[first : first + batch]) for first in range(0, len(keys), batch)]


def pad_batch(rows: np.ndarray, batch: int) -> np.ndarray:
    """`rows` [n, ...] followed by zeros up to [batch, ...], in the dtype of `rows`.

    Raises:
        TensorError: there are no rows, or more than `batch`.
    """
    if not 0 < len(rows) <= batch:
        raise TensorError(f"pad_batch: {len(rows)} rows, expected 1 to {batch}.")
    padding = np.zeros((batch - len(rows), *rows.shape[1:]), rows.dtype)
    return np.ascontiguousarray(np.concatenate([rows, padding]) if len(padding) else rows)


def write_bins(
    folder: Path,
    batches: Sequence[Sequence[str]],
    load: Callable[[Sequence[str]], np.ndarray],
    tensor: BinTensor,
    made_from: Mapping[str, Any],
    *,
    bins: str = "bins",
    digits: int = 6,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BinIndex:
    """Write one file for each batch, and the index last; keep the files that an interrupted run left.

    Args:
        folder: gets `index.json` and the sub-folder `bins`.
        batches: the keys of each file, in order; see `batches_of`.
        load: keys to their rows, of `tensor`'s dtype and shape [len(keys), ...]. Called only for what is missing.
        tensor: what each file holds, with the whole batch.
        made_from: what the rows depend on (JSON values). A folder that was begun with another value is refused.
        bins: name of the sub-folder.
        digits: least length of the number in a file name, filled with zeros.
        force: start over where the folder was begun otherwise, instead of refusing.
        progress: called with the number of keys done after every file.

    Raises:
        StageError: the folder was begun otherwise, or holds files that are not of this plan.
        TensorError: `load` gave another dtype or shape, or a key occurs twice.
    """
    files = [BinFile(f"{number:0{digits}d}.bin", tuple(keys), "") for number, keys in enumerate(batches)]
    index = BinIndex(tensor, bins, dict(made_from), tuple(files))
    _check_plan(index)
    work = _work(folder, bins)
    begun = resumable.begin(work, _to_json(index), [file.file for file in files], force=force)
    old = None if begun.done is None else _from_json(folder / INDEX, begun.done)
    known = owned.recorded(folder / bins) if old is None else {file.file: file.sha256 for file in old.files}
    done = tuple(_write_file(work, file, load, tensor, begun.there, known, progress) for file in files)
    index = BinIndex(tensor, bins, dict(made_from), done)
    if old is not None and index != old:
        changed = next(new.file for new, was in zip(index.files, old.files, strict=True) if new != was)
        raise StageError(
            f"{folder / bins / changed}: was packed again and is not the file that {INDEX} tells of.", START_OVER
        )
    if old is None:
        resumable.finish(work, _to_json(index))
    return index


def read_index(folder: Path) -> BinIndex:
    """The index of a packed folder.

    Raises:
        StageError: there is none, packing was not finished, or the file has another form.
    """
    index = _from_json(folder / INDEX, resumable.require_complete(_work(folder)))
    _check_plan(index)
    return index


def check_files(folder: Path, index: BinIndex) -> None:
    """Hold the folder of bins against the index: every file there, of the right length, and no other.

    Raises:
        StageError: a file is missing, foreign, or of the wrong length; the first is named.
    """
    there = _visible(folder / index.folder)
    for file in index.files:
        path = folder / index.folder / file.file
        if file.file not in there:
            raise StageError(f"{path}: no such file, expected {len(file.keys)} rows of it by {INDEX}.", _REPACK)
        _check_length(path, index.tensor)
    _refuse_foreign(folder / index.folder, there - {file.file for file in index.files})


def read_batch(folder: Path, index: BinIndex, file: BinFile) -> np.ndarray:
    """One whole batch, padding included, its length and digest checked.

    Raises:
        StageError: the file is missing, of the wrong length, or not the one that was packed.
    """
    path = folder / index.folder / file.file
    if not path.is_file():
        raise StageError(f"{path}: no such file, expected {len(file.keys)} rows of it by {INDEX}.", _REPACK)
    _check_length(path, index.tensor)
    found = sha256_of_file(path)
    if found != file.sha256:
        raise StageError(f"{path}: sha256 is {found[:12]}…, expected {file.sha256[:12]}… by {INDEX}.", _REPACK)
    stored = np.fromfile(path, _little(index.tensor.dtype))
    return stored.astype(index.tensor.dtype, copy=False).reshape(index.tensor.shape)


_REPACK = "pack again; whole files are kept."
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def _work(folder: Path, bins: str = "") -> Resumable:
    """The folder of bins; files of other work in it would be a runner's inputs, so none may lie there."""
    return Resumable(folder, "bins", begun=BEGUN, done=INDEX, results=bins, comparable=_plan, attempt=_REPACK)


def _write_file(
    work: Resumable,
    file: BinFile,
    load: Callable[[Sequence[str]], np.ndarray],
    tensor: BinTensor,
    there: Mapping[str, os.DirEntry[str]],
    known: Mapping[str, str],
    progress: Callable[[int], None] | None,
) -> BinFile:
    """The file with its digest; written unless the one that is known is there."""
    path, entry = work.folder / work.results / file.file, there.get(file.file)
    digest = sha256_of_file(path) if entry is not None and file.file in known else None
    if digest is None or known[file.file] != digest:
        rows = load(file.keys)
        expected = (len(file.keys), *tensor.shape[1:])
        if rows.shape != expected or rows.dtype != np.dtype(tensor.dtype):
            raise TensorError(
                f"{path}: '{tensor.name}' is {rows.dtype} {list(rows.shape)}, expected {tensor.dtype} {list(expected)}."
            )
        content = pad_batch(rows, tensor.batch).astype(_little(tensor.dtype), copy=False).tobytes()
        write_bytes(path, content)
        digest = hashlib.sha256(content).hexdigest()
    if progress is not None:
        progress(len(file.keys))
    return BinFile(file.file, file.keys, digest)


def _check_plan(index: BinIndex) -> None:
    """Raise TensorError unless every key occurs once and every batch fits."""
    key, times = next(iter(Counter(index.keys).most_common(1)), ("", 0))
    if times > 1:
        raise TensorError(f"bins: key '{key}' occurs {times} times, expected each image once.")
    for file in index.files:
        if not 0 < len(file.keys) <= index.tensor.batch:
            raise TensorError(f"bins: {file.file} has {len(file.keys)} keys, expected 1 to {index.tensor.batch}.")


def _plan(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record without what only writing tells: comparable before and after."""
    try:
        files = [[file["file"], file["keys"]] for file in record["files"]]
        keys = sum(len(names) for _, names in files)
    except (KeyError, TypeError) as error:
        raise StageError(f"{INDEX}: is not an index of bins ({error!r}).", "--force to start it over.") from error
    rest = {name: value for name, value in record.items() if name != "files"}
    return {**rest, "keys": keys, "files_sha256": sha256_of_json(files)}


def _to_json(index: BinIndex) -> dict[str, Any]:
    tensor = index.tensor
    return {
        "format": BINS_FORMAT,
        "tensor": {"name": tensor.name, "dtype": tensor.dtype, "layout": tensor.layout, "shape": list(tensor.shape)},
        "folder": index.folder,
        "made_from": dict(index.made_from),
        "files": [
            {"file": file.file, "rows": len(file.keys), "sha256": file.sha256, "keys": list(file.keys)}
            for file in index.files
        ],
    }


def _from_json(path: Path, value: Any) -> BinIndex:
    """The index in `value`, every field of the right type.

    Raises:
        StageError: a field is absent or of another type.
    """
    if not isinstance(value, dict) or value.get("format") != BINS_FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise StageError(f"{path}: format is {found!r}, expected '{BINS_FORMAT}'.")
    try:
        tensor = value["tensor"]
        if tensor["dtype"] not in _DTYPES:  # np.dtype reads whole expressions
            raise ValueError(f"dtype {str(tensor['dtype'])[:80]!r}")
        index = BinIndex(
            BinTensor(str(tensor["name"]), tensor["dtype"], tensor["layout"], tuple(map(int, tensor["shape"]))),
            str(value["folder"]),
            dict(value["made_from"]),
            tuple(BinFile(str(f["file"]), tuple(map(str, f["keys"])), str(f["sha256"])) for f in value["files"]),
        )
        rows = [int(f["rows"]) for f in value["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise StageError(f"{path}: is not an index of bins ({error!r}).", _REPACK) from error
    names = [index.folder, *(file.file for file in index.files)]
    plain = all(name and "/" not in name and "\\" not in name and not name.startswith(".") for name in names)
    counts = rows == [len(file.keys) for file in index.files]
    if not plain or not counts or index.tensor.layout not in ("NCHW", "NHWC") or not index.tensor.shape:
        raise StageError(f"{path}: names, rows or layout contradict each other.", _REPACK)
    return index


def _check_length(path: Path, tensor: BinTensor) -> None:
    length = path.stat().st_size
    if length != tensor.nbytes:
        raise StageError(
            f"{path}: {length} bytes, expected {tensor.nbytes} ({tensor.dtype} {list(tensor.shape)}).",
            "pack again; twice the length is a batch that was padded in float64."
            if length == 2 * tensor.nbytes
            else _REPACK,
        )


def _visible(folder: Path) -> set[str]:
    """Names in a folder, as msame sees them: hidden ones (unfinished parts) left out."""
    if not folder.is_dir():
        raise StageError(f"{folder}: no such folder of bins.", _REPACK)
    return set(listing(folder))


def _refuse_foreign(folder: Path, names: set[str]) -> None:
    if names:
        raise StageError(
            f"{folder}: holds {len(names)} files that are not in the index (first: {min(names)}), "
            "and a runner would take them for inputs.",
            "move them away.",
        )


def _little(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")
