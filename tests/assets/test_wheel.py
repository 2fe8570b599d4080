# SPDX-License-Identifier: Apache-2.0
"""Members of wheels, from a package index that is a folder or a server on this machine."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
from local_server import Site, served

from facepipe.assets.wheel import extract_member
from facepipe.errors import AssetError, StageError
from facepipe.specs import WheelMember

pytestmark = pytest.mark.process  # pip

WHEEL = "made_up_project-1.0-py3-none-any.whl"
CONTENT = b"three convolutions"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip looks in, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(path: Path, name: str = "made_up_project/data/net.pt") -> WheelMember:
    """A wheel whose package would fail if it were imported, and the member to take from it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, CONTENT)
        archive.writestr("made_up_project/__init__.py", "raise SystemExit('imported')")
        archive.writestr(
            "made_up_project-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: made-up-project\nVersion: 1.0\nRequires-Dist: no-such-project\n",
        )
        archive.writestr("made_up_project-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("made_up_project-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return WheelMember("made-up-project", "1.0", digest, "made_up_project/data/net.pt")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_member_is_taken_out_and_the_wheel_kept_for_the_next(tmp_path: Path, index: Path) -> None:
    member = wheel(index / WHEEL)
    target = tmp_path / "weights" / "net.pt"
    extract_member(member, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == [WHEEL, "net.pt"]
    assert "made_up_project" not in sys.modules
    (index / WHEEL).unlink()
    target.unlink()
    extract_member(member, target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_wheel_with_nothing_more_to_take_is_not_kept(tmp_path: Path, index: Path) -> None:
    member = wheel(index / WHEEL)
    target = tmp_path / "weights" / "net.pt"
    extract_member(member, target, SHA256, keep=False)
    assert target.read_bytes() == CONTENT and names(target.parent) == ["net.pt"]
    target.unlink()
    (index / WHEEL).rename(target.parent / WHEEL)  # put there by hand: used, and left
    extract_member(member, target, SHA256, keep=False)
    assert names(target.parent) == [WHEEL, "net.pt"]


def test_a_wheel_of_another_content_is_refused(tmp_path: Path, index: Path) -> None:
    wheel(index / WHEEL)
    member = WheelMember("made-up-project", "1.0", "0" * 64, "made_up_project/data/net.pt")
    with pytest.raises(AssetError, match=rf"{WHEEL} from the package index: sha256 is \w+, expected 0000"):
        extract_member(member, tmp_path / "weights" / "net.pt", SHA256)
    assert names(tmp_path / "weights") == []


def test_a_member_of_another_content_is_refused(tmp_path: Path, index: Path) -> None:
    member = wheel(index / WHEEL)
    with pytest.raises(
        AssetError, match=rf"net\.pt in the wheel made-up-project==1\.0 .*: sha256 is {SHA256}, expected"
    ):
        extract_member(member, tmp_path / "weights" / "net.pt", "0" * 64)
    assert "net.pt" not in names(tmp_path / "weights")


def test_a_wheel_without_the_member_is_refused(tmp_path: Path, index: Path) -> None:
    member = wheel(index / WHEEL, name="made_up_project/data/other.pt")
    with pytest.raises(AssetError, match=r"cannot be opened \(.*net\.pt.*\), expected a wheel with made_up_project"):
        extract_member(member, tmp_path / "weights" / "net.pt", SHA256)
    assert "net.pt" not in names(tmp_path / "weights")


def test_another_file_in_the_wheels_place_stays_and_is_named(tmp_path: Path, index: Path) -> None:
    member = wheel(index / WHEEL)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / WHEEL).write_bytes(b"half a wheel")
    with pytest.raises(StageError, match=rf"{WHEEL}: is not as facepipe wrote it.* it stays.* Try: move it away"):
        extract_member(member, tmp_path / "weights" / "net.pt", SHA256)
    assert (tmp_path / "weights" / WHEEL).read_bytes() == b"half a wheel"
    assert names(tmp_path / "weights") == [WHEEL]


@pytest.mark.usefixtures("index")
def test_an_index_without_the_wheel_is_one_clear_error(tmp_path: Path) -> None:
    member = WheelMember("made-up-project", "1.0", "0" * 64, "made_up_project/data/net.pt")
    expected = (
        r"weights/net\.pt: pip cannot get made_up_project/data/net\.pt in the wheel made-up-project==1\.0 on the "
        r"package index \(No matching distribution found for made-up-project==1\.0.*\)\. "
        r"Try: put that file at \S+net\.pt by hand, or the wheel into \S+weights: `pip download"
    )
    with pytest.raises(AssetError, match=expected):
        extract_member(member, tmp_path / "weights" / "net.pt", SHA256)
    assert names(tmp_path / "weights") == []


def test_an_index_that_fails_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = WheelMember("made-up-project", "1.0", "0" * 64, "made_up_project/data/net.pt")
    with served(Site({}, status=404)) as site:
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(AssetError, match=r"pip cannot get .* \(No matching distribution found"):
            extract_member(member, tmp_path / "weights" / "net.pt", SHA256)
    assert site.asked
