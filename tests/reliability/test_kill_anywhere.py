# SPDX-License-Identifier: Apache-2.0
"""Commands are killed at random moments and at chosen ones, resume, and end with the same bytes.

Some of it here; `make kill` does all: 200 random moments of `facepipe lfw`, every single change of a file, and the
other commands.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import killing
import pytest
import victims
from killing import Broken, Kills, Moment, Nursery, Reference, Victim


@pytest.fixture(scope="module")
def nest(work: Path) -> Iterator[Nursery]:
    """One nursery for every form of `facepipe lfw`."""
    with killing.nursery(victims.lfw(work, staged=False, workers=1)) as opened:
        yield opened


@pytest.fixture(scope="module")
def fused(work: Path, nest: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What an undisturbed fused run leaves."""
    folder = tmp_path_factory.mktemp("fused")
    return killing.undisturbed(nest, victims.lfw(work, staged=False, workers=1), folder / "run")


@pytest.fixture(scope="module")
def staged(work: Path, nest: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("staged")
    return killing.undisturbed(nest, victims.lfw(work, staged=True, workers=1), folder / "run")


def test_a_fused_run_survives_kills_at_random_moments(
    work: Path, nest: Nursery, fused: Reference, tmp_path: Path
) -> None:
    victim = victims.lfw(work, staged=False, workers=1)
    kills = killing.survive(nest, victim, tmp_path / "run", fused, [Moment(0, 0.1), *killing.moments_of(1, 2, fused)])
    assert kills.commands >= 1


def test_two_workers_survive_kills_and_leave_the_bytes_of_one(work: Path, nest: Nursery, tmp_path: Path) -> None:
    reference = killing.undisturbed(nest, victims.lfw(work, staged=False, workers=1, shard=1), tmp_path / "alone")
    victim = victims.lfw(work, staged=False, workers=2, shard=1)  # twenty shards: time enough for two kills
    kills = killing.survive(nest, victim, tmp_path / "run", reference, [Moment(1, 0), Moment(1, 0, worker=True)])
    assert kills == Kills(commands=1, beside_workers=1, workers=1, at_work=2)


def test_a_staged_run_survives_kills_at_random_moments(
    work: Path, nest: Nursery, staged: Reference, tmp_path: Path
) -> None:
    victim = victims.lfw(work, staged=True, workers=1)
    kills = killing.survive(nest, victim, tmp_path / "run", staged, killing.moments_of(2, 3, staged))
    assert kills.at_work >= 1


def test_a_run_that_dies_just_before_a_chosen_change_of_a_file_resumes(
    work: Path, nest: Nursery, fused: Reference, tmp_path: Path
) -> None:
    victim = victims.lfw(work, staged=False, workers=1)
    assert killing.die_everywhere(nest, victim, tmp_path / "run", fused, first=5, step=17) >= 2


def test_a_worker_that_dies_while_it_writes_leaves_no_trace(
    work: Path, nest: Nursery, fused: Reference, tmp_path: Path
) -> None:
    victim = victims.lfw(work, staged=False, workers=2)
    folder = tmp_path / "run"
    folder.mkdir()
    # Four changes are the note that says that a shard is begun, then a folder, a part, and the shard's name.
    once = tmp_path / "died"
    dying = {"DIE_AT": "7", "DIE_BELOW": str(folder), "DIE_IN_WORKER": "1", "DIE_ONCE": str(once)}
    nest.start(victim, folder, dying)
    assert nest.wait() == 0
    assert once.exists()
    killing.whole_again(victim, folder, fused, {}, [])


def test_workers_end_with_a_parent_that_was_killed(work: Path, nest: Nursery, tmp_path: Path) -> None:
    victim = victims.lfw(work, staged=False, workers=2)
    (tmp_path / "run").mkdir()
    process = nest.start(victim, tmp_path / "run", {"PLANTED_BUG": "slow shard"})
    killing.appears(tmp_path / "run/begun-a-shard")
    assert len(killing.living(process)) >= 3  # the parent and two workers, in the middle of a shard
    os.kill(process, signal.SIGKILL)
    assert nest.wait() == -signal.SIGKILL
    assert killing.outliving(process) == []


@pytest.mark.parametrize(
    ("bug", "complaint"),
    [
        ("not atomic", "is visible, and is neither a result nor whole JSON|is visible and not whole"),
        ("finished twice", "was finished, and was written again"),
        ("swallowed exception", "has other bytes than undisturbed|is visible and not whole|expected 5 photographs"),
    ],
)
def test_the_harness_finds_a_planted_bug(
    work: Path, nest: Nursery, fused: Reference, tmp_path: Path, bug: str, complaint: str
) -> None:
    victim = victims.lfw(work, staged=False, workers=1)
    planted = {"PLANTED_BUG": bug}
    with pytest.raises(Broken, match=complaint):
        killing.die_everywhere(
            nest, victim, tmp_path / "run", fused, planted, first={"not atomic": 4, "finished twice": 28}.get(bug, 13)
        )


def test_the_harness_finds_a_planted_worker_that_outlives_its_parent(work: Path, tmp_path: Path) -> None:
    victim = victims.lfw(work, staged=False, workers=1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert killing.living(child.pid) == [child.pid]
            with pytest.raises(Broken, match="outlive the one that was killed"):
                killing.whole_again(victim, tmp_path, Reference({}, 0), {}, [child.pid], ending_s=0.2)
        finally:
            child.kill()


def test_a_fetch_that_dies_before_chosen_changes_goes_on(work: Path, tmp_path: Path) -> None:
    with victims.lfw_site(work) as (site, images, pairs):
        victim: Victim = victims.fetch(work, site.url, images, pairs)
        with killing.nursery(victim) as nest:
            reference = killing.undisturbed(nest, victim, tmp_path / "whole")
            assert killing.die_everywhere(nest, victim, tmp_path / "run", reference, first=2, step=9) >= 3


def test_a_compilation_that_dies_before_chosen_changes_is_done_again(
    work: Path, weights_dir: Path, tmp_path: Path
) -> None:
    victim = victims.om(work, weights_dir, tmp_path / "logs")
    with killing.nursery(victim) as nest:
        reference = killing.undisturbed(nest, victim, tmp_path / "whole")
        assert killing.die_everywhere(nest, victim, tmp_path / "run", reference, first=3, step=3) >= 1


def test_a_gallery_that_dies_before_chosen_changes_is_built_again(work: Path, tmp_path: Path) -> None:
    victim = victims.gallery(work)
    with killing.nursery(victim) as nest:
        reference = killing.undisturbed(nest, victim, tmp_path / "whole")
        assert killing.die_everywhere(nest, victim, tmp_path / "run", reference, first=3, step=4) >= 1
