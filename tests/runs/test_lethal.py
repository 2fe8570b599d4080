# SPDX-License-Identifier: Apache-2.0
"""Photographs that kill their process: they are found, whatever dies with them, and everything else is done.

Processes are played here by an engine that knows what is lethal; `tests/reliability/test_lethal_photographs.py` has
real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facepipe.engine import Died
from facepipe.errors import DataError, StageError
from facepipe.results import FaceLine, Killed, NoFace
from facepipe.runs import lethal
from facepipe.store.files import read_json
from facepipe.store.owned import RECORD, claim
from facepipe.store.run_faces import read_faces, write_faces
from facepipe.store.run_record import read_run
from facepipe.store.shard import Shard, write_shard
from facepipe.store.stage import Stage, begin, finish
from facepipe.store.tries import Note, Probe, note_path, probe_of, read_note, read_notes, write_note

SEGV = "ended with signal SIGSEGV"
TEN = tuple("abcdefghij")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, and these tests write thousands of notes."""
    monkeypatch.setattr("os.fsync", lambda _: None)


class CommandDied(BaseException):
    """The command is gone, and all of its processes."""


@contextmanager
def open_letters(job: str, worker: int) -> Iterator[Callable[[Shard], int]]:
    """Writes which keys were looked at; a shard's bytes depend on its keys and on what was left out."""

    def do(shard: Shard) -> int:
        looked = [job if key in shard.killed else key for key in shard.keys]
        write_shard(shard, {"looked": np.array(looked, np.str_), "sha256": np.array([""] * len(looked))}, looked)
        return len(shard.keys)

    yield do


@dataclass
class Played:
    """An engine whose processes die where `dies` says so of the keys that they look at.

    Attributes:
        notes: whether a process notes its try before it dies.
        takes_all: the death of a process takes the whole command along, as a container's does.
        looked: the keys of every try, in order; with whether it was apart.
    """

    dies: Callable[[Sequence[str]], bool]
    takes_all: bool = False
    workers: int = 1
    notes: bool = True
    looked: list[tuple[str, bool]] = field(default_factory=list)
    is_gone: bool = False

    def map(
        self, open_job: Any, job: Any, items: Sequence[Shard], *, apart: bool = False
    ) -> Generator[tuple[int, Any], None, None]:
        with open_job(job, 0) as do:
            for place, shard in enumerate(items):
                keys = [key for key in shard.keys if key not in shard.killed]
                self.looked.append(("".join(keys), apart))
                if not self.dies(keys):
                    yield place, do(shard)
                    continue
                if self.notes and isinstance(job, lethal._Noted):  # what its process wrote before it died
                    note = read_note(shard.path.parent, shard.number)
                    write_note(shard.path.parent, shard.number, Note(note.tries + 1, note.probes, note.killed))
                if self.takes_all or not (apart or self.workers > 1):
                    self.is_gone = True
                    raise CommandDied
                yield place, Died(SEGV)


def any_of(lethal_keys: str) -> Callable[[Sequence[str]], bool]:
    return lambda keys: bool(set("".join(keys)) & set(lethal_keys))


def stage_of(folder: Path, keys: Sequence[str] = TEN, size: int = 5) -> Stage:
    return Stage(folder, "fused", {"threshold": 1}, tuple(keys), size)


