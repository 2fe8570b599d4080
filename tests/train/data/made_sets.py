# SPDX-License-Identifier: Apache-2.0
"""The same few faces in every form that a training set comes in; `.rec` is written here byte by byte."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from facepipe.datasets.image_records import ImageRecord, bytes_from_record

SIDE = 112
MAGIC = struct.pack("<I", 0xCED7230A)


def face(seed: int, side: int = SIDE) -> np.ndarray:
    """A picture that no other seed gives: uint8 [side, side, 3]; smooth, so that its files are small."""
    corners = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(corners).resize((side, side), Image.Resampling.BILINEAR))


def encoded(picture: np.ndarray, form: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, form)
    return content.getvalue()


def people_folder(root: Path, people: Mapping[str, int], side: int = SIDE) -> Path:
    """`people`: name to number of photographs."""
    seed = 0
    for name, count in people.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:02d}.png").write_bytes(encoded(face(seed, side)))
            seed += 1
    return root


def labelled_folder(root: Path, labels: Sequence[int]) -> Path:
    """The Paddle port's: records below images/, and label.txt."""
    (root / "images").mkdir(parents=True)
    lines = []
    for number, label in enumerate(labels):
        record = ImageRecord(f"{number}.png", encoded(face(number)))
        (root / "images" / f"{number}.bin").write_bytes(bytes_from_record(record))
        lines.append(f"images/{number}.bin\t{label}\n")
    (root / "label.txt").write_text("".join(lines))
    return root


def part(content: bytes, kind: int = 0) -> bytes:
    """One part of a record, with its zeros."""
    return MAGIC + struct.pack("<I", kind << 29 | len(content)) + content + bytes(-len(content) % 4)


def record(content: bytes) -> bytes:
    """A record as dmlc-core writes it: cut wherever the magic number stands at a multiple of four."""
    cuts = [place for place in range(0, len(content) - 3, 4) if content[place : place + 4] == MAGIC]
    if not cuts:
        return part(content)
    edges = [-4, *cuts, len(content)]
    pieces = [content[low + 4 : high] for low, high in pairwise(edges)]
    kinds = [1, *[2] * (len(pieces) - 2), 3]
    return b"".join(part(piece, kind) for piece, kind in zip(pieces, kinds, strict=True))


def header(label: float | Sequence[float], number: int) -> bytes:
    """A record's header; several labels stand behind it."""
    if isinstance(label, Sequence):
        return struct.pack("<IfQQ", len(label), 0.0, number, 0) + struct.pack(f"<{len(label)}f", *label)
    return struct.pack("<IfQQ", 0, label, number, 0)


def write_records(root: Path, contents: Iterable[bytes]) -> Path:
    """train.rec and train.idx of records with these contents, numbered from 0."""
    root.mkdir(parents=True, exist_ok=True)
    written, index = b"", ""
    for number, content in enumerate(contents):
        index += f"{number}\t{len(written)}\n"
        written += record(content)
    (root / "train.rec").write_bytes(written)
    (root / "train.idx").write_text(index)
    return root


def recordio_folder(root: Path, labels: Sequence[int], *, pictures: Sequence[bytes] | None = None) -> Path:
    """insightface's: record 0 tells where the pictures end; after them one record for each person."""
    people = sorted(set(labels))
    pictures = pictures or [encoded(face(number)) for number in range(len(labels))]
    first_person = len(labels) + 1
    contents = [header((first_person, first_person + len(people)), 0)]
    for number, (label, picture) in enumerate(zip(labels, pictures, strict=True), 1):
        # As in the published sets: some have one label, some two (the second is of no use).
        contents.append((header(label, number) if number % 2 else header((label, 0.0), number)) + picture)
    contents += [header((1.0, 2.0), first_person + place) for place, _ in enumerate(people)]
    return write_records(root, contents)
