# SPDX-License-Identifier: Apache-2.0
"""Downloads from a server on this machine: whole, or a clear error and nothing half-written."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from local_server import Site, served

from facepipe.assets.download import download, part_of_download
from facepipe.errors import AssetError, StageError

CONTENT = np.random.default_rng(0).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = "0" * 64


@pytest.fixture
def site() -> Iterator[Site]:
    with served(Site({"/file": CONTENT})) as site:
        yield site


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_progress_is_told(tmp_path: Path, site: Site) -> None:
    told: list[tuple[int, int | None]] = []
    seen = download(f"{site.url}/file", tmp_path / "new" / "f.pt", SHA256, progress=lambda a, b: told.append((a, b)))
    assert seen == SHA256
    assert (tmp_path / "new" / "f.pt").read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["f.pt"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_a_cut_connection_is_resumed_where_it_was_cut(tmp_path: Path, site: Site) -> None:
    site.cut_after = [300_000, 100_000, 5]
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT
    assert site.asked == [None, "bytes=300000-", "bytes=400000-", "bytes=400005-"]


def test_a_server_that_knows_no_ranges_sends_the_whole_file_again(tmp_path: Path, site: Site) -> None:
    site.cut_after, site.knows_ranges = [300_000], False
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT


def test_the_next_call_resumes_what_an_earlier_one_left(tmp_path: Path, site: Site) -> None:
    part_of_download(f"{site.url}/file", tmp_path / "f.pt").write_bytes(CONTENT[:123_456])
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT
    assert site.asked == ["bytes=123456-"]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_was_complete_is_only_checked(tmp_path: Path, site: Site, size: int | None) -> None:
    part_of_download(f"{site.url}/file", tmp_path / "f.pt").write_bytes(CONTENT)
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256, size=size)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT
    assert len(site.asked) == (1 if size is None else 0)


def test_a_part_of_another_file_is_started_over(tmp_path: Path, site: Site) -> None:
    part_of_download(f"{site.url}/file", tmp_path / "f.pt").write_bytes(b"x" * 1000)
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT
    assert site.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_longer_than_the_file_is_started_over(tmp_path: Path, site: Site, size: int | None) -> None:
    part_of_download(f"{site.url}/file", tmp_path / "f.pt").write_bytes(CONTENT + b"more")
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256, size=size)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT


def test_another_content_is_thrown_away_and_named(tmp_path: Path, site: Site) -> None:
    with pytest.raises(AssetError, match=rf"f\.pt: what {site.url}/file serves has sha256 {SHA256}, expected {WRONG}"):
        download(f"{site.url}/file", tmp_path / "f.pt", WRONG)
    assert names(tmp_path) == []


def test_without_a_published_digest_the_one_seen_is_returned(tmp_path: Path, site: Site) -> None:
    assert download(f"{site.url}/file", tmp_path / "f.pt", None) == SHA256


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (403, "Forbidden"), (503, "Service Unavailable")])
def test_a_refusal_names_file_address_and_reason(tmp_path: Path, site: Site, status: int, words: str) -> None:
    site.status = status
    expected = (
        rf"f\.pt: no such file, and {site.url}/file cannot be downloaded \(the server answers {status} {words}\)\. "
        rf"Try: put it at .*f\.pt by hand; it comes from {site.url}/file"
    )
    with pytest.raises(AssetError, match=expected):
        download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert names(tmp_path) == []
    assert len(site.asked) == 1


def test_without_a_network_there_is_one_clear_error_and_nothing_else(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(AssetError, match=rf"{closed} cannot be downloaded \(Connection refused\)"):
            download(closed, tmp_path / "f.pt", SHA256)
    assert names(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}/file"
        with pytest.raises(AssetError, match=r"cannot be downloaded \(no answer in time\)"):
            download(url, tmp_path / "f.pt", SHA256, timeout_s=0.2)
    assert names(tmp_path) == []


def test_a_connection_that_brings_nothing_more_ends_with_what_is_kept(tmp_path: Path, site: Site) -> None:
    site.cut_after = [300_000, 0]
    expected = (
        r"the connection was cut 400,000 bytes before the end\); 300,000 bytes are kept, the same command resumes"
    )
    with pytest.raises(AssetError, match=expected):
        download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert names(tmp_path) == [part_of_download(f"{site.url}/file", tmp_path / "f.pt").name]
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT


def test_a_short_file_from_a_server_that_tells_no_length_is_told_by_the_known_size(tmp_path: Path, site: Site) -> None:
    site.tells_length, site.cut_after = False, [300_000]
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256, size=len(CONTENT))
    assert (tmp_path / "f.pt").read_bytes() == CONTENT


def test_another_range_than_asked_for_is_refused(tmp_path: Path, site: Site) -> None:
    part_of_download(f"{site.url}/file", tmp_path / "f.pt").write_bytes(CONTENT[:1000])
    site.shift = 5
    with pytest.raises(AssetError, match="the server answers with another range than was asked for"):
        download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert part_of_download(f"{site.url}/file", tmp_path / "f.pt").read_bytes() == CONTENT[:1000]


def test_a_file_that_is_there_is_not_asked_for(tmp_path: Path, site: Site) -> None:
    (tmp_path / "f.pt").write_bytes(b"mine")
    assert download(f"{site.url}/file", tmp_path / "f.pt", None) == hashlib.sha256(b"mine").hexdigest()
    assert site.asked == []


@pytest.mark.process
def test_a_killed_download_leaves_only_its_part_and_is_resumed(tmp_path: Path) -> None:
    """A child is killed in the middle of a transfer that stands still; this process brings the rest."""
    with socket.create_server(("127.0.0.1", 0)) as stalling:
        url = f"http://127.0.0.1:{stalling.getsockname()[1]}/file"
        code = (
            "import sys; from pathlib import Path; from facepipe.assets.download import download; "
            "download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
        )
        child = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path / "f.pt"), SHA256])
        connection, _ = stalling.accept()
        with connection:
            connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
            connection.sendall(head + CONTENT[:600_000])
            part = part_of_download(url, tmp_path / "f.pt")
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not (part.is_file() and part.stat().st_size > 0):
                time.sleep(0.02)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    assert names(tmp_path) == [part.name]
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    with served(Site({"/file": CONTENT})) as site:
        part.rename(part_of_download(f"{site.url}/file", tmp_path / "f.pt"))  # the same address, in earnest
        download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
        assert site.asked == [f"bytes={kept}-"]
    assert (tmp_path / "f.pt").read_bytes() == CONTENT
    assert names(tmp_path) == ["f.pt"]


@pytest.mark.process
def test_processes_take_turns_and_download_once(tmp_path: Path, site: Site) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (f"{site.url}/file", tmp_path / "f.pt", SHA256)
    workers = [context.Process(target=download, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / "f.pt").read_bytes() == CONTENT
    assert site.asked == [None]


def test_files_that_only_have_such_names_are_left_alone(tmp_path: Path, site: Site) -> None:
    for name in ("f.pt.part", ".f.pt.part", ".f.pt.0123456789abcdef.part"):
        (tmp_path / name).write_bytes(b"mine")
    download(f"{site.url}/file", tmp_path / "f.pt", SHA256)
    assert (tmp_path / "f.pt").read_bytes() == CONTENT
    assert {path.read_bytes() for path in tmp_path.iterdir() if path.name != "f.pt"} == {b"mine"}


@pytest.mark.parametrize("name", ["f.pt", ""])
def test_a_link_or_a_folder_in_the_way_stays_and_is_named(tmp_path: Path, site: Site, name: str) -> None:
    path = tmp_path / "w" / (name or part_of_download(f"{site.url}/file", tmp_path / "f.pt").name)
    for plant, kind in ((path.mkdir, "a folder"), (lambda: path.symlink_to(tmp_path / "mine"), "a link")):
        path.parent.mkdir()
        plant()
        with pytest.raises(StageError, match=rf"{path.name}: is {kind}, expected a file of facepipe's or nothing"):
            download(f"{site.url}/file", tmp_path / "w" / "f.pt", SHA256)
        assert names(tmp_path / "w") == [path.name] and not (tmp_path / "mine").exists()
        shutil.rmtree(tmp_path / "w")
    assert site.asked == []


def test_a_disk_that_takes_nothing_is_the_systems_own_error(tmp_path: Path, site: Site) -> None:
    (tmp_path / "w").write_bytes(b"a file where a folder is expected")
    with pytest.raises(OSError, match=r"/w'"):
        download(f"{site.url}/file", tmp_path / "w" / "f.pt", SHA256)
