# SPDX-License-Identifier: Apache-2.0
"""A folder of work that can be killed at any moment and goes on where it was: the one way in which that is done.

    <begun>    what the results depend on; written before the first result
    results    files that appear whole (store.files.atomic_path), in the folder or in one below it
    <done>     written last: its presence means "complete"

Work that was begun with anything else is refused, and the first difference is named. What is there is known from one
listing of the folder. Shards, bins and a runner's outputs are such folders; each has its own names of the two records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from facepipe.errors import StageError
from facepipe.store import owned
from facepipe.store.files import read_json, write_json
from facepipe.store.parts import remove_parts

START_OVER = "--force to start it over, or another folder to keep both."


def same(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record as it is."""
    return record


@dataclass(frozen=True, slots=True)
class Resumable:
    """One such folder, and what its files are called.

    Attributes:
        folder: where the two records lie.
        name: opens every error: "stage pnet", "bins".
        begun: the file that says what was begun.
        done: the file that says that all is there.
        results: the folder of the results below `folder`; "" where they lie beside the records.
        guarded: pattern of the names that only this work may have there: others of that pattern are refused.
        comparable: a record without what only the end of the work tells. Two works are one when these are equal.
        keeps_begun: whether `begun` stays when the work is done.
        attempt: what to try where the folder is not complete.
        start_over: what to try where it was begun with something else, or its record is damaged.
    """

    folder: Path
    name: str
    begun: str
    done: str
    results: str = ""
    guarded: str = "*"
    comparable: Callable[[Mapping[str, Any]], Mapping[str, Any]] = same
    keeps_begun: bool = False
    attempt: str = "run the same command again."
    start_over: str = START_OVER


@dataclass(frozen=True, slots=True)
class Begun:
    """What `begin` found.

    Attributes:
        done: the record of the finished work; None while it goes on.
        there: the results that are there, by name, from one listing.
    """

    done: Mapping[str, Any] | None
    there: Mapping[str, os.DirEntry[str]]


def listing(folder: Path) -> dict[str, os.DirEntry[str]]:
    """What is in a folder by name, hidden names left out; nothing where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries if not entry.name.startswith(".")}
    except FileNotFoundError:
        return {}


def begin(work: Resumable, record: Mapping[str, Any], names: Collection[str], *, force: bool = False) -> Begun:
    """Settle whose folder this is, and say what is there.

    Args:
        record: what the results depend on, as JSON values.
        names: of all results.
        force: throw away what is there and start over.

    Raises:
        StageError: the folder was begun with something else, which is named; or holds files that are not of this work.
    """
    if owned.record_above(work.folder) is None:
        owned.claim(work.folder)  # of a run's own folder its driver has seen to it
    results = work.folder / work.results
    owned.require_place(results / work.begun)  # no link leads out of the run
    if force:
        _start_over(work)
    record = json.loads(json.dumps(record))  # tuples become lists, as they will be when read back
    here = listing(work.folder)
    there = listing(results) if work.results else here
    found = {file: _record(work, file) for file in (work.done, work.begun) if file in here}
    for old in found.values():
        _refuse_difference(work, old, record)
    guarded = {name for name in there if fnmatchcase(name, work.guarded)}
    if not found and guarded:
        raise StageError(
            f"{work.name}: {results} holds {len(guarded)} files of unknown origin (first: {min(guarded)}), expected "
            f"{work.begun} to tell it.",
            "move them away, or --force to start it over.",
        )
    foreign = guarded - set(names)
    if foreign:
        raise StageError(
            f"{work.name}: {results} holds {len(foreign)} files that are not of this work (first: {min(foreign)}), "
            "expected no other.",
            "move them away.",
        )
    results.mkdir(parents=True, exist_ok=True)
    if not found:
        write_json(work.folder / work.begun, record)
    for folder in {work.folder, results}:
        remove_parts(folder)
    if work.done in found:
        _tidy(work)  # killed between the record of the end and this
    there = {name: entry for name, entry in there.items() if name in names}
    return Begun(found.get(work.done), there)


def finish(work: Resumable, record: Mapping[str, Any]) -> None:
    """Write the record that says "complete"."""
    write_json(work.folder / work.done, record)
    _tidy(work)


def require_complete(work: Resumable) -> dict[str, Any]:
    """The record of finished work, which a later one reads.

    Raises:
        StageError: the work is not complete, or the record is no JSON object.
    """
    here = listing(work.folder)
    if work.done not in here:
        state = "was begun and not finished" if work.begun in here else "was not begun"
        raise StageError(f"{work.name}: {work.folder} is not complete (no {work.done}): it {state}.", work.attempt)
    return _record(work, work.done)


def digests_in(record: Mapping[str, Any], field: str, path: Path) -> dict[str, str]:
    """The sha256 of each result, by file name, that a record at `path` lists under `field`.

    Raises:
        StageError: it lists none.
    """
    listed = record.get(field)
    if not isinstance(listed, dict) or not all(isinstance(sha256, str) for sha256 in listed.values()):
        raise StageError(f"{path}: lists no {field}, expected the sha256 of each.", START_OVER)
    return listed


def _tidy(work: Resumable) -> None:
    """Remove what only unfinished work needs."""
    if not work.keeps_begun:
        owned.remove(work.folder / work.begun)


def _start_over(work: Resumable) -> None:
    """Remove the results. A kill between any two steps leaves begun work, never a complete one with gaps.

    Raises:
        StageError: something there is not as facepipe wrote it; nothing was removed then.
    """
    begun, done, results = work.folder / work.begun, work.folder / work.done, work.folder / work.results
    owned.require_all_own(results)
    for record in filter(os.path.lexists, (begun, done)):
        owned.require_own(record)
    if done.is_file():
        if begun.is_file():
            owned.remove(done)
        else:
            owned.rename(done, begun)
    owned.remove_below(results, but=begun.name)
    owned.remove(begun)


def _record(work: Resumable, file: str) -> dict[str, Any]:
    return read_json(work.folder / file, work.start_over)


def _refuse_difference(work: Resumable, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise StageError naming the first thing in which the folder's work differs from the one asked for."""
    was, now = _flat(work.comparable(old)), _flat(work.comparable(new))
    names = [name for name in was.keys() | now.keys() if was.get(name, _NOTHING) != now.get(name, _NOTHING)]
    if names:
        name = min(names, key=_tells_least)
        shown = name.removeprefix("parameters.").removeprefix("settings.")
        raise StageError(
            f"{work.folder}: was begun with {shown}={was.get(name, _NOTHING)}, this run asks for "
            f"{now.get(name, _NOTHING)}.",
            work.start_over,
        )


_NOTHING = "nothing"


def _tells_least(name: str) -> tuple[bool, bool, str]:
    """The order in which differences are told: digests, which say nothing to a reader, last."""
    return name == "fingerprint", name.endswith("sha256"), name


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one level: {"parameters.batch": 16}."""
    flat: dict[str, Any] = {}
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            flat.update(_flat(entry, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = entry
    return flat
