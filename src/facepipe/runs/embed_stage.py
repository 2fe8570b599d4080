# SPDX-License-Identifier: Apache-2.0
"""Packed bins to output bins: batch by batch through a session, or a whole folder through a vendor's runner.

    embedded/
      outputs.json                 what the outputs were made from; written last
      outputs/000012_output_0.bin  float32 [batch, D], the network's own answers to 000012.bin, padding rows too

Both ways leave the same files, and `facepipe.runs.unpack` reads them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.backends.ascend.bin_folder import FolderRunner, Say
from facepipe.backends.base import Run
from facepipe.errors import BackendError, StageError, TensorError
from facepipe.store import owned, resumable
from facepipe.store.bins import INDEX, BinFile, BinIndex, check_files, read_batch, read_index
from facepipe.store.files import sha256_of_file, write_bytes
from facepipe.store.parts import part_of
from facepipe.store.resumable import START_OVER, Resumable, digests_in

OUTPUTS_FORMAT = "facepipe.outputs.2"
OUTPUTS, RECORD, BEGUN = "outputs", "outputs.json", "outputs.begun.json"


def embed_bins(
    packed: Path,
    out: Path,
    run: Run,
    width: int,
    made_by: Mapping[str, Any],
    *,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Run a session over every packed batch; keep the outputs that an interrupted run left.

    Args:
        packed: a folder that `store.bins` wrote.
        out: gets `outputs/` and `outputs.json`.
        run: the recogniser's session.
        width: D, of the embedding.
        made_by: what the outputs depend on besides the bins (model digest, back end); JSON values.
        force: start over where `out` was begun otherwise, instead of refusing.
        progress: called with the number of images done after every batch.

    Returns:
        The folder of output files.

    Raises:
        StageError: the bins are incomplete or foreign, or `out` was begun otherwise.
        TensorError: the session's outputs do not fit.
    """
    index = read_index(packed)
    check_files(packed, index)
    work, record = _work(out), _record(packed, width, made_by)
    begun = resumable.begin(work, record, [_output_of(file) for file in index.files], force=force)
    known = owned.recorded(out / OUTPUTS) if begun.done is None else digests_in(begun.done, "files", out / RECORD)
    digests = {}
    for file in index.files:
        path = out / OUTPUTS / _output_of(file)
        told = known.get(path.name) if path.name in begun.there else None
        if told is None or sha256_of_file(path) != told:
            outputs = run(read_batch(packed, index, file))
            _check_output(path, outputs, (index.tensor.batch, width))
            content = outputs[0].astype("<f4", copy=False).tobytes()
            write_bytes(path, content)
            told = hashlib.sha256(content).hexdigest()
        digests[path.name] = told
        if progress is not None:
            progress(len(file.keys))
    if begun.done is None:
        resumable.finish(work, {**record, "files": digests})
    elif digests != known:
        raise StageError(f"{out / OUTPUTS}: was computed again and is not what {RECORD} tells of.", START_OVER)
    return out / OUTPUTS


def embed_folder(
    packed: Path,
    out: Path,
    runner: FolderRunner,
    model: Path,
    width: int,
    made_by: Mapping[str, Any],
    say: Say,
    *,
    force: bool = False,
) -> Path:
    """The same through a folder runner, which takes the whole folder at once.

    An interrupted run starts over, because the runner cannot resume; a finished one is kept.

    Raises:
        BackendError: the runner is unavailable or failed.
        StageError, TensorError: as `embed_bins`; or the runner left out a batch.
    """
    reason = runner.why_unavailable()
    if reason is not None:
        raise BackendError(f"backend '{runner.name}' is unavailable: {reason}")
    index = read_index(packed)
    check_files(packed, index)
    work, record = _work(out), _record(packed, width, made_by)
    if resumable.begin(work, record, [_output_of(file) for file in index.files], force=force).done is not None:
        return out / OUTPUTS
    owned.remove_below(out / OUTPUTS)
    scratch = part_of(out / OUTPUTS)
    scratch.mkdir(parents=True)
    try:
        made = runner.run_folder(model, packed / index.folder, scratch, say)
        _check_made(made, index, width)
        owned.place_folder(made, out / OUTPUTS)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    names = [_output_of(file) for file in index.files]
    resumable.finish(work, {**record, "files": {name: sha256_of_file(out / OUTPUTS / name) for name in names}})
    return out / OUTPUTS


def check_record(packed: Path, embedded: Path) -> Mapping[str, str]:
    """Hold the record of `embedded` against the bins it is said to come from; the sha256 of each output file.

    Raises:
        StageError: embedding was not finished, or the bins were packed again since.
    """
    record, now = resumable.require_complete(_work(embedded)), sha256_of_file(packed / INDEX)
    if record.get("format") != OUTPUTS_FORMAT or record.get("packed_sha256") != now:
        raise StageError(f"{embedded}: was made from other bins than {packed} holds now.", "embed again.")
    return digests_in(record, "files", embedded / RECORD)


def embedded_by(embedded: Path) -> Mapping[str, Any]:
    """The `made_by` that finished outputs were made with.

    Raises:
        StageError: embedding was not finished.
    """
    made_by = resumable.require_complete(_work(embedded)).get("made_by")
    return made_by if isinstance(made_by, dict) else {}


def _record(packed: Path, width: int, made_by: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": OUTPUTS_FORMAT,
        "packed_sha256": sha256_of_file(packed / INDEX),
        "dtype": "float32",
        "width": width,
        "made_by": dict(made_by),
    }


def _work(out: Path) -> Resumable:
    return Resumable(out, "outputs", begun=BEGUN, done=RECORD, results=OUTPUTS, guarded="*.bin", comparable=_work_alone)


def _work_alone(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record without what only the end of the work tells."""
    return {name: value for name, value in record.items() if name != "files"}


def _output_of(file: BinFile) -> str:
    """The name of the network's answers to one packed file, as msame gives it."""
    return f"{file.stem}_output_0.bin"


def _check_output(path: Path, outputs: tuple[np.ndarray, ...], shape: tuple[int, int]) -> None:
    if len(outputs) != 1 or outputs[0].shape != shape or outputs[0].dtype != np.float32:
        found = ", ".join(f"{output.dtype} {list(output.shape)}" for output in outputs)
        raise TensorError(f"{path}: the outputs are {found}, expected one float32 {list(shape)}.")


def _check_made(made: Path, index: BinIndex, width: int) -> None:
    """Raise StageError unless the runner left msame's file, of the right length, for every batch."""
    length = index.tensor.batch * width * 4
    for file in index.files:
        path = made / _output_of(file)
        found = path.stat().st_size if path.is_file() else None
        if found != length:
            there = "is missing" if found is None else f"has {found} bytes"
            raise StageError(f"{path.name}: {there} after the run, expected {length} bytes.")
