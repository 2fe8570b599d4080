# SPDX-License-Identifier: Apache-2.0
"""One shard of a stage: its results, and beside them the record that vouches for them.

    shard-00000.npz    arrays; the same bytes wherever and whenever they are made
    shard-00000.json   sealed: of which work they are, their sha256, and what may differ without changing them: the
                       processor, and the stamps of the photographs' files

The record is written last: a shard is finished when its record is there. What cannot be part of the hashed results,
since it differs between machines and mounts, stands in it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facepipe.errors import StageError
from facepipe.store.files import read_arrays, read_json, sha256_of_file, write_arrays, write_json
from facepipe.store.provenance import processor

SHARD_FORMAT = 6  # part of every fingerprint
UNSETTLED_SECONDS = 2
"""A file that was changed this recently could be changed again without its time telling: its stamp says nothing. Two
seconds are the coarsest clock of a usual file system (FAT's)."""

PathOf = Callable[[str], Path]
"""Where the photograph of a key lies."""

_AGAIN = "delete it and run the same command again: it is done anew."


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of a stage that a worker does by itself.

    Attributes:
        number: its place among the shards.
        keys: of its photographs.
        path: the file of its results.
        fingerprint: of the stage.
        killed: the photographs that are not looked at, each with how it ended its process; see `runs.lethal`.
    """

    number: int
    keys: tuple[str, ...]
    path: Path
    fingerprint: str
    killed: Mapping[str, str] = field(default_factory=dict)

    @property
    def record(self) -> Path:
        """The file that vouches for the results."""
        return self.path.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What stands beside a shard's results: their sha256, the processor, and the stamp of each photograph's file."""

    sha256: str
    processor: str
    stamps: tuple[str, ...]


def stamp_of(status: os.stat_result) -> str:
    """What tells cheaply that a file is still the one that was read: size, and times of content and of entry in ns.

    Empty where it would not tell: the file was changed within UNSETTLED_SECONDS. Another stamp does not mean another
    content (a copy has other times); the digest decides then.
    """
    if time.time() - status.st_mtime < UNSETTLED_SECONDS:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def write_shard(shard: Shard, arrays: Mapping[str, np.ndarray], stamps: Sequence[str]) -> None:
    """Write the results and their record.

    Args:
        arrays: among them `sha256` (text [n]): of each photograph's file, "" where there was none to read.
        stamps: of each photograph's file, as it was opened; "" where there was none, or where it would not tell.
    """
    sha256 = write_arrays(shard.path, arrays)
    write_json(
        shard.record,
        {
            "format": SHARD_FORMAT,
            "fingerprint": shard.fingerprint,
            "shard": shard.number,
            "sha256": sha256,
            "processor": processor(),
            "stamps": list(stamps),
        },
    )


def read_record(shard: Shard) -> ShardRecord:
    """The record of a finished shard.

    Raises:
        StageError: it cannot be read, was changed, or is of other work.
    """
    body = read_json(shard.record, _AGAIN)
    for name, wanted in (("format", SHARD_FORMAT), ("fingerprint", shard.fingerprint), ("shard", shard.number)):
        if type(body.get(name)) is not type(wanted) or body[name] != wanted:
            raise StageError(
                f"{shard.record}: its {name} is {str(body.get(name))[:12]}, expected {str(wanted)[:12]}.",
                "it is of other work: move the shard away, and run the same command again.",
            )
    try:
        record = ShardRecord(body["sha256"], body["processor"], tuple(body["stamps"]))
    except (KeyError, TypeError) as error:
        raise StageError(f"{shard.record}: is no record of a shard ({error!r}).", _AGAIN) from error
    if len(record.stamps) != len(shard.keys):
        raise StageError(f"{shard.record}: {len(record.stamps)} stamps, expected {len(shard.keys)}.", _AGAIN)
    return record


def read_shard(shard: Shard, dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays named in `dtypes`, of the very bytes that the record vouches for.

    Raises:
        StageError: results or record cannot be read or are not those that were written; see `read_arrays`.
    """
    return read_arrays(shard.path, dtypes, read_record(shard).sha256)


def require_whole(shard: Shard, record: ShardRecord) -> None:
    """Raise StageError unless the results are those that the record vouches for."""
    found = sha256_of_file(shard.path)
    if found != record.sha256:
        raise StageError(
            f"{shard.path}: sha256 is {found[:12]}..., expected {record.sha256[:12]}... as it was written.", _AGAIN
        )


def changed_photographs(shard: Shard, record: ShardRecord, path_of: PathOf) -> Iterator[tuple[str, str]]:
    """Key, and what became of it, of each photograph that is not the one that the shard saw.

    A file whose stamp is the recorded one is taken for the same; of every other file the digest decides.
    """
    other = [place for place, key in enumerate(shard.keys) if not _has_stamp(path_of(key), record.stamps[place])]
    if not other:
        return
    digests = read_shard(shard, {"sha256": "<U"})["sha256"].tolist()
    for place in other:
        key, then = shard.keys[place], digests[place]
        now = _digest(path_of(key))
        if now != then:
            yield key, "gone" if not now else "there now" if not then else "another file"


def _has_stamp(path: Path, stamp: str) -> bool:
    try:
        return bool(stamp) and stamp_of(path.stat()) == stamp
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    """sha256 of a photograph's file; "" where there is none to read."""
    try:
        return sha256_of_file(path) if path.is_file() else ""
    except (OSError, ValueError):  # a name that no file can have is one that cannot be read
        return ""
