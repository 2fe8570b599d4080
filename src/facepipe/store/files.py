# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, their digests, and arrays in and out of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.errors import StageError
from facepipe.store.owned import place, require_place
from facepipe.store.parts import part_of


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path beside `path`; it becomes `path` only when the block succeeds.

    The part's name (store.parts) is no other call's, so no two processes of any machine write one part. A file that is
    there is replaced when it is ours by the record of its folder (store.owned), or where the user said so.

    Args:
        overwrite: the user said so.

    Raises:
        StageError: there is a file that is not ours, or a link or a folder is in the way.
    """
    require_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())  # without it a power cut can leave the name with no content
        place(part, path, overwrite=overwrite)
    except OSError as error:
        if error.filename is None:  # a full disk does not say where
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write `path` whole; of what is there see `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str, *, overwrite: bool = False) -> None:
    """Write `path` whole, in UTF-8."""
    write_bytes(path, content.encode(), overwrite=overwrite)


def write_json(path: Path, value: object, *, overwrite: bool = False) -> None:
    """Write `path` whole, as JSON that a person can read; NaN is refused, JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", overwrite=overwrite)


def sidecar_of(path: Path) -> Path:
    """The JSON file that tells of a file, beside it."""
    return path.with_name(f"{path.name}.json")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        StageError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(f"{path}: cannot be read as JSON ({error}).", "delete it and run the stage again.") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz, whole. Its bytes depend on nothing but the arrays (no clock inside)."""
    pickled = [name for name, array in arrays.items() if array.dtype.hasobject]
    assert not pickled, f"object arrays would be pickled: {pickled}"
    named: dict[str, Any] = dict(arrays)
    with atomic_path(path) as part, part.open("wb") as target:
        np.savez(target, **named)


def read_arrays(path: Path, dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays named in `dtypes`, each of just that dtype ("<U" for any text).

    Raises:
        StageError: the file cannot be read, an array is absent, or has another dtype.
    """
    try:
        # Opened here, since np.load leaves a broken archive open.
        with path.open("rb") as source, np.load(source, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in dtypes}
    except Exception as error:  # of a damaged file NumPy and zipfile raise a dozen unrelated classes
        raise StageError(f"{path}: cannot be read ({error}).", "delete it and run the stage again.") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of a member that does not begin like an array
            raise StageError(f"{path}: '{name}' is no array, expected {dtypes[name]}.", "delete it and run again.")
        if array.dtype.str.lstrip("<>|=")[:1] == "U" == dtypes[name].lstrip("<")[:1]:
            continue
        if array.dtype != np.dtype(dtypes[name]):
            raise StageError(f"{path}: '{name}' is {array.dtype}, expected {dtypes[name]}.")
    return arrays


def sha256_of_file(path: Path) -> str:
    """The hex digest of a file's content, read in pieces."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(source)


def _digest(source: Any) -> str:
    """hashlib.file_digest for Python 3.10."""
    digest = hashlib.sha256()
    while piece := source.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def sha256_of_json(value: object) -> str:
    """The hex digest of a value as JSON with sorted keys: the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
