# SPDX-License-Identifier: Apache-2.0
"""What a finished run came from, by digest, and whether all of it is still what it was.

`run.json` names the model files, the weights behind them, the pairs file and the run's own results by sha256, the
manifests of its stages every shard, the indices of its bins every batch; `photographs.sha256` names every photograph.
`changes` computes all of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facepipe.catalogue import find
from facepipe.catalogue.imported import record_path
from facepipe.errors import DataError, StageError
from facepipe.runs.embed_stage import OUTPUTS, RECORD
from facepipe.store.bins import INDEX
from facepipe.store.files import read_json, sha256_of_file
from facepipe.store.photograph_digests import PHOTOGRAPHS_FILE, read_digests
from facepipe.store.run_record import RUN_FILE, refuse_unsealed, require_finished

Kind = Literal["result", "shard", "bin", "model", "weights", "source", "photograph"]

_LISTS: tuple[tuple[Kind, str, str], ...] = (
    *(("shard", f"{stage}/manifest.json", "") for stage in ("fused", "pnet", "rnet", "onet", "crop")),
    ("bin", f"pack/{INDEX}", "bins"),
    ("bin", f"embed/{RECORD}", OUTPUTS),
)
"""What lists the files of a stage by digest, and the folder below it in which they lie."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One file that a result names, and what became of it.

    Attributes:
        state: "same"; "changed"; "gone"; or "appeared", of a photograph that could not be read then and can be now.
    """

    kind: Kind
    path: Path
    state: Literal["same", "changed", "gone", "appeared"]


def changes(run: Path, weights: Path | None = None, root: Path | None = None) -> Iterator[Checked]:
    """Every file that the run names, each with its state now; files are read one after the other.

    Args:
        run: a finished run's folder.
        weights: where the models lie now; None: where they lay.
        root: where the photographs lie now; None: where they lay.

    Raises:
        StageError: there is no run.json, or it is no JSON; or the run lacks photographs that end their process.
        DataError: run.json or photographs.sha256 has another form.
    """
    record = _record(run)
    folder = weights or Path(record["weights_folder"])
    for name, digest in record["results"].items():
        yield _checked("result", run / name, digest)
    for kind, file, below in _LISTS:
        if (run / file).is_file():
            yield from _listed(kind, run / file, below)
    for model in record["models"]:
        yield _checked("model", folder / model["file"], model["sha256"])
        spec = find(str(model.get("model")), folder)
        if spec is not None and spec.imported is not None:  # what its record says stands for its weights
            same = spec.imported.meaning == model.get("weights_sha256")
            yield Checked("weights", record_path(spec.name, folder), "same" if same else "changed")
            continue
        checkpoint = folder / spec.weights.file if spec is not None and spec.weights.file else None
        # A machine that only runs the converted model has no checkpoint: that is no change.
        if checkpoint is not None and checkpoint.is_file() and model.get("weights_sha256"):
            yield _checked("weights", checkpoint, model["weights_sha256"])
    for source in record["sources"].values():
        yield _checked("source", Path(source["path"]), source["sha256"])
    photographs = root or Path(record["root"])
    for key, digest in read_digests(run / PHOTOGRAPHS_FILE):
        yield _checked("photograph", photographs / key, digest)


def summary(found: Iterator[Checked], progress: Callable[[int], None]) -> tuple[dict[str, int], list[Checked]]:
    """How many files of each kind were looked at, and those that are not the same."""
    counts: dict[str, int] = {}
    differing = []
    for checked in found:
        counts[checked.kind] = counts.get(checked.kind, 0) + 1
        if checked.state != "same":
            differing.append(checked)
        progress(1)
    return counts, differing


def _record(run: Path) -> dict[str, Any]:
    path = run / RUN_FILE
    refuse_unsealed(run)
    require_finished(run)
    record = read_json(path)
    forms = {"results": dict, "models": list, "sources": dict, "root": str, "weights_folder": str}
    for name, form in forms.items():
        if not isinstance(record.get(name), form):
            raise DataError(
                f"{path}: names no '{name}', expected the record of a finished run.",
                "run the same command again: it finishes the run, or writes the record anew.",
            )
    for kind, named, field in (("model", record["models"], "file"), ("source", record["sources"].values(), "path")):
        if not all(isinstance(entry, dict) and _has_text(entry, field, "sha256") for entry in named):
            raise DataError(f"{path}: a {kind} has no {field} or no digest, expected both for each.")
    if not _has_text(record["results"], *record["results"]):
        raise DataError(f"{path}: a result has no digest, expected one for each.")
    return record


def _has_text(entry: Mapping[str, object], *names: str) -> bool:
    return all(isinstance(entry.get(name), str) for name in names)


def _listed(kind: Kind, path: Path, below: str) -> Iterator[Checked]:
    """The files that a manifest or an index lists, the records beside shards, and the list itself."""
    try:
        body = read_json(path)
        listed = body.get("shards") or body["files"]
        digests = listed if isinstance(listed, dict) else {entry["file"]: entry["sha256"] for entry in listed}
    except (StageError, KeyError, TypeError):
        yield Checked(kind, path, "changed")
        return
    for name, digest in digests.items():
        file = path.parent / below / name
        yield _checked(kind, file, digest)
        if kind == "shard":
            yield _record_checked(file.with_suffix(".json"), digest)


def _record_checked(path: Path, digest: str) -> Checked:
    if not path.is_file():
        return Checked("shard", path, "gone")
    try:
        same = read_json(path).get("sha256") == digest
    except StageError:
        same = False
    return Checked("shard", path, "same" if same else "changed")


def _checked(kind: Kind, path: Path, digest: str) -> Checked:
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a NUL
        there = False
    if not there:
        return Checked(kind, path, "gone" if digest else "same")
    if not digest:  # a photograph that could not be opened; there may be one now
        return Checked(kind, path, "appeared")
    return Checked(kind, path, "same" if sha256_of_file(path) == digest else "changed")
