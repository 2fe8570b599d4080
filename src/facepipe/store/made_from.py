# SPDX-License-Identifier: Apache-2.0
"""What a file was made from, in a JSON file beside it: the one record, and the one question whether it is current.

`pnet.simplified.onnx.json` tells of `pnet.simplified.onnx`: of what, with what settings and by which versions it was
made, its own digest, and the facts that its maker keeps for its readers. Asking needs nothing but the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facepipe.errors import StageError
from facepipe.store import owned
from facepipe.store.files import read_json, sha256_of_file, sidecar_of, write_json

RECORD_FORMAT = "facepipe.made_from.2"
_TEXTS = ("model", "sha256", "again")
_OBJECTS = ("inputs", "settings", "versions", "facts")


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """What decides a file's content, and what ran.

    Attributes:
        inputs: sha256 of each file that went in, by what it is: "weights", "onnx".
        settings: JSON values. Another value makes another file.
        versions: of the packages that ran. Told, and not compared: a newer one makes no file stale.
    """

    inputs: Mapping[str, str]
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """The JSON file beside a file.

    Attributes:
        model: of the catalogue.
        sha256: of the file that it tells of.
        again: the command that makes file and record anew.
        made_from: what it was made from.
        facts: what its maker knows of it besides, as JSON values; each maker has a type for it.
    """

    model: str
    sha256: str
    again: str
    made_from: MadeFrom
    facts: Mapping[str, Any]


def write_record(
    path: Path, model: str, made_from: MadeFrom, facts: Mapping[str, object], *, again: str, sha256: str | None = None
) -> Record:
    """Write the record of the file `path`, whole; write it after the file, since it is what vouches for that.

    Args:
        sha256: of the file where it is known already.
    """
    body: dict[str, Any] = _as_json(
        {
            "format": RECORD_FORMAT,
            "model": model,
            "sha256": sha256 or sha256_of_file(path),
            "again": again,
            "inputs": dict(made_from.inputs),
            "settings": dict(made_from.settings),
            "versions": dict(made_from.versions),
            "facts": dict(facts),
        }
    )
    write_json(sidecar_of(path), body)
    return _record(body)


def read_record(path: Path) -> Record | None:
    """The record of the file `path`; None where none lies beside it. The file itself is not looked at.

    Raises:
        StageError: it cannot be read, has another form, or was changed since it was written.
    """
    beside = sidecar_of(path)
    if not beside.is_file():
        return None
    attempt = f"make {path.name} again."
    body = read_json(beside, attempt)
    if (found := body.get("format")) != RECORD_FORMAT:
        raise StageError(f"{beside}: format is {found!r}, expected '{RECORD_FORMAT}'.", attempt)
    for names, kind in ((_TEXTS, str), (_OBJECTS, dict)):
        for name in names:
            if not isinstance(body.get(name), kind):
                raise StageError(f"{beside}: lacks '{name}', expected a whole record.", attempt)
    return _record(body)


def weights_behind(model: Path) -> dict[str, str]:
    """The input "weights" of a model file: sha256 of the checkpoint that it comes from; empty where no record tells.

    Raises:
        StageError: as `read_record`.
    """
    return weights_of(read_record(model))


def weights_of(record: Record | None) -> dict[str, str]:
    """The input "weights" of a record; empty of none."""
    inputs = {} if record is None else record.made_from.inputs
    return {name: digest for name, digest in inputs.items() if name == "weights"}


def verified_record(path: Path, sha256: str) -> Record | None:
    """The record of the file `path`, held against the digest of what was read there; None where none lies beside it.

    Raises:
        StageError: as `read_record`; or the record is of another file than the one that was read.
    """
    record = read_record(path)
    if record is not None and sha256 != record.sha256:
        raise StageError(
            f"{path}: sha256 is {sha256[:12]}..., its record says {record.sha256[:12]}....", f"`{record.again}`"
        )
    return record


def is_current(path: Path, made_from: MadeFrom) -> bool:
    """Whether `path` is there, whole, and was made from this: it need not be made again.

    Inputs that are not asked for are not compared; settings are, all of them. A record that cannot be read vouches for
    nothing.
    """
    try:
        record = read_record(path)
    except StageError:
        return False
    return (
        record is not None
        and record.made_from.inputs.items() >= made_from.inputs.items()
        and record.made_from.settings == _as_json(made_from.settings)
        and path.is_file()
        and sha256_of_file(path) == record.sha256
    )


def require_own(path: Path) -> None:
    """See to it, before work, that `path` and the record beside it may be written: nothing is there, or both are ours.

    The file is ours when the record beside it is whole and of this very file; or when its folder's record says so.

    Raises:
        StageError: there is a file that nothing vouches for; it is named.
    """
    beside = sidecar_of(path)
    try:
        record = verified_record(path, sha256_of_file(path)) if path.is_file() else read_record(path)
    except (OSError, StageError):  # another file's, or damaged: it vouches for nothing
        record = None
    if record is not None:
        owned.keep_record(path)
        for file in filter(os.path.lexists, (path, beside)):
            owned.adopt(file)
    owned.require_free((path, beside), overwrite=False, attempt="move it away; nothing vouches for it.")


def _record(body: Mapping[str, Any]) -> Record:
    made_from = MadeFrom(body["inputs"], body["settings"], body["versions"])
    return Record(body["model"], body["sha256"], body["again"], made_from, body["facts"])


def _as_json(value: Any) -> Any:
    """As it will be when read back: tuples are lists."""
    if isinstance(value, Mapping):
        return {name: _as_json(entry) for name, entry in value.items()}
    return [_as_json(entry) for entry in value] if isinstance(value, (list, tuple)) else value
