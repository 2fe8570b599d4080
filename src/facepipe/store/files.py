# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, their digests, and arrays in and out of them."""

from __future__ import annotations

import hashlib
import io
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
from facepipe.store.sealed_json import sealed, strict_json, unsealed


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


def write_json(path: Path, body: Mapping[str, object], *, overwrite: bool = False) -> None:
    """Write `path` whole: the object with its seal (store.sealed_json), as JSON that a person can read.

    Raises:
        ValueError: a field is called `seal`, or a value has no JSON (NaN).
    """
    write_text(path, json.dumps(sealed(body), indent=2, ensure_ascii=False) + "\n", overwrite=overwrite)


def sidecar_of(path: Path) -> Path:
    """The JSON file that tells of a file, beside it."""
    return path.with_name(f"{path.name}.json")


def lacking(path: Path, kind: str) -> str:
    """What is in the place of a file or folder that was expected, for an error.

    Example:
        >>> lacking(Path("no-such-place"), "folder")
        'no such folder'
    """
    if path.is_dir():
        return "is a folder"
    return "is a file" if path.exists() else f"no such {kind}"


def read_json(path: Path, attempt: str = "delete it and run the same command again.") -> dict[str, Any]:
    """The object of a JSON file that facepipe wrote, its seal compared before anything else is done with it.

    Args:
        attempt: what the error advises to do.

    Raises:
        StageError: it cannot be read, or is not what was written.
    """
    try:
        return unsealed(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StageError(f"{path}: cannot be used ({error}).", attempt) from error


def read_foreign_json(path: Path) -> Any:
    """The content of a JSON file in another program's form, which has no seal.

    Raises:
        StageError: it cannot be read, or is not JSON.
    """
    try:
        return strict_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StageError(f"{path}: cannot be read as JSON ({error}).", "make it again.") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write an .npz, whole; its sha256. Its bytes depend on nothing but the arrays (no clock inside)."""
    pickled = [name for name, array in arrays.items() if array.dtype.hasobject]
    assert not pickled, f"object arrays would be pickled: {pickled}"
    named: dict[str, Any] = dict(arrays)
    content = io.BytesIO()
    np.savez(content, **named)
    write_bytes(path, content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()


def read_arrays(path: Path, dtypes: Mapping[str, str], sha256: str | None = None) -> dict[str, np.ndarray]:
    """The arrays named in `dtypes`, each of just that dtype ("<U" for any text).

    Args:
        sha256: of the file, where it is known: the very bytes that have it are the ones that are read.

    Raises:
        StageError: the file cannot be read, has another sha256, an array is absent, or has another dtype.
    """
    again = "delete it and run the same command again."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StageError(f"{path}: cannot be read ({error}).", again) from error
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise StageError(f"{path}: sha256 is {found[:12]}..., expected {sha256[:12]}... as it was written.", again)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in dtypes}
    except Exception as error:  # of a damaged file NumPy and zipfile raise a dozen unrelated classes
        raise StageError(f"{path}: cannot be read ({error}).", again) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of a member that does not begin like an array
            raise StageError(f"{path}: '{name}' is no array, expected {dtypes[name]}.", again)
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
