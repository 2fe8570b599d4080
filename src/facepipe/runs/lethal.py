# SPDX-License-Identifier: Apache-2.0
"""A photograph that kills its process (a crash in a decoder, out of memory) ends neither the run nor every later one.

Before a shard is begun its try is noted beside it (`store.tries`), so that a death is known whatever it took along. A
shard that was begun twice and not finished is done apart, after the others: whole in a process of its own; if that dies
too, its halves, and the halves of those that die, down to single photographs. Those that die alone, twice, are lethal:
the shard is done without them, and they are recorded as what they are. What was found out is noted step by step, so
that the search goes on where it was even when each death takes the whole command along.

The halves' results are thrown away: a shard's photographs are computed in batches, and a shard that was put together
from halves would have other bytes. Nothing here knows of the engine but that it says which item died.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic

from facepipe.engine import Died, Engine, Job, Open, Result
from facepipe.errors import StageError, UnsealedError
from facepipe.results import Killed, Outcome
from facepipe.store import owned
from facepipe.store.files import read_json, write_json
from facepipe.store.parts import part_of
from facepipe.store.run_record import RUN_FILE, UNSEALED_FILE
from facepipe.store.shard import Shard
from facepipe.store.stage import Stage
from facepipe.store.tries import Note, Probe, probe_of, read_note, read_notes, write_note

TRIES = 2
"""A shard that was begun so often and not finished is done apart. One death is often somebody else's: a signal, or
memory that another process took."""

ALONE = 2
"""Deaths of a photograph alone that make it lethal, for the same reason. By then it has died in company too."""

_DEATHS = 32  # processes that may die before any shard or half lives: then it is not the photographs


@dataclass(slots=True)
class _Deaths:
    """How many processes died, and whether anything of the stage has ever lived."""

    lived: bool
    count: int = 0

    def after(self, answer: Result | Died) -> None:
        """Count an answer.

        Raises:
            StageError: everything dies.
        """
        self.lived = self.lived or not isinstance(answer, Died)
        self.count += isinstance(answer, Died)
        if isinstance(answer, Died) and not self.lived and self.count >= _DEATHS:
            raise StageError(
                f"{self.count} processes died at their work (the last one {answer.how}) and none lived, expected some "
                "photographs to be read: it is hardly the photographs.",
                "`facepipe backends`, another --backend, or more memory.",
            )


def reopen(stage: Stage) -> None:
    """Take back that shards are done which lack a lethal photograph: it is tried again. Call it before `begin`.

    A folder that was begun otherwise is left as it is; `begin` refuses it.
    """
    begun = stage.folder / "begun.json"
    if not begun.is_file() or read_json(begun).get("fingerprint") != stage.definition()["fingerprint"]:
        return
    shards = stage.shards()
    for number, note in read_notes(stage.folder).items():
        if note.killed and shards[number].record.exists():
            write_note(stage.folder, number, replace(note, probes=()))
            for path in (stage.folder / "manifest.json", shards[number].record, shards[number].path):
                owned.remove(path)


def survived(
    stage: Stage, waiting: Sequence[int], engine: Engine, open_job: Open[Job, Shard, Result], job: Job
) -> Generator[Result, None, None]:
    """The result of every shard in `waiting`, as they get ready: those that died twice last, without what kills them.

    Close it on the way out of an error (`contextlib.closing`): the tries of this call are then taken back.

    Args:
        waiting: numbers of the shards that are not done.
        open_job: opens what does one shard and writes its file.

    Raises:
        StageError: a shard dies as a whole and no photograph of it does; all others are done by then. Or everything
            dies.
    """
    shards, notes = stage.shards(), read_notes(stage.folder)
    for number in notes.keys() - set(waiting):  # died between the shard's file and the note's removal
        if not notes[number].killed:
            write_note(stage.folder, number, Note())
    tries = {number: notes.get(number, Note()).tries for number in waiting}
    suspects = [number for number in waiting if tries[number] >= TRIES or notes.get(number, Note()).killed]
    others = [number for number in waiting if number not in suspects]
    deaths = _Deaths(lived=len(waiting) < len(shards))
    while others:
        lost = []
        apart = any(tries.values())  # the process that is to see the next death is not the one that dies
        together = _among_others(stage, [shards[number] for number in others], tries, engine, open_job, job, apart)
        with closing(together) as answers:
            for number, answer in answers:
                deaths.after(answer)
                if isinstance(answer, Died):
                    tries[number] += 1
                    lost.append(number)
                else:
                    yield answer
        suspects += [number for number in lost if tries[number] >= TRIES]
        others = [number for number in lost if tries[number] < TRIES]
    stubborn = []
    for number in sorted(suspects):
        answer = _Search(stage, shards[number], engine, open_job, job, deaths).done()
        if isinstance(answer, Died):
            stubborn.append((shards[number], answer))
        else:
            yield answer
    if stubborn:
        shard, answer = stubborn[0]
        raise StageError(
            f"stage {stage.name}: the process that does shard {shard.number} ({len(shard.keys)} photographs from "
            f"{shard.keys[0]} on) {answer.how}, alone too, and no photograph of it does so alone; {len(stubborn)} such "
            "shards, expected all to be done.",
            "run the same command again with fewer --workers, or with more memory.",
        )


def killed_in(folder: Path) -> dict[str, str]:
    """The photographs that the shards of a stage's folder were done without, and how each ended its process."""
    return {key: how for note in read_notes(folder).values() for key, how in note.killed.items()}


