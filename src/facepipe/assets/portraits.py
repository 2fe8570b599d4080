# SPDX-License-Identifier: Apache-2.0
"""Six real photographs of two people, from the package index: small enough to try recognition on.

The source archive of face_recognition 1.3.0 (MIT) holds them for its own tests: official portraits of Barack Obama and
Joseph Biden by the United States government, and two of Obama's cut off by the photograph's edge.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zlib
from pathlib import Path

from facepipe.assets.download import Progress, silent
from facepipe.assets.source_archive import SourceArchive, fetch_archive
from facepipe.assets.workspace import Workspace
from facepipe.errors import AssetError
from facepipe.store.parts import part_of, remove_parts

ARCHIVE = SourceArchive(
    "face_recognition",
    "1.3.0",
    "face_recognition-1.3.0.tar.gz",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
    3_182_249,
)
_OBAMA = ("obama.jpg", "obama2.jpg", "obama3.jpg", "obama_partial_face.jpg", "obama_partial_face2.jpg")
KEYS = {f"Barack_Obama/{name}": name for name in _OBAMA} | {"Joseph_Biden/biden.jpg": "biden.jpg"}
"""Where each photograph goes, <person>/<photograph>, and its name below tests/test_images of the archive."""
_MOST_BYTES = 5_000_000  # of one photograph


def find_portraits(ws: Workspace) -> Path | None:
    """The folder of <person>/<photograph>, in `data/` or in the mirror; None when it is in no place."""
    places = [ws.data / "portraits", *([] if ws.mirror is None else [ws.mirror / "portraits"])]
    return next((place for place in places if place.is_dir() and any(place.glob("*/*"))), None)


def fetch_portraits(ws: Workspace, progress: Progress = silent, archive: SourceArchive = ARCHIVE) -> tuple[Path]:
    """The photographs: found, or else taken out of the archive to `data/portraits`, which appears whole or not at all.

    Raises:
        AssetError: the archive cannot be had or lacks a photograph, or something else is at `data/portraits`.
    """
    found = find_portraits(ws)
    if found is not None:
        return (found,)
    target = ws.data / "portraits"
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(target.parent)
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir() or any(target.iterdir())):
        raise AssetError(f"{target}: is there already, expected nothing where photographs go.", "move it away.")
    path = fetch_archive(archive, ws.data, progress)
    part = part_of(target)
    try:
        for key, name in KEYS.items():
            (part / key).parent.mkdir(parents=True, exist_ok=True)
            (part / key).write_bytes(_member(path, f"{path.name.removesuffix('.tar.gz')}/tests/test_images/{name}"))
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return (target,)


def _member(archive: Path, name: str) -> bytes:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = tar.getmember(name)
            source = tar.extractfile(member) if member.isreg() and member.size <= _MOST_BYTES else None
            content = b"" if source is None else source.read()
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise AssetError(f"{archive}: cannot be read ({error}), expected {name} in it.", "delete it.") from error
    if not content:
        raise AssetError(f"{archive}: {name} is no photograph, expected a file of up to {_MOST_BYTES:,} bytes.")
    return content
