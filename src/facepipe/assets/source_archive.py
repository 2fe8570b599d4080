# SPDX-License-Identifier: Apache-2.0
"""A project's source archive on the package index: fetched as a file and opened as one, never built.

pip builds whatever source archive it downloads, which runs the archive's own code. So pip is asked for the project with
nothing but wheels allowed, and in what it says of the links that it passes over is the address: found with the index,
proxy and password that its user has set up. The file then comes as any other does.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from facepipe.assets.download import Progress, download, silent
from facepipe.errors import AssetError
from facepipe.store.files import sha256_of_file

PIP_TIMEOUT_S = 120  # for pages and one small wheel


@dataclass(frozen=True, slots=True)
class SourceArchive:
    """One file of the index and what it must be."""

    project: str
    version: str
    file: str
    sha256: str
    size: int


def fetch_archive(archive: SourceArchive, folder: Path, progress: Progress = silent) -> Path:
    """The archive in `folder`, its digest checked: one that was put there by hand, or a download.

    Raises:
        AssetError: the index cannot be asked or has no such file, the download fails, or it is another file.
    """
    path = folder / archive.file
    if path.is_file():
        seen = sha256_of_file(path)
        if seen != archive.sha256:
            raise AssetError(f"{path}: sha256 is {seen}, expected {archive.sha256}.", "delete it and fetch again.")
        return path
    download(address_on_index(archive, path), path, sha256=archive.sha256, size=archive.size, progress=progress)
    return path


def address_on_index(archive: SourceArchive, target: Path) -> str:
    """Where the package index has the archive.

    Args:
        target: where the file is to be, for errors.

    Raises:
        AssetError: pip cannot ask the index, or the index has no such file.
    """
    requirement = f"{archive.project}=={archive.version}"
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    with tempfile.TemporaryDirectory(prefix="facepipe-") as folder:
        command = [sys.executable, "-m", "pip", "download", "-vv", "--retries=1", *options, requirement, "-d", folder]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise AssetError(
                f"{target}: pip took longer than {PIP_TIMEOUT_S} s to find {archive.file}.", _by_hand(archive, target)
            ) from error
    found = re.search(rf"\S+/{re.escape(archive.file)}(?=[#\s]|$)", done.stdout + done.stderr, re.MULTILINE)
    if found is None:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = errors[-1].removeprefix("ERROR: ") if errors else "the index lists no such file"
        raise AssetError(f"{target}: pip cannot find {archive.file} ({reason}).", _by_hand(archive, target))
    return found[0]


def _by_hand(archive: SourceArchive, target: Path) -> str:
    return f"put it at {target} by hand; it is the source archive of {archive.project} {archive.version} on the index."
