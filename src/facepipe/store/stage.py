# SPDX-License-Identifier: Apache-2.0
"""A piece of work that is cut into shards, can be killed at any moment, and goes on where it was.

A stage's folder holds `begun.json` (what the results depend on, and their fingerprint), two files for each finished
shard (`store.shard`), and `manifest.json` (the same as `begun.json`, with the shards' digests), which is written last:
its presence means "complete". What goes on is held against what was begun: parameters, shards by digest, photographs
by stamp and digest, the processor.
A shard is a range of the sorted keys; nothing that is computed crosses its edge, so a shard that is done again has the
same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facepipe.errors import StageError
from facepipe.store import resumable
from facepipe.store.files import read_json, sha256_of_json
from facepipe.store.lock import LOCK, held
from facepipe.store.owned import claim, folders_written
from facepipe.store.parts import remove_parts
from facepipe.store.provenance import processor
from facepipe.store.resumable import START_OVER, Resumable, digests_in, listing
from facepipe.store.shard import (
    SHARD_FORMAT,
    PathOf,
    Shard,
    ShardRecord,
    changed_photographs,
    read_record,
    require_whole,
)


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
        """The file of one shard's results; the record beside it exists when the shard is finished."""
        return self.folder / f"shard-{shard:05d}.npz"

    def shards(self) -> list[Shard]:
        """All of them, in order, finished or not."""
        fingerprint = str(self.definition()["fingerprint"])
        return [Shard(n, self.shard_keys(n), self.shard_path(n), fingerprint) for n in range(self.shard_count)]

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


def begin(stage: Stage, path_of: PathOf, *, force: bool = False, other_processor: bool = False) -> list[int]:
    """The shards that are still to be done, after checking that what is done belongs to the same work.

    Args:
        path_of: where the photograph of a key lies now; the folder's own path is no part of the work.
        force: throw away what is there and start over.
        other_processor: go on with what another processor began; each shard's record says which one made it.

    Raises:
        StageError: the folder was begun with other parameters, which are named; holds shards of other work, or that
            are not what was written; or the photographs, or the processor, are others now.
    """
    shards = stage.shards()
    names = [name for shard in shards for name in (shard.path.name, shard.record.name)]
    begun = resumable.begin(_folder(stage.folder, stage.name), stage.definition(), names, force=force)
    finished = [shard for shard in shards if {shard.path.name, shard.record.name} <= begun.there.keys()]
    records = {shard.number: read_record(shard) for shard in finished}
    _require_of_manifest(stage, begun.done, records)
    if not other_processor:
        _refuse_other_processor(stage, records)
    for shard in finished:
        require_whole(shard, records[shard.number])
    _refuse_other_photographs(stage, path_of, finished, records)
    return [shard.number for shard in shards if shard.number not in records]


def finish(stage: Stage) -> None:
    """Write the manifest; the stage is complete.

    Raises:
        StageError: a shard is absent; or one that was done again is not the one that the manifest tells of.
    """
    there, shards = listing(stage.folder), stage.shards()
    absent = [shard.number for shard in shards if not {shard.path.name, shard.record.name} <= there.keys()]
    if absent:
        raise StageError(
            f"stage {stage.name}: {len(absent)} of {stage.shard_count} shards are absent (first: {absent[0]}), "
            "expected all.",
            "run the same command again to finish them.",
        )
    work = _folder(stage.folder, stage.name)
    records = {shard.number: read_record(shard) for shard in shards}
    if work.done in there:
        _require_of_manifest(stage, resumable.require_complete(work), records)
    else:
        digests = {shard.path.name: records[shard.number].sha256 for shard in shards}
        resumable.finish(work, {**stage.definition(), "shards": digests})


def require_complete(folder: Path, name: str) -> dict[str, Any]:
    """The manifest of a stage that a later one reads.

    Raises:
        StageError: the stage is not complete, or a shard's record is not of the shard that the manifest tells of.
    """
    work = _folder(folder, name)
    manifest = resumable.require_complete(work)
    for file, digest in digests_in(manifest, "shards", folder / work.done).items():
        record = (folder / file).with_suffix(".json")
        if read_json(record, work.attempt).get("sha256") != digest:
            raise StageError(f"{record}: is of another shard than manifest.json tells of.", START_OVER)
    return manifest


def processors(stage: Stage) -> dict[str, int]:
    """How many shards of a complete stage each processor made."""
    return dict(sorted(Counter(read_record(shard).processor for shard in stage.shards()).items()))


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
        guarded="shard-*",
        comparable=_without_shards,
        keeps_begun=True,
        attempt=f"`facepipe stage {name} --run {folder.parent}`",
    )


def _require_of_manifest(stage: Stage, manifest: Mapping[str, Any] | None, records: Mapping[int, ShardRecord]) -> None:
    """Raise StageError where a shard is not the one that the manifest, if there is one, tells of."""
    if manifest is None:
        return
    told = digests_in(manifest, "shards", stage.folder / "manifest.json")
    for number, record in records.items():
        name = stage.shard_path(number).name
        if told.get(name) != record.sha256:
            raise StageError(
                f"stage {stage.name}: {stage.folder / name} is not the shard that manifest.json tells of, expected the "
                "one that the run was finished with.",
                START_OVER,
            )


def _refuse_other_processor(stage: Stage, records: Mapping[int, ShardRecord]) -> None:
    now = processor()
    other = [number for number, record in records.items() if record.processor != now]
    if other:
        raise StageError(
            f"stage {stage.name}: {len(other)} of {len(records)} finished shards were made by a processor with "
            f"'{records[other[0]].processor}' (first: shard {other[0]}), this one has '{now}', and vectors of another "
            "width round otherwise.",
            "--other-processor to go on and have each shard say what made it, or another folder.",
        )


def _refuse_other_photographs(
    stage: Stage, path_of: PathOf, finished: list[Shard], records: Mapping[int, ShardRecord]
) -> None:
    changed = [one for shard in finished for one in changed_photographs(shard, records[shard.number], path_of)]
    if changed:
        key, what = changed[0]
        raise StageError(
            f"stage {stage.name}: {len(changed):,} photographs are not those that {stage.folder} was made from (first: "
            f"{path_of(key)} is {what}), expected the same ones.",
            f"put them back, or {START_OVER}",
        )


def _without_shards(record: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in record.items() if name != "shards"}


def _busy(run: Path, owner: str, option: str) -> StageError:
    return StageError(
        f"{run}: process {owner} is working in this folder, expected nobody.",
        f"wait for it, or {option} with another folder.",
    )
