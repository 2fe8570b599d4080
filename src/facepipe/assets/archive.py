# SPDX-License-Identifier: Apache-2.0
"""A tar archive as a folder that appears whole or not at all, and holds nothing but the archive's plain files."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from facepipe.assets.download import Progress, silent
from facepipe.errors import AssetError
from facepipe.store.parts import part_of, remove_parts

# Ten times LFW: an archive beyond this is not the one that was meant.
MAX_BYTES = 4 << 30
MAX_MEMBERS = 200_000


def extract_folder(archive: Path, top: str, target: Path, progress: Progress = silent) -> None:
    """Write what `archive` holds below its folder `top` as the folder `target`, which is absent or empty.

    The files are written to a folder beside `target`, which then takes that name. Only names and contents come over:
    no owners, modes or times.

    Args:
        archive: a tar file, plain or compressed.
        top: the one folder that everything in the archive lies in.
        target: the folder to make.
        progress: told (bytes of the archive read, bytes of the archive).

    Raises:
        AssetError: something is at `target`; the archive is broken, or has a member that lies elsewhere than below
            `top`, is a link or a device, or is there twice; or it is larger than MAX_BYTES or MAX_MEMBERS.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(target.parent)
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir() or any(target.iterdir())):
        raise AssetError(f"{target}: is there already, expected nothing where the archive goes.", "move it away.")
    part = part_of(target)
    try:
        part.mkdir()
        _extract(archive, top, part, progress)
        part.rename(target)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise AssetError(
            f"{archive}: cannot be unpacked ({error}), expected a whole tar archive.",
            f"delete {archive} and fetch again.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _extract(archive: Path, top: str, part: Path, progress: Progress) -> None:
    total, written, members = archive.stat().st_size, 0, 0
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
        for member in tar:
            members, written = members + 1, written + member.size
            if members > MAX_MEMBERS or written > MAX_BYTES:
                raise AssetError(
                    f"{archive}: more than {MAX_MEMBERS:,} members or {MAX_BYTES:,} bytes; nothing was kept."
                )
            inside = part.joinpath(*_parts(archive, top, member))
            if member.isdir():
                inside.mkdir(parents=True, exist_ok=True)
                continue
            source = tar.extractfile(member)
            assert source is not None, "only plain files pass _parts"
            inside.parent.mkdir(parents=True, exist_ok=True)
            try:
                with source, inside.open("xb") as sink:
                    shutil.copyfileobj(source, sink)
            except FileExistsError as error:
                raise AssetError(f"{archive}: '{member.name}' is in it twice; nothing was kept.") from error
            progress(raw.tell(), total)
        assert tar.fileobj is not None, "it is open"
        while tar.fileobj.read(1 << 20):  # to the very end, where a compressed archive has its checksum
            pass


def _parts(archive: Path, top: str, member: tarfile.TarInfo) -> tuple[str, ...]:
    """The member's path below `top`, when it is one that may be written."""
    refused = f"{archive}: '{member.name}'"
    if not (member.isreg() or member.isdir()):
        raise AssetError(f"{refused} is a link or a device, expected plain files; nothing was kept.")
    path = PurePosixPath(member.name)
    parts = tuple(part for part in path.parts if part != ".")
    if path.is_absolute() or ".." in parts or "\\" in member.name or "\0" in member.name or parts[:1] != (top,):
        raise AssetError(f"{refused} lies outside '{top}/', expected everything in it; nothing was kept.")
    return parts[1:]
