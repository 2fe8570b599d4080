# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures to the Paddle port's records and back, with their label file. Contents pass unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from facepipe.datasets.image_records import (
    ImageRecord,
    bytes_from_record,
    label_lines,
    picture_name,
    read_labels,
    record_from_bytes,
    suffix_of,
)
from facepipe.datasets.images import list_keys
from facepipe.errors import DataError
from facepipe.store.files import write_bytes, write_text
from facepipe.store.owned import claim

Progress = Callable[[int], None]


def _silent(done: int) -> None:
    """Tells nobody."""


def records_from_images(images: Path, bins: Path, progress: Progress = _silent) -> dict[Path, Path]:
    """Write a record below `bins` for each picture below `images`, sub-folders kept; return picture to record.

    Raises:
        DataError: there is no picture, one is no picture, or two would have one record (a.jpg and a.png).
    """
    keys = list_keys(images)
    targets = {key: str(PurePosixPath(key).with_suffix(".bin")) for key in keys}
    _refuse_collisions(images, targets)
    claim(bins)
    for key, target in targets.items():
        content = (images / key).read_bytes()
        suffix_of(content, str(images / key))
        write_bytes(bins / target, bytes_from_record(ImageRecord(PurePosixPath(key).name, content)))
        progress(1)
    return {images / key: bins / target for key, target in targets.items()}


def images_from_records(bins: Path, images: Path, progress: Progress = _silent) -> dict[Path, Path]:
    """Write the picture of each record below `bins` below `images`, byte for byte; return record to picture.

    Raises:
        DataError: there is no record, or one is no record of a picture; those before it are written.
    """
    records = record_files(bins)
    if not records:
        raise DataError(f"{bins}: no .bin in it, expected records of pictures.")
    claim(images)
    written: dict[Path, Path] = {}
    for path in records:
        record = record_from_bytes(path.read_bytes(), str(path))
        target = images / path.relative_to(bins).with_name(picture_name(record, path.stem, str(path)))
        write_bytes(target, record.content)
        written[path] = target
        progress(1)
    return written


def record_files(folder: Path) -> list[Path]:
    """The `.bin` files below `folder`, sorted; none where there is no such folder."""
    return sorted(path for path in folder.rglob("*.bin") if path.is_file())


def labels_by_folder(sources: Mapping[Path, Path], root: Path) -> list[tuple[Path, int]]:
    """Each target with the number of its person: the first folder below `root`, counted from 0 in sorted order.

    Raises:
        DataError: a picture lies in no folder.
    """
    people = {source: source.relative_to(root).parts[0] for source in sources if source.parent != root}
    loose = [source for source in sources if source not in people]
    if loose:
        raise DataError(
            f"{root}: {len(loose)} pictures lie in no person's folder (first: {loose[0].name}), expected <person>/....",
            "--known with a label file that names them.",
        )
    number = {name: i for i, name in enumerate(sorted(set(people.values())))}
    return [(target, number[people[source]]) for source, target in sources.items()]


def labels_by_file(sources: Mapping[Path, Path], known: Path) -> list[tuple[Path, int]]:
    """Each target with the number that the label file `known` gives its source, in the file's order.

    Raises:
        DataError: a line names no source, a label is no number, or a source has no line.
    """
    by_path = {os.path.normpath(source): target for source, target in sources.items()}
    labels = []
    for name, label in read_labels(known):
        source = os.path.normpath(known.parent / name)
        if source not in by_path:
            raise DataError(f"{known}: '{name}' is none of the files that were converted, expected one of them.")
        if not label.isdecimal():
            raise DataError(f"{known}: '{name}' has the label '{label}', expected a person's number.")
        labels.append((by_path.pop(source), int(label)))
    if by_path:
        raise DataError(f"{known}: {len(by_path)} files have no line (first: {next(iter(by_path))}), expected all.")
    return labels


def write_labels(path: Path, labels: list[tuple[Path, int]], *, overwrite: bool = False) -> None:
    """Write a label file; its paths are relative to its own folder."""
    lines = [(Path(os.path.relpath(target, path.parent)).as_posix(), number) for target, number in labels]
    write_text(path, label_lines(lines), overwrite=overwrite)


def _refuse_collisions(root: Path, targets: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for key, target in targets.items():
        if target in first:
            raise DataError(
                f"{root}: {first[target]} and {key} would both become {target}, expected names that differ.",
                "rename one of them; the record's name has no suffix of the picture.",
            )
        first[target] = key
