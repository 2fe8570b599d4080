# SPDX-License-Identifier: Apache-2.0
"""`run.json`: what a run came from, and the digests of all that it left. Who reads a result asks here first.

It is written once, when the run's results are complete, and never sealed anew for other results: a second run of the
same command finds what is recorded, or is refused. What is made of a finished run afterwards (its score, drawings) is
added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facepipe.errors import StageError
from facepipe.store import owned
from facepipe.store.files import lacking, read_json, sha256_of_file, write_json
from facepipe.store.photograph_digests import PHOTOGRAPHS_FILE
from facepipe.store.resumable import START_OVER
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, Written

RUN_FILE = "run.json"
ACCURACY_FILE = "accuracy.json"
WRITTEN = (FACES_FILE, EMBEDDINGS_FILE, PHOTOGRAPHS_FILE)
"""What a run writes from its shards."""
UNSEALED_FILE = "unsealed.json"
"""In place of run.json while photographs of the run end every process that looks at them: `killed`, key to how."""

_FINISH = "the command that made the run again: it finishes the run."


def write_run(run: Path, facts: Mapping[str, object], written: Written) -> None:
    """Write `run`/run.json: the facts, what was counted, and the sha256 of what the run wrote."""
    counted = {
        "photographs": written.images,
        "faces": written.faces,
        "unread": written.unread,
        "faceless": written.faceless,
    }
    write_json(run / RUN_FILE, {**facts, **counted, "sources": {}, "results": digests_of(run, WRITTEN)})


def read_run(run: Path, also: Iterable[str] = ()) -> dict[str, Any]:
    """The content of `run`/run.json, after holding against it what is about to be read: WRITTEN, and `also`.

    Raises:
        StageError: there is none, it was changed, or a file is not the one that it tells of; or the run lacks
            photographs that end their process.
    """
    refuse_unsealed(run)
    require_finished(run)
    record = _record(run, _FINISH)
    _require(run, record, [*WRITTEN, *also])
    return record


def require_finished(run: Path) -> None:
    """Raise StageError where `run` is not the folder of a finished run, saying what it is."""
    if (run / RUN_FILE).is_file():
        return
    if not run.is_dir():
        raise StageError(f"{run}: {lacking(run, 'folder')}, expected the folder of a finished run.")
    if any(run.glob("*/begun.json")):
        raise StageError(f"{run}: was begun and not finished, expected a finished run.", _FINISH)
    raise StageError(f"{run}: has no {RUN_FILE}, expected a finished run of `facepipe embed` or `facepipe lfw`.")


@contextmanager
def adding(run: Path, names: Sequence[str], sources: Mapping[str, tuple[Path, str]] | None = None) -> Iterator[None]:
    """What is made of a finished run inside the block: its files stand in run.json by digest afterwards.

    Before the block an older file of the name is struck out, so that no kill leaves a digest of another file.

    Args:
        sources: what the files were made from besides: where it lay, and the sha256 of what was read.

    Raises:
        StageError: there is no run.json, or it was changed.
    """
    record = _record(run, _FINISH)
    kept = {name: digest for name, digest in record["results"].items() if name not in names}
    if kept != record["results"]:
        write_json(run / RUN_FILE, {**record, "results": kept})
    yield
    told = record["sources"]
    if sources is not None:
        told = {name: {"path": str(path.absolute()), "sha256": sha256} for name, (path, sha256) in sources.items()}
    results = {**kept, **digests_of(run, names)}
    write_json(run / RUN_FILE, {**record, "results": results, "sources": told})


def written_before(run: Path, made_from: Mapping[str, object], write: Callable[[], object]) -> Written | None:
    """What an earlier call wrote of the same complete work, which stays as it is; None where nothing was finished.

    Args:
        made_from: fields of run.json that tell the work.
        write: writes the results of the work; called where one is gone.

    Raises:
        StageError: run.json is of other work, or a result is not the one that it tells of.
    """
    if not (run / RUN_FILE).is_file():
        return None
    record = _record(run, START_OVER)
    if any(record.get(name) != value for name, value in made_from.items()):
        raise StageError(f"{run / RUN_FILE}: is of other work than lies beside it, expected this run's.", START_OVER)
    there = [name for name in WRITTEN if (run / name).is_file()]
    _require(run, record, there)
    if len(there) < len(WRITTEN):
        write()
        _require(run, record, WRITTEN)
    return Written(record["photographs"], record["faces"], record["unread"], record["faceless"])


def discard_results(run: Path, folders: Iterable[Path]) -> None:
    """Remove the results of a run that starts over, and then the record that tells of them.

    Args:
        folders: of the stages, which start over next.

    Raises:
        StageError: a result is not the one that the record tells of, or something in one of the folders is not
            facepipe's: nothing was removed then.
    """
    for folder in folders:
        owned.require_all_own(folder)
    if (run / RUN_FILE).is_file():
        record = _record(run, "move it away.")
        there = [name for name in record["results"] if (run / name).is_file()]
        _require(run, record, there)
        for name in (*there, RUN_FILE):
            owned.remove(run / name)


def digests_of(run: Path, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of each of these files of a run."""
    return {name: sha256_of_file(run / name) for name in names}


def refuse_unsealed(run: Path) -> None:
    """Raise StageError where a run lacks photographs that end the process that looks at them."""
    path = run / UNSEALED_FILE
    if path.exists():
        killed = read_json(path).get("killed")
        first = f" (first: {min(killed)})" if isinstance(killed, dict) and killed else ""
        raise StageError(
            f"{path}: photographs end the process that looks at them{first}: the run is not sealed, expected all to be "
            "looked at.",
            "the command that made the run again.",
        )


def _record(run: Path, attempt: str) -> dict[str, Any]:
    path = run / RUN_FILE
    record = read_json(path, attempt)
    forms = {"results": dict, "sources": dict, "photographs": int, "faces": int, "unread": int, "faceless": int}
    for name, form in forms.items():
        if type(record.get(name)) is not form:
            raise StageError(f"{path}: names no '{name}', expected the record of a finished run.", attempt)
    return record


def _require(run: Path, record: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise StageError where one of these results is not the one that the record tells of."""
    for name in names:
        told = record["results"].get(name)
        if not (run / name).is_file():
            raise StageError(f"{run / name}: no such file, expected a result of the run.", _FINISH)
        found = sha256_of_file(run / name)
        if found != told:
            raise StageError(
                f"{run / name}: sha256 is {found[:12]}..., expected {str(told)[:12]}... as the run wrote it.",
                "move it away, and the command that made the run again: it is written anew from the shards.",
            )
