# SPDX-License-Identifier: Apache-2.0
"""run.json tells of the results of a run: starting over removes those alone, and nothing is sealed anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from facepipe.errors import StageError
from facepipe.store import owned
from facepipe.store.files import write_text
from facepipe.store.owned import RECORD, claim
from facepipe.store.run_faces import Written
from facepipe.store.run_record import (
    RUN_FILE,
    WRITTEN,
    adding,
    discard_results,
    read_run,
    write_run,
    written_before,
)

COUNTED = Written(images=2, faces=1, unread=0, faceless=1)
MADE_FROM = {"fingerprint": "ab"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with a drawing, the shards of a stage, and a file of the user's beside."""
    folder = tmp_path / "run"
    claim(folder)
    write_results(folder)
    write_text(folder / "fused" / "shard-00000.npz", "a shard")
    write_run(folder, MADE_FROM, COUNTED)
    with adding(folder, ["faces.html"]):
        write_text(folder / "faces.html", "a drawing")
    (folder / "thesis.txt").write_text("mine")
    return folder


def write_results(run: Path) -> None:
    for name in WRITTEN:
        write_text(run / name, f"what a run wrote: {name}")


def content(run: Path) -> dict[str, str]:
    files = (path for path in run.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(run).as_posix(): path.read_text() for path in files}


def test_starting_over_removes_every_result_and_the_record_and_nothing_else(run: Path) -> None:
    discard_results(run, [run / "fused"])
    assert content(run) == {"thesis.txt": "mine", "fused/shard-00000.npz": "a shard"}
    discard_results(run, [run / "fused", run / "absent"])
    assert content(run) == {"thesis.txt": "mine", "fused/shard-00000.npz": "a shard"}


def test_a_result_that_is_gone_already_does_not_hold_up_the_others(run: Path) -> None:
    for name in (WRITTEN[1], "faces.html"):
        (run / name).unlink()
    discard_results(run, [])
    assert content(run) == {"thesis.txt": "mine", "fused/shard-00000.npz": "a shard"}


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda run: (run / "faces.jsonl").write_text("edited"), r"faces\.jsonl: sha256 is"),
        (lambda run: (run / "faces.html").write_text("edited"), r"faces\.html: sha256 is"),
        (lambda run: (run / "fused" / "notes.txt").write_text("mine"), r"notes\.txt: is not as facepipe wrote it"),
        (lambda run: (run / "fused" / "shard-00000.npz").write_text("mine"), r"00000\.npz: is not as facepipe wrote"),
        (lambda run: (run / "fused" / "link").symlink_to(run / "thesis.txt"), r"link: is a link"),
        (lambda run: (run / RUN_FILE).write_text("{}"), r"run\.json: .*Try: move it away"),
    ],
    ids=["a result", "a drawing", "beside a shard", "a shard", "a link", "the record"],
)
def test_nothing_is_removed_where_one_thing_is_not_as_it_was_written(
    run: Path, plant: Callable[[Path], object], said: str
) -> None:
    plant(run)
    before = content(run)
    with pytest.raises(StageError, match=said):
        discard_results(run, [run / "fused"])
    assert content(run) == before


def test_the_record_goes_last_so_that_a_kill_leaves_what_can_be_started_over(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, removed = owned.remove, list[str]()

    def dying(path: Path) -> None:
        if len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(path.name)
        remove(path)

    monkeypatch.setattr(owned, "remove", dying)
    with pytest.raises(KeyboardInterrupt):
        discard_results(run, [])
    assert (run / RUN_FILE).is_file() and not any((run / name).exists() for name in removed)
    monkeypatch.undo()
    discard_results(run, [])
    assert content(run) == {"thesis.txt": "mine", "fused/shard-00000.npz": "a shard"}


def test_what_is_read_is_what_the_record_tells_of(run: Path) -> None:
    record = read_run(run, ["faces.html"])
    assert (record["photographs"], record["faces"], record["fingerprint"]) == (2, 1, "ab")
    assert set(record["results"]) == {*WRITTEN, "faces.html"}
    (run / "faces.html").write_text("edited")
    read_run(run)
    with pytest.raises(StageError, match=r"faces\.html: sha256 is .* as the run wrote it"):
        read_run(run, ["faces.html"])
    (run / WRITTEN[0]).unlink()
    with pytest.raises(StageError, match=rf"{WRITTEN[0]}: no such file, expected a result of the run"):
        read_run(run)


def test_an_earlier_drawing_is_struck_out_before_another_is_made(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt), adding(run, ["faces.html"]):
        raise KeyboardInterrupt
    assert set(read_run(run)["results"]) == set(WRITTEN)


def test_what_was_finished_stays_and_what_is_missing_is_written_again_to_the_byte(run: Path) -> None:
    before = content(run)
    assert written_before(run, MADE_FROM, lambda: pytest.fail("all was there")) == COUNTED
    (run / WRITTEN[1]).unlink()
    assert written_before(run, MADE_FROM, lambda: write_results(run)) == COUNTED
    assert content(run) == before
    with pytest.raises(StageError, match=r"run\.json: is of other work than lies beside it"):
        written_before(run, {"fingerprint": "cd"}, lambda: pytest.fail("it is of other work"))
    (run / WRITTEN[1]).unlink()
    with pytest.raises(StageError, match=rf"{WRITTEN[1]}: sha256 is"):
        written_before(run, MADE_FROM, lambda: write_text(run / WRITTEN[1], "other rows"))
    assert written_before(run.parent / "absent", MADE_FROM, lambda: pytest.fail("nothing was finished")) is None
