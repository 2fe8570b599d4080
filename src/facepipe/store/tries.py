# SPDX-License-Identifier: Apache-2.0
"""How often a shard was begun and not finished, and what was found out since: `tries-00003.json` beside the shard.

The note is written before a shard is begun and removed when the shard is there, so that it outlives whatever ends the
process, or all of them. It is sealed JSON:

tries     how often the shard was begun among others and not finished
probes    then: which of its photographs were looked at in a process of their own, and how that process ended; in order
killed    the photographs that the shard was done without, with how each ended its process
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facepipe.errors import StageError
from facepipe.store import owned
from facepipe.store.files import read_json, sha256_of_json, write_json
from facepipe.store.resumable import listing

TRIES_FORMAT = "facepipe.tries.1"

_NOTE = re.compile(r"tries-(\d{5,})\.json")
_ATTEMPT = "delete it and run the same command again."


@dataclass(frozen=True, slots=True)
class Probe:
    """Some photographs of a shard that were looked at in a process of their own.

    Attributes:
        first: the key of the first; for who reads the note.
        count: how many.
        keys_sha256: of the list of their keys, as JSON.
        ended: how the process died, in the words of `engine.Died`; "" where it lived; None while it is at work, or
            where nobody was left to see its end.
    """

    first: str
    count: int
    keys_sha256: str
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a shard that is not finished; see the head of this file."""

    tries: int = 0
    probes: tuple[Probe, ...] = ()
    killed: Mapping[str, str] = field(default_factory=dict)


def probe_of(keys: Sequence[str]) -> Probe:
    """A probe of these photographs (at least one) that is at work."""
    return Probe(keys[0], len(keys), sha256_of_json(list(keys)))


def note_path(folder: Path, shard: int) -> Path:
    """Where the note of a shard lies."""
    return folder / f"tries-{shard:05d}.json"


def write_note(folder: Path, shard: int, note: Note) -> None:
    """Write the note, whole; one that says nothing is removed."""
    path = note_path(folder, shard)
    if note == Note():
        owned.remove(path)
    else:
        write_json(path, {"format": TRIES_FORMAT, **asdict(note), "killed": dict(note.killed)})


def read_note(folder: Path, shard: int) -> Note:
    """The note of a shard; an empty one where there is none.

    Raises:
        StageError: it cannot be read, or is not what was written.
    """
    path = note_path(folder, shard)
    if not path.exists():
        return Note()
    content = read_json(path, _ATTEMPT)
    try:
        if content["format"] != TRIES_FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        probes = tuple(Probe(**probe) for probe in content["probes"])
        return Note(int(content["tries"]), probes, {str(key): str(how) for key, how in content["killed"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StageError(f"{path}: is no note of tries ({error}).", _ATTEMPT) from error


def read_notes(folder: Path) -> dict[int, Note]:
    """All notes of a stage's folder, by shard."""
    numbers = sorted(int(match[1]) for name in listing(folder) if (match := _NOTE.fullmatch(name)))
    return {number: read_note(folder, number) for number in numbers}