def with_killed(shard: Shard, outcomes: Sequence[Sequence[Outcome]]) -> list[Sequence[Outcome]]:
    """What became of a shard's photographs, with what is known of those that were not looked at."""
    pairs = zip(shard.keys, outcomes, strict=True)
    return [[Killed(shard.killed[key])] if key in shard.killed else own for key, own in pairs]


def mark_unsealed(run: Path, killed: Mapping[str, str]) -> None:
    """Write `run`/unsealed.json, before anything is made of a stage that lacks photographs."""
    write_json(run / UNSEALED_FILE, {"killed": dict(killed)})


def mark_sealed(run: Path) -> None:
    """Nothing of the run lacks a photograph any more."""
    owned.remove(run / UNSEALED_FILE)


def left_unsealed(run: Path, killed: Mapping[str, str], photographs: int, write: Callable[[], object]) -> UnsealedError:
    """The end of a run that lacks photographs: what there is of it is written, and the error names them.

    Args:
        write: writes the run's results. Not called where a run.json vouches for results of before: those stay.
    """
    mark_unsealed(run, killed)
    if not (run / RUN_FILE).exists():
        write()
    return unsealed(run, killed, photographs)


def unsealed(run: Path, killed: Mapping[str, str], photographs: int) -> UnsealedError:
    """The error that names lethal photographs, the first few of them."""
    named = ", ".join(f"{key}: {how}" for key, how in sorted(killed.items())[:3])
    return UnsealedError(
        f"{run}: {len(killed):,} of {photographs:,} photographs end the process that looks at them ({named}"
        f"{', ...' if len(killed) > 3 else ''}). The others are done and the run is not sealed, expected all to be "
        "looked at.",
        "the same command again, which looks at them anew, with fewer --workers where memory is short; or an empty "
        "file in a photograph's place, which counts as unread.",
    )


@dataclass(frozen=True, slots=True)
class _Noted(Generic[Job, Result]):
    """A job whose items are noted before they are begun."""

    open_job: Open[Job, Shard, Result]
    job: Job


@contextmanager
def _open_noted(noted: _Noted[Job, Result], worker: int) -> Iterator[Callable[[Shard], Result]]:
    with noted.open_job(noted.job, worker) as do:

        def do_noted(shard: Shard) -> Result:
            folder = shard.path.parent
            note = read_note(folder, shard.number)
            write_note(folder, shard.number, replace(note, tries=note.tries + 1))
            result = do(shard)
            write_note(folder, shard.number, Note())
            return result

        yield do_noted


def _among_others(
    stage: Stage,
    shards: Sequence[Shard],
    tries: Mapping[int, int],
    engine: Engine,
    open_job: Open[Job, Shard, Result],
    job: Job,
    apart: bool,
) -> Generator[tuple[int, Result | Died], None, None]:
    """The shards once each, by number; a death is noted, and a try that was not to its end is taken back."""
    before = {shard.number: tries[shard.number] for shard in shards}
    pending = set(before)
    noted: Open[_Noted[Job, Result], Shard, Result] = _open_noted
    try:
        with closing(engine.map(noted, _Noted(open_job, job), shards, apart=apart)) as answers:
            for place, answer in answers:
                number = shards[place].number
                pending.discard(number)
                if isinstance(answer, Died):  # its process has noted it, unless it died before
                    write_note(stage.folder, number, Note(tries=before[number] + 1))
                yield number, answer
    except BaseException:
        for number in pending:
            write_note(stage.folder, number, Note(tries=before[number]))
        raise


