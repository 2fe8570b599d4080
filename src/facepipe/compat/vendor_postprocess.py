# SPDX-License-Identifier: Apache-2.0
"""The vendor's second half: batch outputs to one file for each image, and those to LFW accuracy.

The vendor joins embeddings to photographs by position, so that one photograph without a face shifts all that follow,
and it drops padding by knowing that LFW has 13,233 photographs. Here the packer's index says which rows are whose:

    <save_root>/0_output_0.bin   float32 [512], image 0; as many as there are crops
    <save_root>.index.json       key i belongs to file i; beside the folder, which holds nothing but the vendor's files

Rows without that index (made by the vendor's own script) are joined to the crops that exist, in ImageFolder's order,
which is what the vendor's packer saw; their numbers must agree, else it is an error.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from facepipe.datasets.lfw import EXTENSIONS, VerificationSet, read_pairs
from facepipe.embed.embedder import unit_rows
from facepipe.errors import StageError
from facepipe.metrics.verification import FoldAccuracy, squared_distances, ten_fold_accuracy
from facepipe.runs.unpack import unpack
from facepipe.store.bins import INDEX, read_index
from facepipe.store.files import lacking, read_foreign_json, read_json, sha256_of_file, write_json
from facepipe.store.owned import is_own, keep_record
from facepipe.store.parts import part_of, remove_parts

FORMAT = "facepipe.rows.2"
WIDTH = 512  # FaceNet's; the vendor's scripts know no other

_ROW = re.compile(r"(\d+)_(output_0|1)\.bin")  # msame's name, benchmark's name


@dataclass(frozen=True, slots=True)
class VendorScore:
    """Accuracy over the folds, and what it is an accuracy of."""

    accuracy: FoldAccuracy
    pairs: int
    missing: int  # pairs of which a photograph has no embedding; called "different"
    by_index: bool  # False: joined by the order of the crops


def split_batches(packed: Path, outputs: Path, save_root: Path, batch: int) -> int:
    """Write `<i>_output_0.bin` for every image that was packed, padding left out; how many.

    Args:
        packed: the folder with the packer's index.json.
        outputs: a runner's outputs for it; msame's, ais_bench's or benchmark's names.
        save_root: the folder to make. One of an earlier call is replaced.
        batch: what the caller believes the batch to be.

    Raises:
        StageError: the batch is another, the outputs do not fit the index, or save_root holds other files.
    """
    index = read_index(packed)
    if index.tensor.batch != batch:
        raise StageError(
            f"{packed / INDEX}: was packed with batch {index.tensor.batch}, and --batch_size says {batch}."
        )
    found = unpack(packed, outputs, width=WIDTH)
    is_there = _is_earlier_call(save_root)
    keep_record(_index_path(save_root))
    remove_parts(save_root.parent)
    part, before = part_of(save_root), part_of(save_root)
    part.mkdir(parents=True)
    digest = hashlib.sha256()
    try:
        for number, row in enumerate(found.rows):
            content = row.astype("<f4", copy=False).tobytes()
            digest.update(content)
            (part / f"{number}_output_0.bin").write_bytes(content)
        if is_there:  # killed between any two of these: there is no folder, and the next call makes it
            save_root.rename(before)
        record = {"format": FORMAT, "packed_sha256": sha256_of_file(packed / INDEX), "keys": list(found.keys)}
        write_json(_index_path(save_root), record | {"rows_sha256": digest.hexdigest()})
        part.rename(save_root)
    finally:
        for folder in (part, before):
            shutil.rmtree(folder, ignore_errors=True)
    return len(found.rows)


def score_rows(pair_path: Path, crop_dir: Path, test_dir: Path, onet_json: Path) -> VendorScore:
    """LFW accuracy from one file for each image.

    A pair of which a photograph has no embedding is called "different": its distance is infinite.

    Args:
        pair_path: pairs in LFW's form.
        crop_dir: the crops, `<person>/<person>_0001.jpg`.
        test_dir: the embeddings, `<i>_output_0.bin` or `<i>_1.bin`.
        onet_json: the list of crop paths, of photographs without a face too.

    Raises:
        StageError: the embeddings, their index, the crops and the list contradict each other.
        DataError: the pairs file is of the wrong form, or a fold lacks one kind of pair.
        TensorError: an embedding has no direction.
    """
    listed = _listed_keys(onet_json, crop_dir)
    rows = _read_rows(test_dir)
    keys = _indexed_keys(test_dir, len(rows), set(listed))
    by_index = keys is not None
    if keys is None:
        keys = _existing_keys(test_dir, crop_dir, listed, len(rows))
    pairs = read_pairs(pair_path, _extensions_among(listed))
    unlisted = sorted(set(pairs.keys()) - set(listed))
    if unlisted:
        raise StageError(
            f"{onet_json}: lacks {len(unlisted)} photographs that {pair_path} names (first: {unlisted[0]}), "
            "expected all of them, those without a face too.",
            "MTCNN_preprocess.py over all photographs of the pairs.",
        )
    distances = _distances(pairs, keys, unit_rows(rows, str(test_dir)))
    same = np.array([pair.same for pair in pairs.pairs], np.bool_)
    folds = np.array([pair.fold for pair in pairs.pairs])
    missing = int(np.isinf(distances).sum())
    return VendorScore(ten_fold_accuracy(distances, same, folds), len(pairs.pairs), missing, by_index)


def _extensions_among(listed: Sequence[str]) -> Callable[[str], str]:
    """From "name/name_0001" to its extension in the list. The crops do not tell: without a face there is none."""
    known = set(listed)
    return lambda stem: next((extension for extension in EXTENSIONS if stem + extension in known), EXTENSIONS[0])


def _distances(pairs: VerificationSet, keys: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """Squared distance of each pair; infinity where one of the two has no row."""
    row_of = {key: row for row, key in enumerate(keys)}
    distances = np.full(len(pairs.pairs), np.inf)
    places = np.array([[row_of.get(pair.first, -1), row_of.get(pair.second, -1)] for pair in pairs.pairs])  # (P, 2)
    there = (places >= 0).all(axis=1)
    distances[there] = squared_distances(rows[places[there, 0]], rows[places[there, 1]])
    return distances


def _listed_keys(onet_json: Path, crop_dir: Path) -> list[str]:
    """The keys of onet.json's crop paths, in its order. Absolute and relative paths may be mixed.

    Raises:
        StageError: the file is no list of paths below `crop_dir`.
    """
    content = read_foreign_json(onet_json)
    if not isinstance(content, list) or not all(isinstance(path, str) for path in content):
        raise StageError(f"{onet_json}: is no list of crop paths, expected onet.json.")
    root = crop_dir.absolute()
    keys = []
    for path in content:
        inside = Path(os.path.normpath(Path(path).absolute()))
        if not inside.is_relative_to(os.path.normpath(root)):
            raise StageError(f"{onet_json}: '{path}' does not lie in {crop_dir}, expected its crops.")
        keys.append(inside.relative_to(os.path.normpath(root)).as_posix())
    if len(set(keys)) < len(keys):
        raise StageError(f"{onet_json}: names a crop twice, expected each photograph once.")
    return keys


def _read_rows(test_dir: Path) -> np.ndarray:
    """float32 [N, 512] in the order of the files' numbers, which must be 0 to N - 1.

    Raises:
        StageError: a number is missing or twice there, a file is foreign or has another length.
    """
    if not test_dir.is_dir():
        raise StageError(f"{test_dir}: {lacking(test_dir, 'folder')}, expected one embedding for each image.")
    files: dict[int, Path] = {}
    for path in sorted(path for path in test_dir.iterdir() if not path.name.startswith(".")):
        match = _ROW.fullmatch(path.name)
        if match is None:
            raise StageError(f"{path}: is no '<number>_output_0.bin', expected nothing else here.")
        if int(match[1]) in files:
            raise StageError(f"{path}: there is also {files[int(match[1])].name}, expected one for each image.")
        files[int(match[1])] = path
    absent = next((number for number in range(len(files)) if number not in files), None)
    if absent is not None or not files:
        raise StageError(f"{test_dir}: no file for image {absent or 0}, expected 0 to {len(files)} without a gap.")
    for path in files.values():
        if path.stat().st_size != 4 * WIDTH:
            raise StageError(f"{path}: {path.stat().st_size} bytes, expected {4 * WIDTH} (float32 [{WIDTH}]).")
    return np.stack([np.fromfile(files[number], "<f4") for number in range(len(files))])


def _indexed_keys(test_dir: Path, count: int, listed: set[str]) -> list[str] | None:
    """The keys that our index gives the rows; None where there is no index.

    Raises:
        StageError: it belongs to other rows or other photographs.
    """
    path = _index_path(test_dir)
    if not path.is_file():
        return None
    record = read_json(path, "batch_utils.py again.")
    keys = record.get("keys") if record.get("format") == FORMAT else None
    if not isinstance(keys, list) or len(keys) != count:
        raise StageError(f"{path}: does not fit the {count} files of {test_dir}.", "batch_utils.py again.")
    foreign = sorted(set(keys) - listed)
    if foreign:
        raise StageError(f"{path}: '{foreign[0]}' is not in onet.json, expected embeddings of its crops.")
    return [str(key) for key in keys]


def _existing_keys(test_dir: Path, crop_dir: Path, listed: Sequence[str], count: int) -> list[str]:
    """The keys whose crops exist, in the order in which the vendor's packer sees them.

    Raises:
        StageError: there are more or fewer of them than rows.
    """
    keys = sorted((key for key in listed if (crop_dir / key).is_file()), key=lambda key: PurePosixPath(key).parts)
    if len(keys) != count:
        raise StageError(
            f"{test_dir}: {count} embeddings, and {len(keys)} of the {len(listed)} crops in onet.json exist; "
            f"without {_index_path(test_dir).name} they can only be joined when the numbers agree.",
            "FaceNet_preprocess.py, the runner and batch_utils.py again.",
        )
    return keys


def _index_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.index.json")


def _is_earlier_call(folder: Path) -> bool:
    """Whether `folder` holds just what an earlier call left there; False where nothing is.

    Raises:
        StageError: it is something else, which replacing it would lose.
    """
    if not os.path.lexists(folder):
        return False
    attempt = "name another folder."
    if folder.is_symlink() or not folder.is_dir():
        raise StageError(f"{folder}: is a file or a link, expected a folder to make.", attempt)
    index = _index_path(folder)
    record = read_json(index) if is_own(index) else {}
    keys = record.get("keys", []) if record.get("format") == FORMAT else []
    others = {path.name for path in folder.iterdir()} - {f"{number}_output_0.bin" for number in range(len(keys))}
    if others:
        raise StageError(f"{folder}: holds other files than embeddings (first: {min(others)}).", attempt)
    if keys and _rows_sha256(folder, len(keys)) != record.get("rows_sha256"):
        raise StageError(
            f"{folder}: its files are not those of {index.name}, expected them as they were made.", attempt
        )
    return True


def _rows_sha256(folder: Path, count: int) -> str:
    digest = hashlib.sha256()
    for number in range(count):
        path = folder / f"{number}_output_0.bin"
        digest.update(path.read_bytes() if path.is_file() and not path.is_symlink() else b"?")
    return digest.hexdigest()
