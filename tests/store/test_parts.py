# SPDX-License-Identifier: Apache-2.0
"""Unfinished files: whose they are, and that nobody removes those of a living owner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facepipe.store.files import atomic_path
from facepipe.store.parts import FOREIGN_SECONDS, host, owner_lives, part_name, part_of, remove_parts

WRITE = (
    "import sys, time; from pathlib import Path; from facepipe.store.files import atomic_path\n"
    "with atomic_path(Path(sys.argv[1])) as part:\n"
    "    part.write_text('half'); print(part.name, flush=True); sys.stdin.read(); part.write_text('whole')"
)


@contextmanager
def writing(target: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Another process in the middle of writing `target`, and its part."""
    command = [sys.executable, "-c", WRITE, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            yield writer, target.with_name(writer.stdout.readline().decode().rstrip("\n"))
        finally:
            writer.kill()


def test_a_part_of_a_living_process_stays_and_a_killed_ones_goes(tmp_path: Path) -> None:
    with writing(tmp_path / "m.onnx") as (writer, part):
        remove_parts(tmp_path)
        assert part.read_text() == "half" and owner_lives(part)
        assert writer.stdin is not None
        writer.stdin.close()
        assert writer.wait() == 0
        assert (tmp_path / "m.onnx").read_text() == "whole"
    with writing(tmp_path / "n.onnx") as (writer, part):
        writer.kill()
        os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)  # ended, and not asked for yet
        assert part.is_file() and not owner_lives(part)
        remove_parts(tmp_path)
        assert not part.exists()


def test_a_process_that_was_given_a_dead_ones_number_does_not_own_its_parts(tmp_path: Path) -> None:
    mine = part_of(tmp_path / "a.bin")
    mark = re.search(rf"{os.getpid()}\.(\d+)-", mine.name)
    assert mark is not None
    earlier = tmp_path / part_name("a.bin", host(), os.getpid(), int(mark[1]) - 1)
    for part in (mine, earlier):
        part.write_text("half")
    remove_parts(tmp_path)
    assert mine.exists() and not earlier.exists()


@pytest.mark.parametrize("folder", [False, True])
def test_a_part_of_another_machine_lives_while_it_is_young(tmp_path: Path, folder: bool) -> None:
    part = tmp_path / part_name("lfw", "board-3", 1, 77)
    half = part / "half" if folder else part
    half.parent.mkdir(exist_ok=True)
    half.write_text("half")
    old = half.stat().st_mtime - FOREIGN_SECONDS - 60
    if folder:
        os.utime(part, (old, old))  # what lies in it is young
    remove_parts(tmp_path)
    assert half.exists() and owner_lives(part)
    for path in (half, part):
        os.utime(path, (old, old))
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("owner", [host(), "board-3"])
def test_parts_that_vanish_while_they_are_looked_at_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, folder: bool
) -> None:
    """Another command cleans the same folder, or the part has just been given its name."""
    parts = [tmp_path / part_name(f"{number}", owner, 999999999, 1) for number in range(2)]
    for part in parts:
        part.mkdir() if folder else part.write_text("half")
    listed = Path.iterdir

    def cleaned_meanwhile(self: Path) -> Iterator[Path]:
        there = list(listed(self))
        for part in there:
            part.rmdir() if folder else part.unlink()
        return iter(there)

    monkeypatch.setattr(Path, "iterdir", cleaned_meanwhile)
    remove_parts(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    assert not any(owner_lives(part) for part in parts)
    remove_parts(tmp_path / "absent")


def test_what_somebody_else_called_a_part_is_left_alone(tmp_path: Path) -> None:
    dead = part_name("m", host(), 999999999, 1)
    last = f"{int(dead[-6], 16) ^ 1:x}"  # of the check
    names = [
        *("lfw.tgz.part", ".m.onnx.4711.part", ".part", f".m.{host()}.x.1-0123abcd.part"),
        *(f".m.{host()}.999999999.1-0123abcd.part", f".m.{host()}.999999999.1-0123abcd01234567.part"),
        *(f"{dead[:-6]}{last}.part", dead.replace(".m.", ".n.", 1), f"{dead}.part"),
    ]
    for name in names:
        (tmp_path / name).write_text("not ours to judge")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / part_name("link", host(), 999999999, 1)).symlink_to(tmp_path / "mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    (tmp_path / dead).write_text("ours")
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_parts_that_lie_deeper_are_not_looked_at(tmp_path: Path) -> None:
    dead = tmp_path / "a" / part_name("x.npz", host(), 999999999, 1)
    dead.parent.mkdir()
    dead.write_text("half")
    remove_parts(tmp_path)
    assert dead.exists()
    remove_parts(tmp_path / "a")
    assert not dead.exists() and dead.parent.is_dir()


def test_no_two_parts_have_one_name_and_any_name_has_one(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 127)
    assert part_of(target) != part_of(target)
    with atomic_path(target) as part:
        part.write_text("whole")
        assert len(part.name.encode()) <= 255 and "." not in host()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
