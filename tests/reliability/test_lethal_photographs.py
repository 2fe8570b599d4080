# SPDX-License-Identifier: Apache-2.0
"""Photographs that end the process which decodes them, by real deaths of real processes: the run ends with status 3,
names them, and has everything else. `tests/runs/test_lethal.py` has every way in which a search can go.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import killing
import pytest
import victims
from killing import Nursery

from facepipe.cli import main
from facepipe.datasets.lfw import read_pairs

DEADLY = {"PLANTED_BUG": "deadly decoder"}
HOW = {
    "SIGSEGV": "ended with signal SIGSEGV",
    "SIGKILL": "ended with signal SIGKILL",
    "MEMORY": "ran out of memory",
}


@pytest.fixture(scope="module")
def nest(work: Path) -> Iterator[Nursery]:
    with killing.nursery(victims.lfw(work, staged=False, workers=1)) as opened:
        yield opened


def sample_with(work: Path, place: Path, deadly: Mapping[int, str]) -> tuple[Path, list[str]]:
    """The sample with photographs that kill, by place; and the keys of all. "" is an empty file: it is unread."""
    shutil.copytree(work, place, symlinks=True)
    keys = list(dict.fromkeys(sorted(read_pairs(place / "sample/pairs.txt").keys())))
    for number, word in deadly.items():
        path = place / "sample/images" / keys[number]
        path.write_bytes(path.read_bytes() + word.rjust(8, ".").encode() if word else b"")
    return place, keys


def lines_of(run: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in (run / "faces.jsonl").read_text().splitlines()]
    return {line.pop("key"): line for line in lines}


def command(nest: Nursery, work: Path, run: Path, *, staged: bool, workers: int, shard: int) -> tuple[int, str]:
    """`facepipe lfw` with a deadly decoder: its status, and its last line."""
    nest.start(victims.lfw(work, staged, workers, shard), run, DEADLY)
    return nest.wait(), (run.parent / f"{run.name}.log").read_text().strip().splitlines()[-1]


def lacks(run: Path, keys: list[str], deadly: Mapping[int, str], place: Path, staged: bool, shard: int) -> None:
    """Hold an unsealed run against one in which the same photographs are unread: all else is the same."""
    there, _ = sample_with(place, run.with_name("unread"), dict.fromkeys(deadly, ""))
    other = run.with_name("other")
    assert main([*victims.lfw(there, staged, 1, shard).words(other), "--unread", "skip"]) == 0
    ours, theirs = lines_of(run), lines_of(other)
    for number, word in deadly.items():
        assert ours.pop(keys[number]) == {"killed": HOW[word]}
        assert theirs.pop(keys[number]) == {"unread": "is empty (0 bytes)"}
    assert ours == theirs
    assert (run / "embeddings.npy").read_bytes() == (other / "embeddings.npy").read_bytes()
    assert json.loads((run / "unsealed.json").read_text())["killed"].keys() == {keys[number] for number in deadly}
    assert not [name for name in ("run.json", "accuracy.json", "fused/manifest.json") if (run / name).exists()]


@pytest.mark.parametrize("staged", [False, True])
def test_everything_else_is_done_and_when_it_lives_the_run_is_as_if_nothing_had_been(
    work: Path, nest: Nursery, tmp_path: Path, capfd: pytest.CaptureFixture[str], staged: bool
) -> None:
    run, deadly = tmp_path / "run", {3: "SIGSEGV"}
    place, keys = sample_with(work, tmp_path / "deadly", deadly)
    run.mkdir()
    status, line = command(nest, place, run, staged=staged, workers=2, shard=2)
    assert status == 3, line
    assert f"1 of {len(keys)} photographs end the process" in line and f"({keys[3]}: {HOW['SIGSEGV']})" in line
    lacks(run, keys, deadly, work, staged, shard=2)
    capfd.readouterr()
    assert main(["check", str(run)]) == 1
    assert f"end the process that looks at them (first: {keys[3]}): the run is not sealed" in capfd.readouterr().err
    # Memory is there again, or the decoder was mended: the same command looks anew.
    assert main(victims.lfw(place, staged, 1, 2).words(run)) == 0
    assert main(victims.lfw(place, staged, 1, 2).words(tmp_path / "never")) == 0
    mended, never = (dict(killing.visible(tmp_path / name)) for name in ("run", "never"))
    assert mended.keys() == never.keys()
    for name in mended.keys() - {"run.json"}:
        assert mended[name].read_bytes() == never[name].read_bytes(), name


def test_the_first_and_the_last_in_one_process_and_a_file_put_in_the_place_of_each(
    work: Path, nest: Nursery, tmp_path: Path
) -> None:
    run, deadly = tmp_path / "run", {0: "SIGKILL", 19: "MEMORY"}
    place, keys = sample_with(work, tmp_path / "deadly", deadly)
    run.mkdir()
    # One worker works in the command's own process, and takes it along; the next one is watched from outside.
    assert command(nest, place, run, staged=False, workers=1, shard=1)[0] == -signal.SIGKILL
    status, line = command(nest, place, run, staged=False, workers=1, shard=1)
    assert status == 3 and f"2 of {len(keys)} photographs end the process" in line, line
    assert keys[19] == keys[-1]
    lacks(run, keys, deadly, work, staged=False, shard=1)
    for number in deadly:
        (place / "sample/images" / keys[number]).write_bytes(b"")
    assert main([*victims.lfw(place, False, 1, 1).words(run), "--unread", "skip"]) == 0
    assert lines_of(run)[keys[0]] == lines_of(run)[keys[-1]] == {"unread": "is empty (0 bytes)"}
    assert not (run / "unsealed.json").exists() and not list(run.glob("fused/tries-*"))


def test_a_command_that_is_killed_while_it_searches_goes_on(work: Path, nest: Nursery, tmp_path: Path) -> None:
    place, keys = sample_with(work, tmp_path / "deadly", {3: "SIGSEGV"})
    run, note = tmp_path / "run", tmp_path / "run/fused/tries-00000.json"
    run.mkdir()
    process = nest.start(victims.lfw(place, False, 2, 5), run, DEADLY)
    killing.appears(note)
    while len(json.loads(note.read_text())["probes"]) < 2:
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    assert nest.wait() == -signal.SIGKILL
    assert killing.outliving(process) == []
    before = [probe["ended"] for probe in json.loads(note.read_text())["probes"]]
    assert before[0] == HOW["SIGSEGV"]
    assert command(nest, place, run, staged=False, workers=2, shard=5)[0] == 3
    assert lines_of(run)[keys[3]] == {"killed": HOW["SIGSEGV"]}
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]