def command(stage: Stage, engine: Played, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What one command does with a stage; what is lethal. A command that is gone writes nothing more."""

    def write(folder: Path, shard: int, note: Note) -> None:
        if not engine.is_gone:
            write_note(folder, shard, note)

    with monkeypatch.context() as patch:
        patch.setattr(lethal, "write_note", write)
        lethal.reopen(stage)
        waiting = begin(stage, tmp_path_of)
        with closing(lethal.survived(stage, waiting, engine, open_letters, "-")) as counts:
            assert sum(counts) == sum(len(stage.shard_keys(number)) for number in waiting)
    return lethal.killed_in(stage.folder)


def commands(stage: Stage, engine: Played, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, str], int]:
    """The same command until it does not die; how often it was given."""
    for number in range(1, 200):
        try:
            return command(stage, engine, monkeypatch), number
        except CommandDied:
            engine.is_gone = False
    raise AssertionError("it dies for ever")


def tmp_path_of(key: str) -> Path:
    """Where a photograph lies: nowhere, then and now."""
    return Path("/nowhere") / key


def looked_at(stage: Stage) -> str:
    """All shards' keys in order, "-" for those that were left out."""
    return "".join("".join(np.load(stage.shard_path(n))["looked"].tolist()) for n in range(stage.shard_count))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("takes_all", [False, True])
@pytest.mark.parametrize("deadly", ["", "a", "e", "c", "ae", "be", "j", "cj", "abcde", "abcdefghij"])
def test_what_kills_is_found_and_everything_else_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deadly: str, takes_all: bool, workers: int
) -> None:
    stage = stage_of(tmp_path)
    killed, given = commands(stage, Played(any_of(deadly), takes_all, workers), monkeypatch)
    assert set(killed) == set(deadly)
    assert looked_at(stage) == "".join("-" if key in deadly else key for key in TEN)
    if not takes_all:
        assert given == (1 if workers > 1 or not deadly else 2)  # the first one saw the death, and died
        assert set(killed.values()) <= {SEGV}
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert set(read_notes(tmp_path)) == {TEN.index(key) // 5 for key in deadly}


def test_a_shard_is_halved_after_two_deaths_until_a_photograph_is_alone_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Played(any_of("c"), workers=2)
    command(stage_of(tmp_path, size=5), engine, monkeypatch)
    assert engine.looked == [
        ("abcde", False),
        ("fghij", False),
        ("abcde", True),  # what died once is done apart from the command, and after the others
        ("abcde", True),
        ("ab", True),
        ("cde", True),
        ("c", True),
        ("c", True),
        ("de", True),
        ("abde", True),
    ]


def test_the_rest_of_the_shard_has_the_bytes_of_a_run_without_the_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of(tmp_path)
    command(stage, Played(any_of("c"), workers=2), monkeypatch)
    with open_letters("-", 0) as do:
        do(Shard(0, TEN[:5], tmp_path / "alone.npz", "", {"c": "was never there"}))
    assert stage.shard_path(0).read_bytes() == (tmp_path / "alone.npz").read_bytes()


def test_a_photograph_that_lives_in_the_next_command_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, other = stage_of(tmp_path / "one"), stage_of(tmp_path / "other")
    assert command(stage, Played(any_of("cj"), workers=2), monkeypatch).keys() == {"c", "j"}
    engine = Played(any_of("j"))
    assert command(stage, engine, monkeypatch).keys() == {"j"}
    assert engine.looked == [
        *(("c", True), ("abcde", True)),  # alone it lives, so it is done with the others
        *(("j", True), ("j", True), ("fghi", True)),
    ]
    assert command(stage, Played(any_of("")), monkeypatch) == {}
    finish(stage)
    command(other, Played(any_of("")), monkeypatch)
    finish(other)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD}


def test_a_complete_stage_is_reopened_for_its_lethal_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a staged run's is, which goes on without them."""
    stage = stage_of(tmp_path)
    command(stage, Played(any_of("c"), workers=2), monkeypatch)
    finish(stage)
    manifest = (tmp_path / "manifest.json").read_bytes()
    command(stage, Played(any_of("c")), monkeypatch)
    assert not (tmp_path / "manifest.json").exists()
    finish(stage)
    assert (tmp_path / "manifest.json").read_bytes() == manifest  # the same photographs are lethal: the same stage
    command(stage, Played(any_of("")), monkeypatch)
    finish(stage)
    assert (tmp_path / "manifest.json").read_bytes() != manifest


def test_a_folder_that_was_begun_otherwise_is_refused_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(stage_of(tmp_path), Played(any_of("c"), workers=2), monkeypatch)
    before = contents(tmp_path)
    with pytest.raises(StageError, match="was begun with"):
        command(stage_of(tmp_path, TEN[:-1]), Played(any_of("")), monkeypatch)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("deadly", ["c", "aj"])
