# SPDX-License-Identifier: Apache-2.0
"""Packed bins to output bins: batch by batch through a session, or a whole folder through a vendor's runner.

    embedded/
      outputs.json                 what the outputs were made from; written last
      outputs/000012_output_0.bin  float32 [batch, D], the network's own answers to 000012.bin, padding rows too

Both ways leave the same files, and `facepipe.runs.unpack` reads them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.backends.ascend.bin_folder import FolderRunner, Say
from facepipe.backends.base import Run
from facepipe.errors import BackendError, StageError, TensorError
from facepipe.store.bins import INDEX, BinIndex, check_files, read_batch, read_index
from facepipe.store.files import read_json, sha256_of_file, write_bytes, write_json

FORMAT = "facepipe.outputs.1"
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
    _begin(out, _record(packed, width, made_by), force)
    for file in index.files:
        path = out / OUTPUTS / f"{file.stem}_output_0.bin"
        length = index.tensor.batch * width * 4
        if not path.is_file() or path.stat().st_size != length:
            outputs = run(read_batch(packed, index, file))
            _check_output(path, outputs, (index.tensor.batch, width))
            write_bytes(path, outputs[0].astype("<f4", copy=False).tobytes())
        if progress is not None:
            progress(len(file.keys))
    return _finish(packed, out, width, made_by)


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
    if _begin(out, _record(packed, width, made_by), force):
        return out / OUTPUTS
    shutil.rmtree(out / OUTPUTS, ignore_errors=True)
    scratch = out / ".runner"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        made = runner.run_folder(model, packed / index.folder, scratch, say)
        _check_made(made, index, width)
        made.rename(out / OUTPUTS)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _finish(packed, out, width, made_by)


def check_record(packed: Path, embedded: Path) -> None:
    """Hold the record of `embedded` against the bins it is said to come from.

    Raises:
        StageError: embedding was not finished, or the bins were packed again since.
    """
    if not (embedded / RECORD).is_file():
        raise StageError(f"{embedded}: has no {RECORD}; embedding was not finished.", "run the same command again.")
    record, now = read_json(embedded / RECORD), sha256_of_file(packed / INDEX)
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("packed_sha256") != now:
        raise StageError(f"{embedded}: was made from other bins than {packed} holds now.", "embed again.")


def _record(packed: Path, width: int, made_by: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "packed_sha256": sha256_of_file(packed / INDEX),
        "dtype": "float32",
        "width": width,
        "made_by": dict(made_by),
    }


def _begin(out: Path, record: dict[str, Any], force: bool) -> bool:
    """Settle whose folder this is; True when it is finished already."""
    for name in (RECORD, BEGUN):
        if not (out / name).is_file():
            continue
        old = read_json(out / name)
        if old == record:
            continue
        if not force:
            fields = [field for field in record if not isinstance(old, dict) or old.get(field) != record[field]]
            raise StageError(
                f"{out}: was embedded otherwise ({fields[0]} differs).", "--force to start over, or another folder."
            )
        shutil.rmtree(out / OUTPUTS, ignore_errors=True)
        (out / name).unlink()
    if (out / OUTPUTS).is_dir() and not (out / RECORD).is_file() and not (out / BEGUN).is_file():
        raise StageError(f"{out / OUTPUTS}: holds outputs of unknown origin.", "move them away.")
    if not (out / RECORD).is_file():
        write_json(out / BEGUN, record)
        return False
    return True


def _finish(packed: Path, out: Path, width: int, made_by: Mapping[str, Any]) -> Path:
    write_json(out / RECORD, _record(packed, width, made_by))
    (out / BEGUN).unlink(missing_ok=True)
    return out / OUTPUTS


def _check_output(path: Path, outputs: tuple[np.ndarray, ...], shape: tuple[int, int]) -> None:
    if len(outputs) != 1 or outputs[0].shape != shape or outputs[0].dtype != np.float32:
        found = ", ".join(f"{output.dtype} {list(output.shape)}" for output in outputs)
        raise TensorError(f"{path}: the outputs are {found}, expected one float32 {list(shape)}.")


def _check_made(made: Path, index: BinIndex, width: int) -> None:
    """Raise StageError unless the runner left msame's file, of the right length, for every batch."""
    length = index.tensor.batch * width * 4
    for file in index.files:
        path = made / f"{file.stem}_output_0.bin"
        found = path.stat().st_size if path.is_file() else None
        if found != length:
            there = "is missing" if found is None else f"has {found} bytes"
            raise StageError(f"{path.name}: {there} after the run, expected {length} bytes.")
