# SPDX-License-Identifier: Apache-2.0
"""Writers of one gallery at the same time lose nothing, and one that is killed leaves the old gallery whole."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from facepipe.errors import DataError, StageError
from facepipe.gallery import file as gallery_file
from facepipe.gallery.file import empty_gallery, read_gallery, update_gallery, with_rows, without, write_gallery
from facepipe.store.parts import host

SHA, EMBEDDER = "ab" * 32, "mobilefacenet.ms1m"

# Adds one row after the other, or takes them away again, each by one update of the file.
WRITER = """
import sys
import numpy as np
from pathlib import Path
from facepipe.gallery.file import update_gallery, with_rows, without
path, who, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[4])):
    if what == "add":
        update_gallery(path, lambda g: with_rows(g, [who], [f"{i}.jpg"], np.eye(8, dtype=np.float32)[i % 8][None]))
    else:
        update_gallery(path, lambda g: without(g, who, f"{i}.jpg"))
"""

# Stops for good in the middle of an update: within `change`, or with the new file written and not yet in its place.
STUCK = """
import sys, time
from pathlib import Path
from facepipe.gallery.file import update_gallery, without
def stuck(*_):
    print("stuck", flush=True)
    time.sleep(60)
if sys.argv[2] == "change":
    update_gallery(Path(sys.argv[1]), stuck)
Path.replace = stuck
update_gallery(Path(sys.argv[1]), lambda gallery: without(gallery, "Ana", "0.jpg"))
"""


def of_people(path: Path, *names: str, rows: int = 40) -> Path:
    gallery = empty_gallery(EMBEDDER, SHA, 8)
    for name in names:
        unit = np.eye(8, dtype=np.float32)[np.arange(rows) % 8]
        gallery = with_rows(gallery, [name] * rows, [f"{i}.jpg" for i in range(rows)], unit)
    write_gallery(path, gallery)
    return path


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process, killed on every way out."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def go(running: subprocess.Popen[str]) -> None:
    assert running.stdin is not None
    running.stdin.write("go\n")
    running.stdin.flush()


@pytest.mark.process
def test_two_that_add_and_one_that_removes_at_once_lose_no_row(tmp_path: Path) -> None:
    path = of_people(tmp_path / "p.gallery", "Cy")
    with (
        process(WRITER, path, "Ana", "add", 40) as first,
        process(WRITER, path, "Ben", "add", 40) as second,
        process(WRITER, path, "Cy", "remove", 40) as third,
    ):
        writers = (first, second, third)
        assert [said(writer) for writer in writers] == ["ready"] * 3
        for writer in writers:
            go(writer)
        while any(writer.poll() is None for writer in writers):
            seen = read_gallery(path)  # a reader meets whole galleries alone
            assert np.isfinite(seen.embeddings).all()
        assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert read_gallery(path).people() == {"Ana": 40, "Ben": 40}
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.gallery"], "neither a lock nor a part is left"


@pytest.mark.process
@pytest.mark.parametrize("where", ["change", "written"])
def test_one_that_is_killed_in_the_middle_leaves_the_old_gallery_and_no_lock_to_break(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_people(tmp_path / "p.gallery", "Ana", rows=3)
    old = path.read_bytes()
    with process(STUCK, path, where) as writer:
        assert said(writer) == "stuck"
        monkeypatch.setattr(gallery_file, "WAIT_SECONDS", 0.2)
        with pytest.raises(StageError, match=rf"process {writer.pid} on {host()} has been writing to it for 0\.2 s"):
            update_gallery(path, lambda gallery: gallery)
        assert read_gallery(path).people() == {"Ana": 3}, "who reads need not wait"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.read_bytes() == old
    assert (tmp_path / ".p.gallery.lock").read_text() == f"{writer.pid} on {host()}\n"
    assert update_gallery(path, lambda gallery: without(gallery, "Ana", "1.jpg")).people() == {"Ana": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.gallery"]


def test_a_change_that_fails_leaves_the_gallery_and_no_lock(tmp_path: Path) -> None:
    path = of_people(tmp_path / "p.gallery", "Ana", rows=1)
    old = path.read_bytes()
    with pytest.raises(DataError, match="there is no 'Ben' in it"):
        update_gallery(path, lambda gallery: without(gallery, "Ben"))
    with pytest.raises(DataError, match="cannot be opened"):
        update_gallery(tmp_path / "absent.gallery", lambda gallery: gallery)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.gallery"]


def test_a_link_to_a_gallery_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = of_people(tmp_path / "deep" / "p.gallery", "Ana", rows=2)
    (tmp_path / "link.gallery").symlink_to(path)
    update_gallery(tmp_path / "link.gallery", lambda gallery: without(gallery, "Ana", "0.jpg"))
    assert (tmp_path / "link.gallery").is_symlink()
    assert read_gallery(path).people() == {"Ana": 1}


@pytest.mark.process
def test_two_add_commands_at_once_add_both(album: Path, seeded: Callable[..., Path], tmp_path: Path) -> None:
    people = {"Person_06": "first", "Person_07": "second", "Person_04": "enrolled"}
    for name, folder in people.items():
        (tmp_path / folder / name).mkdir(parents=True)
        shutil.copy(sorted((album / "people" / name).iterdir())[0], tmp_path / folder / name)
    path = tmp_path / "people.gallery"

    def command(*arguments: object) -> list[str]:
        weights = ["--weights", str(seeded(EMBEDDER)), "--batch", "1"]
        return [sys.executable, "-m", "facepipe", "gallery", *map(str, arguments), *weights]

    build = command("build", tmp_path / "enrolled", "--out", path, "--embedder", EMBEDDER, "--threshold", 0.4)
    subprocess.run(build, check=True, capture_output=True)
    both = [
        subprocess.Popen(command("add", path, tmp_path / folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for folder in ("first", "second")
    ]
    for running in both:
        _, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors.decode()
    assert read_gallery(path).people() == dict.fromkeys(sorted(people), 1)