def test_a_search_goes_on_where_the_command_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deadly: str) -> None:
    """Every process's death takes the command along: no try is made twice but those that count deaths."""
    engine = Played(any_of(deadly), takes_all=True)
    commands(stage_of(tmp_path, size=10), engine, monkeypatch)
    tries = [keys for keys, _ in engine.looked]
    alone = [keys for keys in tries if len(keys) == 1 and keys in deadly]
    assert sorted(alone) == sorted(deadly * 2)
    assert tries.count("".join(TEN)) == 3
    others = [keys for keys in tries if keys not in alone and keys != "".join(TEN)]
    assert len(others) == len(set(others))


def test_a_shard_that_died_of_its_company_is_done_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Played(lambda keys: "c" in keys and len(engine.looked) <= 3, workers=2)
    assert command(stage_of(tmp_path), engine, monkeypatch) == {}
    assert engine.looked[-1] == ("abcde", True)
    assert looked_at(stage_of(tmp_path)) == "".join(TEN)
    assert read_notes(tmp_path) == {}


def test_a_photograph_that_died_alone_once_is_not_lethal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal of somebody's, in the middle of the search: the shard then lives."""
    deaths = {"abcde": 3, "ab": 1, "a": 1}

    def dies(keys: Sequence[str]) -> bool:
        name = "".join(keys)
        deaths[name] = deaths.get(name, 0) - 1
        return deaths[name] >= 0

    stage = stage_of(tmp_path, TEN[:5])
    engine = Played(dies, workers=2)
    with pytest.raises(StageError, match="no photograph of it does so alone"):  # it may die as a whole still
        command(stage, engine, monkeypatch)
    assert ("a", True) in engine.looked
    assert command(stage, engine, monkeypatch) == {}
    assert looked_at(stage) == "abcde"


def test_a_shard_that_dies_as_a_whole_and_in_no_half_is_named_after_everything_else_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of(tmp_path)
    engine = Played(lambda keys: {"a", "e"} <= set(keys), workers=2)
    with pytest.raises(StageError, match=r"that does shard 0 \(5 photographs from a on\) ended with signal"):
        command(stage, engine, monkeypatch)
    assert [path.name for path in tmp_path.glob("shard-*.npz")] == ["shard-00001.npz"]
    assert read_note(tmp_path, 0) == Note(tries=2)  # and it is looked at anew
    assert command(stage, Played(any_of("")), monkeypatch) == {}
    assert looked_at(stage) == "".join(TEN)


def test_where_everything_dies_it_is_not_the_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Played(any_of("0123456789"), workers=2)
    with pytest.raises(StageError, match=r"32 processes died at their work .* it is hardly the photographs"):
        command(stage_of(tmp_path, [f"{number:04d}" for number in range(1000)], 10), engine, monkeypatch)
    assert len(engine.looked) == 32


def test_an_error_takes_the_tries_of_its_command_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_of(tmp_path, size=2)
    monkeypatch.setattr("test_lethal.write_shard", refuse)
    for _ in range(3):
        with pytest.raises(DataError, match="is no photograph"):
            command(stage, Played(any_of(""), workers=2), monkeypatch)
        assert read_notes(tmp_path) == {}
    write_note(tmp_path, 0, Note(tries=1))
    with pytest.raises(DataError, match="is no photograph"):
        command(stage, Played(any_of("")), monkeypatch)
    assert read_notes(tmp_path) == {0: Note(tries=1)}
    alone = stage_of(tmp_path / "alone", TEN[:3])
    begin(alone, tmp_path_of)
    write_note(alone.folder, 0, Note(tries=2))
    with pytest.raises(DataError, match="is no photograph"):
        command(alone, Played(any_of(""), workers=2), monkeypatch)
    assert read_notes(alone.folder) == {0: Note(tries=2)}


def refuse(shard: Shard, arrays: object, stamps: object) -> None:
    raise DataError("a: is no photograph, expected one.")


def test_a_caller_that_stops_in_the_middle_takes_the_tries_back(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, size=2)
    begin(stage, tmp_path_of)
    with (
        pytest.raises(KeyboardInterrupt),
        closing(lethal.survived(stage, range(5), Played(any_of("")), open_letters, "-")) as counts,
    ):
        for _ in counts:
            raise KeyboardInterrupt
    assert read_notes(tmp_path) == {}
    assert [path.name for path in tmp_path.glob("shard-*.npz")] == ["shard-00000.npz"]


