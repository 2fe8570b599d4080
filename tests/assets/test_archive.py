# SPDX-License-Identifier: Apache-2.0
"""Archives become a folder of plain files, or nothing."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from facepipe.assets import archive as subject
from facepipe.assets.archive import extract_folder
from facepipe.errors import AssetError

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"x") -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def special(name: str, kind: bytes, target: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def tar(path: Path, members: list[Member], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


GOOD = [special("lfw", tarfile.DIRTYPE), file("lfw/A/A_0001.jpg", b"one"), file("./lfw/B b/é.jpg", b"two")]


def entries(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_folder_appears_with_its_files(tmp_path: Path, mode: str) -> None:
    told: list[tuple[int, int | None]] = []
    source = tar(tmp_path / "a.tgz", GOOD, mode)
    extract_folder(source, "lfw", tmp_path / "out" / "lfw", lambda done, total: told.append((done, total)))
    assert entries(tmp_path / "out") == ["lfw", "lfw/A", "lfw/A/A_0001.jpg", "lfw/B b", "lfw/B b/é.jpg"]
    assert (tmp_path / "out/lfw/A/A_0001.jpg").read_bytes() == b"one"
    assert told[-1][1] == source.stat().st_size


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (file("lfw/../../outside.jpg"), r"'lfw/\.\./\.\./outside\.jpg' lies outside 'lfw/'"),
        (file("../outside.jpg"), "lies outside 'lfw/'"),
        (file("/tmp/outside.jpg"), "'/tmp/outside.jpg' lies outside 'lfw/'"),
        (file("other/A/A_0001.jpg"), "'other/A/A_0001.jpg' lies outside 'lfw/', expected everything in it"),
        (file("lfw\\..\\..\\outside.jpg"), "lies outside 'lfw/'"),
        (special("lfw/link.jpg", tarfile.SYMTYPE, "/etc/passwd"), "'lfw/link.jpg' is a link or a device"),
        (special("lfw/A", tarfile.SYMTYPE, ".."), "is a link or a device"),
        (special("lfw/hard.jpg", tarfile.LNKTYPE, "lfw/A/A_0001.jpg"), "is a link or a device"),
        (special("lfw/pipe", tarfile.FIFOTYPE), "is a link or a device, expected plain files"),
        (special("lfw/null", tarfile.CHRTYPE), "is a link or a device"),
        (special("lfw/disk", tarfile.BLKTYPE), "is a link or a device"),
        (file("lfw/A/A_0001.jpg", b"again"), "'lfw/A/A_0001.jpg' is in it twice"),
    ],
)
def test_a_malicious_member_is_named_and_nothing_is_kept(tmp_path: Path, member: Member, message: str) -> None:
    source = tar(tmp_path / "a.tgz", [*GOOD, member])
    with pytest.raises(AssetError, match=message):
        extract_folder(source, "lfw", tmp_path / "lfw")
    assert entries(tmp_path) == ["a.tgz"]


def test_an_archive_of_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_BYTES", 1000)
    source = tar(tmp_path / "a.tgz", [file("lfw/big.jpg", bytes(1001))])
    with pytest.raises(AssetError, match=r"more than 200,000 members or 1,000 bytes"):
        extract_folder(source, "lfw", tmp_path / "lfw")
    assert entries(tmp_path) == ["a.tgz"]


@pytest.mark.parametrize("kept", [0, 20, 0.5, 0.9])
def test_a_truncated_archive_leaves_nothing(tmp_path: Path, kept: float) -> None:
    source = tar(tmp_path / "a.tgz", [*GOOD, file("lfw/C/C_0001.jpg", bytes(range(256)) * 400)])
    content = source.read_bytes()
    source.write_bytes(content[: int(kept if kept >= 1 else len(content) * kept)])
    with pytest.raises(AssetError, match=r"a\.tgz: cannot be unpacked \(.+\), expected a whole tar archive"):
        extract_folder(source, "lfw", tmp_path / "lfw")
    assert entries(tmp_path) == ["a.tgz"]


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    source = tar(tmp_path / "a.tgz", [*GOOD, file("lfw/C/C_0001.jpg", bytes(range(256)) * 400)])
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 255
    source.write_bytes(content)
    with pytest.raises(AssetError, match=r"cannot be unpacked"):
        extract_folder(source, "lfw", tmp_path / "lfw")
    assert entries(tmp_path) == ["a.tgz"]
