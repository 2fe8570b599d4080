# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a run: a full disk, folders that cannot be written, inputs that vanish or change, two runs at
once, clocks that jump, and being told to stop. Each is one clear error, and the run can be finished afterwards."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import killing
import pytest
import victims
from killing import Nursery

from facepipe.cli import main
from facepipe.store.parts import host
from facepipe.store.photograph_digests import read_digests


def words_of(work: Path, run: Path, *more: str, sample: Path | None = None) -> list[str]:
    words = victims.lfw(work, staged=False, workers=1).words(run)
    if sample is not None:
        words[words.index("--data") + 1] = str(sample)
    return [*words, *more]


@pytest.fixture(scope="module")
def nest(work: Path) -> Iterator[Nursery]:
    with killing.nursery(victims.lfw(work, staged=False, workers=1)) as opened:
        yield opened


@pytest.fixture(scope="module")
def undisturbed(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main(words_of(work, run)) == 0
    return run


def same_results(one: Path, other: Path) -> bool:
    names = ("faces.jsonl", "embeddings.npy", "photographs.sha256")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    work: Path, undisturbed: Path, tmp_path: Path
) -> None:
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))\n"
        "from facepipe.cli import main; sys.exit(main(sys.argv[2:]))"
    )
    words = words_of(work, tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", code, "6000", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("facepipe lfw: ")
    assert "File too large" in done.stderr.strip().splitlines()[-1]
    assert not list((tmp_path / "run").rglob(".*"))
    assert main(words) == 0
    assert same_results(tmp_path / "run", undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 kB, where one may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small disk needs root; the test with a limit on file sizes covers it in part")
    yield place
    subprocess.run(["umount", str(place)], check=True, capture_output=True)


def test_a_disk_that_runs_full_names_the_file_and_leaves_no_partial_one(
    work: Path, undisturbed: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blocks = small_disk / "somebody else's"
    blocks.write_bytes(bytes(480 << 10))
    words = words_of(work, small_disk / "run")
    assert main(words) == 1
    assert "No space left on device: '" in capfd.readouterr().err.strip().splitlines()[-1]
    for name, path in killing.visible(small_disk / "run"):
        if name in dict(killing.visible(undisturbed)) and path.suffix == ".npz":
            assert path.read_bytes() == (undisturbed / name).read_bytes()
    blocks.unlink()
    assert main(words) == 0
    assert same_results(small_disk / "run", undisturbed)


def test_a_folder_that_cannot_be_written_is_one_line(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").write_text("in the way")
    assert main(words_of(work, tmp_path / "a file" / "run")) == 1
    text = capfd.readouterr().err.strip().splitlines()[-1]
    assert text.startswith("facepipe lfw: ") and "a file" in text
    assert main(words_of(work, Path("/proc/facepipe-run"))) == 1
    assert "/proc/facepipe-run" in capfd.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(("change", "told"), [("gone", "1 of 20 photographs"), ("other", "is another file")])
def test_a_photograph_that_changes_between_two_stages_ends_the_run_and_is_named(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], change: str, told: str
) -> None:
    sample = tmp_path / "sample"
    shutil.copytree(work / "sample", sample)
    stage = words_of(work, tmp_path / "run", sample=sample)[1:]
    assert main(["stage", "pnet", *stage]) == 0
    key = next(iter(read_digests_of_stage(tmp_path / "run/pnet", sample)))
    content = (sample / "images" / key).read_bytes()
    if change == "gone":
        (sample / "images" / key).unlink()
    else:
        (sample / "images" / key).write_bytes(content + b"x")
    assert main(["stage", "rnet", *stage]) == 1
    text = capfd.readouterr().err.strip().splitlines()[-1]
    assert key in text and told in text and ("Try: put it back" in text) == (change == "other")
    (sample / "images" / key).write_bytes(content)
    assert main(["stage", "rnet", *stage]) == 0


def read_digests_of_stage(folder: Path, sample: Path) -> list[str]:
    """The keys of a stage; the list itself lies in nothing but the pairs."""
    from facepipe.datasets.lfw import read_pairs

    assert (folder / "manifest.json").is_file()
    return list(read_pairs(sample / "pairs.txt").keys())


def test_other_weights_and_other_pairs_do_not_resume_a_run(
    work: Path, undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    lines = (work / "sample/pairs.txt").read_text().splitlines()
    pairs = tmp_path / "fewer.txt"
    pairs.write_text("\n".join(["1\t5", *lines[1:11]]) + "\n")
    assert main(words_of(work, run, "--pairs", str(pairs))) == 1
    assert "was begun with keys" in capfd.readouterr().err
    assert main(words_of(work, run, "--select", "largest")) == 1
    assert "selection=center_weighted_size, this run asks for largest" in capfd.readouterr().err


def test_two_runs_into_one_folder_at_once_are_refused_with_the_owners_number(
    work: Path, nest: Nursery, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    victim = victims.lfw(work, staged=False, workers=1)
    (tmp_path / "run").mkdir()
    owner = nest.start(victim, tmp_path / "run", {"PLANTED_BUG": "slow shard"})
    killing.appears(tmp_path / "run/begun-a-shard")
    assert main(victim.words(tmp_path / "run")) == 1
    assert f"process {owner} on {host()} is working in this folder" in capfd.readouterr().err
    os.kill(owner, signal.SIGKILL)
    assert nest.wait() == -signal.SIGKILL
    (tmp_path / "run/begun-a-shard").unlink()
    assert main(victim.words(tmp_path / "run")) == 0  # the lock of a dead owner is none


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_ends_with_the_signals_status_and_resumes(
    work: Path, nest: Nursery, undisturbed: Path, tmp_path: Path, number: int
) -> None:
    victim = victims.lfw(work, staged=False, workers=2)
    (tmp_path / "run").mkdir()
    process = nest.start(victim, tmp_path / "run")
    killing.appears(tmp_path / "run/fused/begun.json")
    os.killpg(process, number) if number == signal.SIGINT else os.kill(process, number)  # a terminal reaches all
    assert nest.wait() == 128 + number
    text = (tmp_path / "run.log").read_text()
    assert "Traceback" not in text
    assert not list((tmp_path / "run").rglob("*.part"))
    assert not list((tmp_path / "run").rglob("tries-*"))  # a stop is no death
    assert killing.outliving(process) == []  # the tracker of shared memory sees for itself that the run has ended
    killing.finish(nest, victim, tmp_path / "run")
    assert same_results(tmp_path / "run", undisturbed)


def test_a_clock_that_jumps_changes_nothing(work: Path, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    shards = sorted((run / "fused").glob("shard-*.npz"))
    shards[1].unlink()
    (run / "fused/manifest.json").unlink()
    for days, path in zip((-9000, 9000, 0), (run / "fused/begun.json", shards[0], shards[2]), strict=True):
        when = time.time() + days * 86_400
        os.utime(path, (when, when))
    before = {path: path.stat().st_mtime_ns for path in shards if path.exists()}
    assert main(words_of(work, run)) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert same_results(run, undisturbed)


def test_a_shard_that_was_damaged_is_named_with_what_to_do(
    work: Path, undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    shard = run / "fused/shard-00001.npz"
    shard.write_bytes(shard.read_bytes()[:500])
    assert main(words_of(work, run)) == 1
    text = capfd.readouterr().err.strip().splitlines()[-1]
    assert "shard-00001.npz: sha256 is" in text and "Try: delete it" in text
    shard.unlink()
    assert main(words_of(work, run)) == 0
    assert same_results(run, undisturbed)


def test_check_says_that_a_whole_run_is_what_it_was(undisturbed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(undisturbed)]) == 0
    text = capfd.readouterr().out
    assert "4 results, 8 shards, 4 models, 1 source" in text and "all are what they were" in text


@pytest.mark.parametrize(
    ("kind", "touch"),
    [
        ("result", "faces.jsonl"),
        ("model", "rnet"),
        ("source", "pairs"),
        ("photograph", ""),
    ],
)
def test_check_reports_every_file_that_changed(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, touch: str
) -> None:
    place, run = tmp_path / "work", tmp_path / "run"
    shutil.copytree(work, place)
    assert main([*words_of(place, run)]) == 0
    record = json.loads((run / "run.json").read_text())
    changed = {
        "result": run / touch,
        "model": place / "weights" / next((m["file"] for m in record["models"] if m["model"] == touch), ""),
        "source": place / "sample/pairs.txt",
        "photograph": place / "sample/images" / next(read_digests(run / "photographs.sha256"))[0],
    }[kind]
    changed.write_bytes(changed.read_bytes() + b" ")
    capfd.readouterr()
    assert main(["check", str(run), "--json"]) == 1
    differing = json.loads(capfd.readouterr().out)["differing"]
    assert differing == [{"kind": kind, "path": str(changed), "state": "changed"}]
    changed.unlink()
    assert main(["check", str(run)]) == 1
    assert f"gone      {kind:<11} {changed}" in capfd.readouterr().out


def test_accuracy_names_what_it_came_from(undisturbed: Path) -> None:
    accuracy = json.loads((undisturbed / "accuracy.json").read_text())
    assert set(accuracy["sources"]) == {"faces.jsonl", "embeddings.npy", "photographs.sha256", "pairs"}
    assert set(accuracy["models"]) == {"pnet", "rnet", "onet", "facenet.seeded"}
    assert all(len(digest) == 64 for digest in (*accuracy["sources"].values(), *accuracy["models"].values()))


def test_limits_of_this_process_are_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
