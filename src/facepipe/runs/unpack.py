# SPDX-License-Identifier: Apache-2.0
"""Output files of msame, benchmark or ais_bench back to embeddings by key, with the index that the packer wrote.

The three tools name the same output of the input `000012.bin` differently (position i counted from 0):

    msame       000012_output_<i>.bin   or .txt
    ais_bench   000012_<i>.bin          or .txt; with several devices in sub-folders device0, device1, ...
    benchmark   000012_<i + 1>.bin      it counts from 1

Which tool it was is told from the folder as a whole. Rows of padding are dropped because the index says so; a file
that is missing, foreign or of the wrong length is an error, since any of them could attach an embedding to the wrong
photograph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from facepipe.errors import StageError
from facepipe.runs.embed_stage import OUTPUTS, RECORD, check_record
from facepipe.store.bins import BinFile, BinIndex, read_index
from facepipe.store.files import lacking, sha256_of_file

Tool = Literal["msame", "ais_bench", "benchmark"]

# msame: year, month and day without zeros, then time; ais_bench: 2022_03_19-01_02_03.
_TIMED = re.compile(r"\d{6,8}_\d{1,2}_\d{1,2}_\d{1,2}_\d{1,6}|\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d")
_OUTPUT = re.compile(r"(?P<stem>.+?)_(?P<msame>output_)?(?P<number>\d+)\.(?P<kind>bin|txt)")
_DATA = frozenset({".bin", ".txt", ".npy"})


@dataclass(frozen=True, slots=True, eq=False)
class Unpacked:
    """Embeddings by key: row i of `rows` belongs to `keys[i]`.

    Args:
        keys: in the order in which they were packed.
        rows: float32 [N, D], as the network gave them; not brought to length 1.
        tool: whose naming the files have.
    """

    keys: tuple[str, ...]
    rows: np.ndarray
    tool: Tool


def unpack(
    packed: Path, outputs: Path, *, width: int | None = None, dtype: str = "float32", position: int = 0
) -> Unpacked:
    """Embeddings by key from a runner's output folder.

    Args:
        packed: the folder with `index.json`.
        outputs: the folder with the output files; or one with `outputs.json` as the embed stage leaves it; or one
            in which runners made folders named by the time: the newest of them is read.
        width: D; None: what the length of the files gives.
        dtype: of the .bin files; an .om may give float16. Text files have none.
        position: which output of the model, counted from 0.

    Raises:
        StageError: a file is missing, foreign, of the wrong length or not numbers; an embedding is not finite; or the
            outputs were made from other bins.
    """
    index = read_index(packed)
    told: Mapping[str, str] | None = None
    if (outputs / RECORD).is_file():
        told = check_record(packed, outputs)
        outputs = outputs / OUTPUTS
    tool, files = output_files(newest_timed_folder(outputs), index, position)
    parts = []
    for file, path in zip(index.files, files, strict=True):
        if told is not None and told.get(path.name) != sha256_of_file(path):
            raise StageError(f"{path}: is not the output that {RECORD} tells of, expected it.", "embed again.")
        batch = _read(path, index.tensor.batch, width, dtype)
        width = batch.shape[1]
        parts.append(_finite(path, file, batch[: len(file.keys)]))
    rows = np.concatenate(parts) if parts else np.zeros((0, width or 0), np.float32)
    return Unpacked(index.keys, rows, tool)


def newest_timed_folder(parent: Path) -> Path:
    """The folder to read: `parent` itself where it holds files, else the newest run in it, by time of change.

    msame's folder names hold no zeros in front, so their order as text is not their order in time.

    Raises:
        StageError: there is nothing to read, or two runs are equally new.
    """
    if not parent.is_dir():
        raise StageError(f"{parent}: {lacking(parent, 'folder')}, expected a runner's outputs.")
    there = [path for path in parent.iterdir() if not path.name.startswith(".")]
    if any(path.is_file() and path.suffix in _DATA for path in there):
        return parent
    runs = sorted((path.stat().st_mtime_ns, path) for path in there if path.is_dir() and _TIMED.fullmatch(path.name))
    if len(runs) > 1 and runs[-1][0] == runs[-2][0]:
        raise StageError(f"{parent}: {runs[-2][1].name} and {runs[-1][1].name} are equally new.", "name one of them.")
    return runs[-1][1] if runs else parent


def output_files(folder: Path, index: BinIndex, position: int = 0) -> tuple[Tool, tuple[Path, ...]]:
    """Which tool wrote `folder`, and the output file of every packed file, in the index's order.

    Raises:
        StageError: a file is missing or foreign, or the names of two tools are mixed.
    """
    stems = {file.stem for file in index.files}
    found: dict[tuple[str, bool, int], Path] = {}
    for path in _data_files(folder):
        match = _OUTPUT.fullmatch(path.name)
        if match is None or match["stem"] not in stems:
            raise StageError(
                f"{path}: is not an output of the {len(stems)} packed files (first: {min(stems, default='none')}).",
                "name the folder of this run's outputs, or move the file away.",
            )
        name = (match["stem"], match["msame"] is not None, int(match["number"]))
        if name in found:
            raise StageError(f"{path}: there is also {found[name].name}, expected one output for each input.")
        found[name] = path
    tool = _tool(folder, found)
    number = position + 1 if tool == "benchmark" else position
    wanted = [(file.stem, tool == "msame", number) for file in index.files]
    absent = [name[0] for name in wanted if name not in found]
    if absent:
        raise StageError(
            f"{folder}: {len(absent)} of {len(wanted)} outputs are missing (first: of {absent[0]}.bin), "
            f"expected output {position} of every packed file.",
            "run the model over the whole folder again.",
        )
    return tool, tuple(found[name] for name in wanted)


def _data_files(folder: Path) -> Iterator[Path]:
    """Visible .bin, .txt and .npy files, those in ais_bench's device folders included."""
    if not folder.is_dir():
        raise StageError(f"{folder}: {lacking(folder, 'folder')}, expected a runner's outputs.")
    devices = [path for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"device_?\d+", path.name)]
    for place in (folder, *sorted(devices)):
        for path in sorted(place.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.suffix in _DATA:
                yield path


def _tool(folder: Path, found: dict[tuple[str, bool, int], Path]) -> Tool:
    """benchmark counts outputs from 1, ais_bench from 0; msame says "output"."""
    by_msame = {msame for _, msame, _ in found}
    if len(by_msame) > 1:
        raise StageError(f"{folder}: holds outputs of msame and of another tool, expected those of one run.")
    if by_msame != {False}:
        return "msame"
    least = {min(number for stem, _, number in found if stem == wanted) for wanted, _, _ in found}
    if len(least) > 1 or min(least) > 1:
        raise StageError(f"{folder}: some outputs are counted from 0 and some from 1, expected those of one tool.")
    return "ais_bench" if least == {0} else "benchmark"


def _read(path: Path, batch: int, width: int | None, dtype: str) -> np.ndarray:
    """One output as float32 [batch, D].

    Raises:
        StageError: the length does not fit, or the text is not numbers.
    """
    if path.suffix == ".npy":
        raise StageError(f"{path}: is .npy, expected .bin or .txt.", "ais_bench --outfmt BIN")
    if path.suffix == ".txt":
        values = _numbers(path)
        length, unit, size = len(values), "numbers", 1
    else:
        size = np.dtype(dtype).itemsize
        length, unit = path.stat().st_size, f"bytes of {dtype}"
    row = batch * size
    if (width is not None and length != row * width) or length == 0 or length % row:
        expected = f"{row * width} ({batch} x {width})" if width is not None else f"a multiple of {row}"
        raise StageError(f"{path}: {length} {unit}, expected {expected}.", "check the model's batch, and its output.")
    if path.suffix == ".bin":
        values = np.fromfile(path, np.dtype(dtype).newbyteorder("<"))
    return values.astype(np.float32).reshape(batch, -1)


def _numbers(path: Path) -> np.ndarray:
    try:
        return np.array(path.read_text(encoding="ascii").split(), np.float32)
    except ValueError as error:  # not ASCII, or not a number
        raise StageError(f"{path}: is not numbers apart by blanks ({error}).") from error


def _finite(path: Path, file: BinFile, rows: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise StageError(
            f"{path}: the embedding of '{file.keys[bad[0]]}' is not finite, expected numbers.",
            "a precision with more range than float16.",
        )
    return rows