def test_a_process_that_died_before_it_noted_its_try_is_counted(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    begin(stage, tmp_path_of)
    engine = Played(any_of("c"), workers=2, notes=False)
    with pytest.raises(KeyboardInterrupt), closing(lethal.survived(stage, [0, 1], engine, open_letters, "-")) as counts:
        for _ in counts:
            raise KeyboardInterrupt  # the other shard is done by now
    assert read_notes(tmp_path) == {0: Note(tries=1)}


def test_a_photograph_is_looked_at_anew_when_the_command_died_at_its_very_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the shard without it and the end of the search: what the search found does not hold for ever."""
    stage, died = stage_of(tmp_path), replace(probe_of(["c"]), ended=SEGV)
    command(stage, Played(any_of("c"), workers=2), monkeypatch)
    write_note(tmp_path, 0, Note(2, (died, died), {"c": SEGV}))
    assert command(stage, Played(any_of("")), monkeypatch) == {}


def test_a_death_between_a_shard_and_its_note_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_of(tmp_path)
    command(stage, Played(any_of("")), monkeypatch)
    write_note(tmp_path, 1, Note(tries=1))
    engine = Played(any_of(""))
    command(stage, engine, monkeypatch)
    assert (engine.looked, read_notes(tmp_path)) == ([], {})


def test_a_note_is_one_sealed_file_beside_the_shard(tmp_path: Path) -> None:
    claim(tmp_path)
    probes = (probe_of(["a", "b"]), Probe("a", 1, "aa", ""), Probe("b", 1, "bb", SEGV))
    note = Note(2, probes, {"b": SEGV})
    write_note(tmp_path, 3, note)
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, "tries-00003.json"]
    assert read_notes(tmp_path) == {3: note}
    content = json.loads(note_path(tmp_path, 3).read_text())
    assert (content["format"], content["tries"], content["killed"]) == ("facepipe.tries.1", 2, {"b": SEGV})
    write_note(tmp_path, 3, Note())
    assert read_notes(tmp_path) == {}
    for damage in (b"", b"{}", json.dumps({**content, "tries": 0}).encode()):
        note_path(tmp_path, 3).write_bytes(damage)
        with pytest.raises(StageError, match=r"tries-00003\.json: cannot be used .* Try: delete it"):
            read_notes(tmp_path)


def test_a_run_with_lethal_photographs_ends_unsealed_and_names_them(tmp_path: Path) -> None:
    claim(tmp_path)
    lines = [FaceLine("a.jpg", NoFace("no face found")), FaceLine("b.jpg", Killed(SEGV))]
    killed = {"b.jpg": SEGV}
    error = lethal.left_unsealed(tmp_path, killed, 2, lambda: write_faces(tmp_path / "faces.jsonl", lines))
    assert f"1 of 2 photographs end the process that looks at them (b.jpg: {SEGV})" in error.what
    assert "the run is not sealed" in error.what and "with fewer --workers" in str(error.attempt)
    assert (tmp_path / "faces.jsonl").read_text().splitlines()[1] == f'{{"key": "b.jpg", "killed": "{SEGV}"}}'
    assert [line.outcome for line in read_faces(tmp_path / "faces.jsonl")] == [line.outcome for line in lines]
    assert read_json(tmp_path / "unsealed.json")["killed"] == killed
    with pytest.raises(StageError, match=r"photographs end the process that looks at them \(first: b\.jpg\)"):
        read_run(tmp_path)
    lethal.mark_sealed(tmp_path)
    assert not (tmp_path / "unsealed.json").exists()
    many = {f"{number}.jpg": SEGV for number in range(4)}
    assert f"2.jpg: {SEGV}, ...)" in lethal.unsealed(tmp_path, many, 9).what


def test_results_that_are_vouched_for_stay_when_a_shard_that_is_done_again_kills(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    error = lethal.left_unsealed(tmp_path, {"b.jpg": SEGV}, 2, lambda: pytest.fail("it was written over"))
    assert "1 of 2" in error.what
