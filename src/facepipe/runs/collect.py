# SPDX-License-Identifier: Apache-2.0
"""The shards of a finished run as the files that everybody reads: faces.jsonl, embeddings.npy, photographs.sha256."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from facepipe.embed.embedder import unit_rows
from facepipe.errors import StageError
from facepipe.results import Face, FaceRecord, NoFace
from facepipe.runs.unpack import Unpacked
from facepipe.store.files import read_arrays
from facepipe.store.photograph_digests import PHOTOGRAPHS_FILE, write_digests
from facepipe.store.run_faces import (
    EMBEDDINGS_FILE,
    FACES_FILE,
    Written,
    read_faces,
    write_embeddings,
    write_faces,
)
from facepipe.store.stage import Stage

_BY_PHOTOGRAPH = ("reasons", "sha256")  # arrays of one entry for each photograph; the others: for each face
_BLOCK = 4096  # rows that are normalised and written at a time


def collect(stage: Stage, run: Path, arrays: Mapping[str, str]) -> Written:
    """Write `run`/faces.jsonl and `run`/embeddings.npy, shard after shard; memory holds one shard.

    Args:
        stage: the finished fused stage.
        arrays: names and dtypes of a shard's arrays.

    Raises:
        StageError: a shard's arrays do not fit its keys.
    """
    written = write_faces(run / FACES_FILE, _records(stage, arrays))
    write_digests(run / PHOTOGRAPHS_FILE, _digests(stage, arrays))
    first = read_arrays(stage.shard_path(0), arrays)["embeddings"]
    blocks = (read_arrays(stage.shard_path(shard), arrays)["embeddings"] for shard in range(stage.shard_count))
    write_embeddings(run / EMBEDDINGS_FILE, written.faces, first.shape[1], blocks)
    return written


def collect_staged(crops: Stage, run: Path, arrays: Mapping[str, str], embedded: Unpacked, where: str) -> Written:
    """The same for a staged run: faces from the crop stage, embeddings from the runner's outputs, joined by key.

    Args:
        crops: the finished crop stage.
        run: the run's folder.
        arrays: names and dtypes of a crop shard's arrays.
        embedded: the network's raw answers by key.
        where: the recogniser's name, for errors.

    Raises:
        StageError: the keys that have an embedding are not those that have a face.
        TensorError: an embedding has no direction.
    """
    written = write_faces(run / FACES_FILE, _records(crops, arrays))
    write_digests(run / PHOTOGRAPHS_FILE, _digests(crops, arrays))
    with_face = [line.key for line in read_faces(run / FACES_FILE) if line.row is not None]
    rows = dict(zip(embedded.keys, range(len(embedded.keys)), strict=True))
    if rows.keys() != set(with_face):
        differing = sorted(rows.keys() ^ set(with_face))
        raise StageError(
            f"embed: {len(rows)} photographs have an embedding and {len(with_face)} a face "
            f"(first difference: {differing[0]}), expected the same ones.",
            "run the stages pack and embed again with --force.",
        )
    order = [rows[key] for key in with_face]
    blocks = (unit_rows(embedded.rows[order[start : start + _BLOCK]], where) for start in range(0, len(order), _BLOCK))
    write_embeddings(run / EMBEDDINGS_FILE, len(order), embedded.rows.shape[1], blocks)
    return written


def _digests(stage: Stage, arrays: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Key and sha256 of every photograph, in order; "" where there was no file to read."""
    for shard in range(stage.shard_count):
        sha256 = read_arrays(stage.shard_path(shard), arrays)["sha256"].tolist()
        yield from zip(stage.shard_keys(shard), sha256, strict=True)


def _records(stage: Stage, arrays: Mapping[str, str]) -> Iterator[FaceRecord]:
    """One record for each key, in order."""
    for shard in range(stage.shard_count):
        keys, content = stage.shard_keys(shard), read_arrays(stage.shard_path(shard), arrays)
        reasons = content["reasons"]
        faces = int((reasons == "").sum())
        rows = {name: len(content[name]) for name in arrays if name not in _BY_PHOTOGRAPH}
        if any(len(content[name]) != len(keys) for name in _BY_PHOTOGRAPH) or set(rows.values()) != {faces}:
            raise StageError(
                f"{stage.shard_path(shard)}: {len(reasons)} photographs with {faces} faces and rows {rows}, "
                f"expected {len(keys)} photographs and one row for each face.",
                "delete it and run the same command again.",
            )
        yield from _of_shard(keys, content)


def _of_shard(keys: tuple[str, ...], content: Mapping[str, np.ndarray]) -> Iterator[FaceRecord]:
    """The records of one shard."""
    row = 0
    for key, reason in zip(keys, content["reasons"].tolist(), strict=True):
        if reason:
            yield FaceRecord(key, NoFace(reason))
            continue
        face = Face(content["boxes"][row], float(content["scores"][row]), content["landmarks"][row])
        yield FaceRecord(key, face)
        row += 1