@dataclass(slots=True)
class _Search(Generic[Job, Result]):
    """One shard that died, done apart: what kills is found, and the rest is done."""

    stage: Stage
    shard: Shard
    engine: Engine
    open_job: Open[Job, Shard, Result]
    job: Job
    deaths: _Deaths
    note: Note = field(default_factory=Note)

    def done(self) -> Result | Died:
        """The shard's result, without the photographs that kill; Died where it dies and none of them does alone."""
        self.note = read_note(self.stage.folder, self.shard.number)
        before = self.note.killed
        killed = {key: how for key in before if key in self.shard.keys and (how := self._death([key]))}
        while True:
            self._write(replace(self.note, killed=killed))
            left = [key for key in self.shard.keys if key not in killed]
            answer = self._without(killed, left)
            if not isinstance(answer, Died):
                self._write(Note(TRIES, killed=killed) if killed else Note())
                return answer
            found = {left[0]: answer.how} if len(left) == 1 else dict(self._lethal_among(left))
            if not found:
                self._write(Note(TRIES, killed=before))  # the next command looks anew
                return answer
            killed = {**killed, **found}

    def _lethal_among(self, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Of photographs that died together those that die alone, each with how."""
        middle = len(keys) // 2
        for half in (keys[:middle], keys[middle:]):
            how = self._death(half) if half else ""
            if how and len(half) == 1:
                yield half[0], how
            elif how:
                yield from self._lethal_among(half)

    def _death(self, keys: Sequence[str]) -> str:
        """How a process of its own dies at these photographs alone; "" where it lives, or did so before."""
        earlier = self._earlier(keys)
        if "" in earlier:
            return ""
        scratch = part_of(self.stage.folder / "probe")
        scratch.mkdir()
        others = dict.fromkeys(set(self.shard.keys) - set(keys), "was left out")
        shard = replace(self.shard, path=scratch / self.shard.path.name, killed=others)
        try:
            answer = self._tried(keys, shard, earlier)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return answer.how if isinstance(answer, Died) else ""

    def _without(self, killed: Mapping[str, str], left: Sequence[str]) -> Result | Died:
        """The shard itself, in a process of its own."""
        return self._tried(left or self.shard.keys, replace(self.shard, killed=killed), self._earlier(left))

    def _earlier(self, keys: Sequence[str]) -> list[str]:
        """How the processes ended that looked at these photographs alone before."""
        wanted = probe_of(keys).keys_sha256 if keys else ""
        ends = [probe.ended for probe in self.note.probes if probe.keys_sha256 == wanted]
        return ["ended, and the command with it" if ended is None else ended for ended in ends]

    def _tried(self, keys: Sequence[str], shard: Shard, earlier: Sequence[str]) -> Result | Died:
        """The shard in a process of its own, as often as it takes to say that it dies at these photographs."""
        died = [how for how in earlier if how]
        while len(died) < (ALONE if len(keys) == 1 else 1):
            answer = self._once(probe_of(keys), shard)
            if not isinstance(answer, Died):
                return answer
            died.append(answer.how)
        return Died(died[-1])

    def _once(self, probe: Probe, shard: Shard) -> Result | Died:
        known = self.note
        self._write(replace(known, probes=(*known.probes, probe)))
        try:
            with closing(self.engine.map(self.open_job, self.job, [shard], apart=True)) as answers:
                ((_, answer),) = answers
        except BaseException:
            self._write(known)  # it was stopped, or an error of another kind: no death
            raise
        ended = answer.how if isinstance(answer, Died) else ""
        self._write(replace(known, probes=(*known.probes, replace(probe, ended=ended))))
        self.deaths.after(answer)
        return answer

    def _write(self, note: Note) -> None:
        self.note = note
        write_note(self.stage.folder, self.shard.number, note)
