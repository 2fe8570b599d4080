# SPDX-License-Identifier: Apache-2.0
"""A piece of work that is cut into shards, can be killed at any moment, and goes on where it was.

A stage's folder holds `begun.json` (what the results depend on, and their fingerprint), one file for each finished
shard, and `manifest.json` (the same, with the shards' digests), which is written last: its presence means "complete".
A shard is a range of the sorted keys; nothing that is computed crosses its edge, so a shard that is done again has the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from facepipe.errors import StageError
from facepipe.store import resumable
from facepipe.store.files import sha256_of_file, sha256_of_json
from facepipe.store.lock import LOCK, held
from facepipe.store.owned import claim, folders_written
from facepipe.store.parts import remove_parts
from facepipe.store.resumable import Resumable, listing

SHARD_FORMAT = 3  # part of every fingerprint


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of a stage that a worker does by itself: its number, its keys, and the file that it becomes."""

    number: int
    keys: tuple[str, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of one run.

    Attributes:
        folder: where its files lie.
        name: "fused", "pnet", ...
        parameters: all that the results depend on, as JSON values: models by digest, thresholds, batch, ...
        keys: what is worked on, sorted.
        shard_size: keys in each shard but the last.
    """

    folder: Path
    name: str
    parameters: Mapping[str, object]
    keys: tuple[str, ...]
    shard_size: int

    @property
    def shard_count(self) -> int:
        return -(-len(self.keys) // self.shard_size)

    def shard_keys(self, shard: int) -> tuple[str, ...]:
        """The keys of one shard."""
        return self.keys[shard * self.shard_size : (shard + 1) * self.shard_size]

    def shard_path(self, shard: int) -> Path:
        """The file of one shard; it exists when the shard is finished."""
        return self.folder / f"shard-{shard:05d}.npz"

    def shards(self) -> list[Shard]:
        """All of them, in order, finished or not."""
        return [Shard(n, self.shard_keys(n), self.shard_path(n)) for n in range(self.shard_count)]

    def definition(self) -> dict[str, object]:
        """What `begun.json` holds."""
        body: dict[str, object] = {
            "format": SHARD_FORMAT,
            "stage": self.name,
            "parameters": dict(self.parameters),
            "keys": len(self.keys),
            "keys_sha256": sha256_of_json(list(self.keys)),
            "shard_size": self.shard_size,
        }
        body = json.loads(json.dumps(body))  # tuples become lists, as they will be when read back
        return {**body, "fingerprint": sha256_of_json(body)}


def begin(stage: Stage, *, force: bool = False) -> list[int]:
    """The shards that are still to be done, after checking that what is done belongs to the same work.

    Args:
        force: throw away what is there and start over.

    Raises:
        StageError: the folder was begun with other parameters, which are named, or holds shards of other work.
    """
    names = {stage.shard_path(shard).name: shard for shard in range(stage.shard_count)}
    there = resumable.begin(_folder(stage.folder, stage.name), stage.definition(), names, force=force).there
    return [shard for name, shard in names.items() if name not in there]


def finish(stage: Stage) -> None:
    """Write the manifest; the stage is complete.

    Raises:
        StageError: a shard is absent.
    """
    there = listing(stage.folder)
    paths = [stage.shard_path(shard) for shard in range(stage.shard_count)]
    absent = [shard for shard, path in enumerate(paths) if path.name not in there]
    if absent:
        raise StageError(
            f"stage {stage.name}: {len(absent)} of {stage.shard_count} shards are absent (first: {absent[0]}), "
            "expected all.",
            "run the same command again to finish them.",
        )
    work = _folder(stage.folder, stage.name)
    if work.done not in there:
        shards = {path.name: sha256_of_file(path) for path in paths}
        resumable.finish(work, {**stage.definition(), "shards": shards})


def require_complete(folder: Path, name: str) -> dict[str, object]:
    """The manifest of a stage that a later one reads.

    Raises:
        StageError: the stage is not complete.
    """
    return resumable.require_complete(_folder(folder, name))


@contextmanager
def locked(run: Path, option: str = "--run") -> Iterator[None]:
    """Hold the run folder alone; it is made, and claimed, where it is not there. The lock dies with its owner, so a
    stale one cannot be.

    What a killed owner left half-written, in the folders where facepipe wrote, is removed: now, and again at the end,
    since a worker can outlive its killed owner for a moment.

    Args:
        option: of the command, which names another folder.

    Raises:
        StageError: the folder holds something and is none of facepipe's; or another process works in it, whose number
            and machine are named.
    """
    claim(run, f"{option} with another folder.")
    with held(run / LOCK, lambda owner: _busy(run, owner, option)):
        _remove_parts(run)
        try:
            yield
        finally:
            _remove_parts(run)


def _remove_parts(run: Path) -> None:
    for folder in folders_written(run):
        remove_parts(folder)


def _folder(folder: Path, name: str) -> Resumable:
    return Resumable(
        folder,
        f"stage {name}",
        begun="begun.json",
        done="manifest.json",
        guarded="shard-*.npz",
        comparable=_without_shards,
        keeps_begun=True,
        attempt=f"`facepipe stage {name} --run {folder.parent}`",
    )


def _without_shards(record: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in record.items() if name != "shards"}


def _busy(run: Path, owner: str, option: str) -> StageError:
    return StageError(
        f"{run}: process {owner} is working in this folder, expected nobody.",
        f"wait for it, or {option} with another folder.",
    )
