# SPDX-License-Identifier: Apache-2.0
"""A piece of work that is cut into shards, can be killed at any moment, and goes on where it was.

A stage's folder holds `begun.json` (what the results depend on, and their fingerprint), one file for each finished
shard, and `manifest.json` (the same, with the shards' digests), which is written last: its presence means "complete".
A shard is a range of the sorted keys; nothing that is computed crosses its edge, so a shard that is done again has the
same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from facepipe.errors import StageError
from facepipe.store.files import read_json, sha256_of_file, sha256_of_json, write_json
from facepipe.store.lock import held

FORMAT = 3  # of the shard files; part of every fingerprint


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
            "format": FORMAT,
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
        StageError: the folder was begun with other parameters, which are named.
    """
    begun = stage.folder / "begun.json"
    if force and stage.folder.exists():
        shutil.rmtree(stage.folder)
    wanted = stage.definition()
    if begun.exists():
        _refuse_difference(stage, read_json(begun), wanted)
    else:
        if stage.folder.exists() and any(stage.folder.glob("shard-*.npz")):
            raise StageError(
                f"stage {stage.name}: {stage.folder} holds shards and no begun.json, expected both or neither.",
                "--force to start it over.",
            )
        write_json(begun, wanted)
    remove_parts(stage.folder)
    return [shard for shard in range(stage.shard_count) if not stage.shard_path(shard).exists()]


def finish(stage: Stage) -> None:
    """Write the manifest; the stage is complete.

    Raises:
        StageError: a shard is absent.
    """
    absent = [shard for shard in range(stage.shard_count) if not stage.shard_path(shard).exists()]
    if absent:
        raise StageError(
            f"stage {stage.name}: {len(absent)} of {stage.shard_count} shards are absent (first: {absent[0]}).",
            "run the same command again to finish them.",
        )
    manifest = stage.folder / "manifest.json"
    if manifest.exists():
        return
    shards = {path.name: sha256_of_file(path) for path in map(stage.shard_path, range(stage.shard_count))}
    write_json(manifest, {**stage.definition(), "shards": shards})


def require_complete(folder: Path, name: str) -> dict[str, object]:
    """The manifest of a stage that a later one reads.

    Raises:
        StageError: the stage is not complete.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise StageError(
            f"stage {name}: {folder} is not complete (no manifest.json).",
            f"`facepipe stage {name} --run {folder.parent}`",
        )
    content = read_json(manifest)
    if not isinstance(content, dict):
        raise StageError(f"{manifest}: is {type(content).__name__}, expected an object.", "--force to start it over.")
    return content


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder alone. The lock dies with its owner, so a stale one cannot be.

    What a killed owner left half-written, anywhere below, is removed.

    Raises:
        StageError: another process works in this folder; its number is named.
    """
    run.mkdir(parents=True, exist_ok=True)
    with held(run / "lock", lambda owner: _busy(run, owner)):
        remove_parts(run)
        yield


def remove_parts(folder: Path) -> None:
    """Remove what a killed process left half-written, at any depth. Call it only while holding the run's lock."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def _busy(run: Path, owner: str) -> StageError:
    return StageError(
        f"{run}: process {owner} is working in this folder, expected nobody.",
        "wait for it, or --run with another folder.",
    )


def _refuse_difference(stage: Stage, begun: object, wanted: Mapping[str, object]) -> None:
    """Raise StageError naming the first thing in which the folder's work differs from the one asked for."""
    if not isinstance(begun, dict):
        raise StageError(f"{stage.folder / 'begun.json'}: is no object.", "--force to start it over.")
    if begun.get("fingerprint") == wanted["fingerprint"]:
        return
    was, now = _flat(begun), _flat(wanted)
    names = [
        name for name in sorted(was.keys() | now.keys()) if name != "fingerprint" and was.get(name) != now.get(name)
    ]
    name = names[0] if names else "fingerprint"
    raise StageError(
        f"stage {stage.name}: {stage.folder} was begun with {name}={was.get(name)}, this run asks for {now.get(name)}.",
        "--force to start it over, or --run with another folder to keep both.",
    )


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested objects as one level: {"parameters.batch": 16}."""
    flat: dict[str, object] = {}
    for name, entry in value.items():
        if isinstance(entry, dict):
            flat.update(_flat(entry, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = entry
    return flat
