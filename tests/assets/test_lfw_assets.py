# SPDX-License-Identifier: Apache-2.0
"""LFW by the order of places, and its download from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Site, served

from facepipe.assets.lfw import Remote, fetch_lfw, find_lfw, locate_lfw
from facepipe.assets.workspace import Workspace
from facepipe.errors import AssetError

PAIRS = b"1\nAnn\t1\t2\nAnn\t1\tBob\t1\n"
PHOTOGRAPHS = ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg")


def archive() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name in PHOTOGRAPHS:
            info = tarfile.TarInfo(f"lfw/{name}")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"jpg"))
    return target.getvalue()


@pytest.fixture
def site() -> Iterator[Site]:
    with served(Site({"/lfw.tgz": archive(), "/pairs.txt": PAIRS})) as site:
        yield site


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "weights", tmp_path / "data", None)


def remotes(site: Site) -> tuple[Remote, Remote]:
    def remote(name: str) -> Remote:
        content = site.files[f"/{name}"]
        return Remote(f"{site.url}/{name}", hashlib.sha256(content).hexdigest(), len(content))

    return remote("lfw.tgz"), remote("pairs.txt")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PAIRS if name.endswith("pairs.txt") else b"jpg")
    return folder


def test_lfw_is_downloaded_unpacked_and_then_found(ws: Workspace, site: Site) -> None:
    images, pairs = fetch_lfw(ws, images=remotes(site)[0], pairs=remotes(site)[1])
    assert (images, pairs) == (ws.data / "lfw", ws.data / "lfw" / "pairs.txt")
    assert all((images / name).read_bytes() == b"jpg" for name in PHOTOGRAPHS)
    assert pairs.read_bytes() == PAIRS
    assert sorted(path.name for path in ws.data.iterdir()) == ["lfw", "lfw.tgz"]
    asked = len(site.asked)
    assert fetch_lfw(ws, images=remotes(site)[0], pairs=remotes(site)[1]) == locate_lfw(ws) == (images, pairs)
    assert len(site.asked) == asked


def test_a_failed_download_leaves_no_folder(ws: Workspace, site: Site) -> None:
    site.files["/lfw.tgz"] = b"another file"
    images = Remote(f"{site.url}/lfw.tgz", "0" * 64, None)
    with pytest.raises(AssetError, match=r"lfw\.tgz: what .* serves has sha256"):
        fetch_lfw(ws, images=images, pairs=remotes(site)[1])
    assert list(ws.data.iterdir()) == []


def test_an_archive_that_was_put_there_by_hand_is_used(ws: Workspace, site: Site) -> None:
    images, pairs = remotes(site)
    ws.data.mkdir()
    (ws.data / "lfw.tgz").write_bytes(site.files["/lfw.tgz"])
    fetch_lfw(ws, images=images, pairs=pairs)
    assert len(site.asked) == 1
    assert (ws.data / "lfw" / "Bob" / "Bob_0001.jpg").is_file()


def test_another_archive_of_that_name_is_named_and_left(ws: Workspace, site: Site) -> None:
    ws.data.mkdir()
    (ws.data / "lfw.tgz").write_bytes(b"mine")
    with pytest.raises(AssetError, match=r"lfw\.tgz: sha256 is .*, expected .*\. Try: delete it and run"):
        fetch_lfw(ws, images=remotes(site)[0], pairs=remotes(site)[1])
    assert (ws.data / "lfw.tgz").read_bytes() == b"mine"


def test_pairs_that_were_put_there_by_hand_are_kept(ws: Workspace, site: Site) -> None:
    put(ws.data / "lfw", "pairs.txt")
    images, pairs = fetch_lfw(ws, images=remotes(site)[0], pairs=remotes(site)[1])
    assert (images, pairs) == (ws.data / "lfw" / "images", ws.data / "lfw" / "pairs.txt"), "where they were"
    assert pairs.read_bytes() == PAIRS
    assert (images / PHOTOGRAPHS[0]).is_file()


def test_a_folder_of_something_else_is_not_touched(ws: Workspace, site: Site) -> None:
    put(ws.data / "lfw", "notes/mine.txt")
    with pytest.raises(AssetError, match=r"lfw: holds notes and no <Name>/<Name>_0001\.jpg, expected LFW's person"):
        fetch_lfw(ws, images=remotes(site)[0], pairs=remotes(site)[1])
    assert (ws.data / "lfw" / "notes" / "mine.txt").is_file()
    assert site.asked == []


def test_photographs_without_pairs_want_only_the_pairs(ws: Workspace, site: Site) -> None:
    put(ws.data / "lfw", *PHOTOGRAPHS)
    with pytest.raises(AssetError, match=r"lfw: LFW is not there, expected pairs\.txt\. Try: `facepipe fetch lfw`"):
        locate_lfw(ws)
    fetch_lfw(ws, images=remotes(site)[0], pairs=remotes(site)[1])
    assert len(site.asked) == 1


def test_own_data_comes_before_the_mirror_and_the_mirror_is_read_in_place(tmp_path: Path) -> None:
    mirror = put(tmp_path / "mirror", "lfw/pairs.txt", *(f"lfw/images/{name}" for name in PHOTOGRAPHS))
    ws = Workspace(tmp_path / "weights", tmp_path / "data", mirror)
    assert fetch_lfw(ws) == (mirror / "lfw" / "images", mirror / "lfw" / "pairs.txt")
    assert not ws.data.exists()
    put(ws.data, "pairs.txt", *(f"lfw/{name}" for name in PHOTOGRAPHS))
    assert find_lfw(ws) == (ws.data / "lfw", ws.data / "pairs.txt")


def test_when_absent_one_error_says_what_where_and_from_where(ws: Workspace) -> None:
    expected = (
        r"data/lfw: LFW is not there, expected <Name>/<Name>_0001\.jpg \(13,233 photographs\) and pairs\.txt\. "
        r"Try: `facepipe fetch lfw`, or put it into .*data/lfw by hand; it comes from https://\S+ and https://\S+"
    )
    with pytest.raises(AssetError, match=expected):
        locate_lfw(ws)
    assert not ws.data.exists()
