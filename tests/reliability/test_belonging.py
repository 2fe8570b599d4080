# SPDX-License-Identifier: Apache-2.0
"""A run belongs to its photographs, to what computed it and to its own files: anything else is refused by name."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import victims

from facepipe.cli import main
from facepipe.store.files import read_json, sha256_of_file
from facepipe.store.owned import RECORD

FORMS = pytest.mark.parametrize("staged", [False, True], ids=["fused", "staged"])


def words_of(work: Path, run: Path, *more: str, staged: bool = False) -> list[str]:
    return [*victims.lfw(work, staged=staged, workers=1).words(run), *more]


def place_of(work: Path, tmp_path: Path) -> Path:
    """A copy of the work whose photographs are old enough for their stamps to tell."""
    place = tmp_path / "work"
    shutil.copytree(work, place)
    for path in (place / "sample/images").rglob("*.jpg"):
        os.utime(path, (time.time() - 900,) * 2)
    return place


def finished(work: Path, tmp_path: Path, staged: bool) -> tuple[Path, Path, list[str]]:
    """The work, a run of it that is finished, and the command that made the run."""
    place, run = place_of(work, tmp_path), tmp_path / "run"
    words = words_of(place, run, staged=staged)
    assert main(words) == 0
    return place, run, words


def photographs(place: Path) -> list[Path]:
    return sorted((place / "sample/images").rglob("*.jpg"))


def refused(words: list[str], capfd: pytest.CaptureFixture[str], *says: str) -> None:
    capfd.readouterr()
    assert main(words) == 1
    line = capfd.readouterr().err.strip().splitlines()[-1]
    for text in says:
        assert text in line, line


def content(run: Path) -> dict[str, bytes]:
    """All but the record of what was written, which has a line for each time."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name != RECORD)
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@FORMS
def test_other_photographs_under_the_same_names_are_refused_and_nothing_is_touched(
    work: Path, tmp_path: Path, staged: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    place, run, words = finished(work, tmp_path, staged)
    before = content(run)
    paths = photographs(place)
    for one, other in zip(paths[::2], paths[1::2], strict=True):
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
    refused(words, capfd, "photographs are not those", "is another file", "--force")
    assert content(run) == before
    assert main([*words, "--force"]) == 0
    assert (run / "embeddings.npy").read_bytes() != before["embeddings.npy"]


@FORMS
def test_a_run_that_goes_on_with_other_photographs_is_refused(
    work: Path, tmp_path: Path, staged: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder of other people under the same names, while one of the shards is still to be done."""
    place, run, words = finished(work, tmp_path, staged)
    stage = run / ("onet" if staged else "fused")
    for name in ("manifest.json", "shard-00001.json", "shard-00001.npz"):
        (stage / name).unlink()
    (run / "run.json").unlink()
    path = photographs(place)[0]
    path.write_bytes(photographs(place)[-1].read_bytes())
    refused(words, capfd, str(path), "is another file")


@pytest.mark.parametrize("change", ["size and time alike", "gone", "appeared"])
def test_a_photograph_is_known_by_more_than_its_size_and_time(
    work: Path, tmp_path: Path, change: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place, run = place_of(work, tmp_path), tmp_path / "run"
    path = photographs(place)[0]
    whole = path.read_bytes()
    if change == "appeared":
        path.unlink()
    words = words_of(place, run, "--unread", "different")
    assert main(words) == 0
    if change == "appeared":
        path.write_bytes(whole)
        refused(words, capfd, str(path), "is there now")
    elif change == "gone":
        path.unlink()
        refused(words, capfd, str(path), "is gone")
    else:
        status = path.stat()
        path.write_bytes(whole[:-40] + bytes(38) + whole[-2:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        refused(words, capfd, str(path), "is another file")


@FORMS
def test_photographs_that_were_copied_elsewhere_are_the_same(work: Path, tmp_path: Path, staged: bool) -> None:
    """Other times and another path: the digests decide. What was finished stays as it is, to the byte."""
    place, run, words = finished(work, tmp_path, staged)
    before = content(run)
    shutil.copytree(place / "sample", tmp_path / "elsewhere/sample")
    words[words.index("--data") + 1] = str(tmp_path / "elsewhere/sample")
    assert main(words) == 0
    after = content(run)
    added = {"run.json", "accuracy.json"}  # of the score, which tells where the pairs lie
    assert {name: data for name, data in after.items() if name not in added} == {
        name: data for name, data in before.items() if name not in added
    }
    told = ("root", "versions", "fingerprint", "models", "processors")
    assert all(json.loads(after["run.json"])[name] == json.loads(before["run.json"])[name] for name in told)


@FORMS
@pytest.mark.parametrize("goes_on", [False, True], ids=["finished", "goes on"])
@pytest.mark.parametrize("name", ["numpy", "onnxruntime", "Pillow", "libjpeg", "arithmetic"])
def test_other_versions_of_what_computes_are_refused_by_name(
    work: Path,
    tmp_path: Path,
    staged: bool,
    goes_on: bool,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import facepipe.runs.job as job
    import facepipe.runs.staged_run as staged_run

    run = tmp_path / "run"
    words = words_of(work, run, "--backend", "onnxruntime", staged=staged)
    assert main(words) == 0
    if goes_on:
        (run / ("onet" if staged else "fused") / "shard-00001.json").unlink()
    before, real = content(run), job.computed_with

    def newer(backend: str) -> dict[str, str]:
        assert name in real(backend), real(backend)
        return {**real(backend), name: "9.9.9"}

    monkeypatch.setattr(job, "computed_with", newer)
    monkeypatch.setattr(staged_run, "computed_with", newer)
    refused(words, capfd, f"versions.{name}={real('onnxruntime')[name]}", "this run asks for 9.9.9")
    assert content(run) == before


@FORMS
def test_a_run_keeps_its_borders(work: Path, tmp_path: Path, staged: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """What MTCNN sees beyond a photograph moves landmarks, so one run never has both."""
    _, run, words = finished(work, tmp_path, staged)
    before = content(run)
    refused([*words, "--borders", "stretch"], capfd, "begun with borders=pad", "asks for stretch", "--force")
    assert content(run) == before


@FORMS
def test_another_processor_is_refused_unless_told_and_each_shard_says_which(
    work: Path, tmp_path: Path, staged: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import facepipe.store.shard as shard
    import facepipe.store.stage as stage

    run = tmp_path / "run"
    words = words_of(work, run, staged=staged)
    assert main(words) == 0
    folder = run / ("onet" if staged else "fused")
    before = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    here = read_json(folder / "shard-00000.json")["processor"]
    (folder / "shard-00001.npz").unlink()
    for module in (shard, stage):
        monkeypatch.setattr(module, "processor", lambda: "x86_64 of narrow vectors")
    refused(words, capfd, here, "x86_64 of narrow vectors", "--other-processor")
    assert not (folder / "shard-00001.npz").exists()
    assert main([*words, "--other-processor"]) == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.npz")} == before, (
        "the hashed results know no machine"
    )
    made = [read_json(folder / f"shard-0000{number}.json")["processor"] for number in (0, 1)]
    assert made == [here, "x86_64 of narrow vectors"]


@FORMS
def test_a_shard_of_a_finished_run_that_is_not_the_manifests_is_refused(
    work: Path, tmp_path: Path, staged: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a valid archive, and with a record that vouches for it: nothing is made of it, nothing sealed again."""
    run = tmp_path / "run"
    words = words_of(work, run, staged=staged)
    assert main(words) == 0
    path = run / ("crop" if staged else "fused") / "shard-00001.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["scores"] = arrays["scores"] * np.float32(0.5)
    other = io.BytesIO()
    np.savez(other, **arrays)
    path.write_bytes(other.getvalue())
    before = content(run)
    refused(words, capfd, "shard-00001.npz: sha256 is")
    from facepipe.store.files import write_json

    write_json(path.with_suffix(".json"), read_json(path.with_suffix(".json")) | {"sha256": sha256_of_file(path)})
    refused(words, capfd, "not the shard that manifest.json tells of")
    assert content(run)["run.json"] == before["run.json"] and main(["check", str(run)]) == 1


def test_a_shard_of_another_run_is_refused(work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert main(words_of(work, one)) == 0
    assert main([*words_of(work, other), "--select", "largest"]) == 0
    for name in ("shard-00001.npz", "shard-00001.json"):
        shutil.copy(other / "fused" / name, one / "fused" / name)
    refused(words_of(work, one), capfd, "shard-00001.json: its fingerprint is")


@FORMS
@pytest.mark.parametrize("name", ["faces.jsonl", "embeddings.npy", "photographs.sha256"])
def test_a_result_that_was_altered_is_refused_and_one_that_is_gone_comes_back(
    work: Path, tmp_path: Path, staged: bool, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = words_of(work, run, staged=staged)
    assert main(words) == 0
    before = content(run)
    altered = bytearray(before[name])
    altered[-3] ^= 1
    (run / name).write_bytes(bytes(altered))
    refused(words, capfd, f"{name}: sha256 is")
    refused(["report", str(run)], capfd, f"{name}: sha256 is")
    assert content(run)["run.json"] == before["run.json"], "nothing was sealed again"
    (run / name).unlink()
    assert main(words) == 0
    assert content(run) == before


def every_bit(path: Path, reader: Callable[[], object], wholly: bool) -> None:
    """Flip bits of a file, each alone: the reader refuses it, or answers what it answers without."""
    from facepipe.errors import FacepipeError

    whole, answer = path.read_bytes(), reader()
    bits = range(8) if wholly else (0, 6)
    for place in range(len(whole)):
        for bit in bits:
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(bytes(flipped))
            try:
                found = reader()
            except FacepipeError:
                continue
            assert found == answer, f"{path.name}: bit {bit} of byte {place}"
    path.write_bytes(whole)


def test_no_bit_of_a_shard_its_record_or_the_runs_record_changes_unseen(tmp_path: Path) -> None:
    from facepipe.store.run_faces import Written
    from facepipe.store.run_record import read_run, write_run
    from facepipe.store.shard import Shard, read_record, read_shard, write_shard
    from facepipe.store.stage import Stage, begin, finish, require_complete

    stage = Stage(tmp_path / "fused", "fused", {"threshold": 0.6}, ("a", "b"), 2)
    begin(stage, tmp_path.joinpath)
    (shard,) = stage.shards()
    assert isinstance(shard, Shard)
    write_shard(shard, {"scores": np.ones(2, np.float32), "sha256": np.array(["", ""])}, ["", "12 34 56"])
    finish(stage)
    dtypes = {"scores": "float32", "sha256": "<U"}

    def arrays() -> object:
        return {name: array.tolist() for name, array in read_shard(shard, dtypes).items()}

    every_bit(shard.path, arrays, wholly=True)
    every_bit(shard.record, lambda: read_record(shard), wholly=True)
    every_bit(stage.folder / "manifest.json", lambda: require_complete(stage.folder, "fused"), wholly=True)
    for name in ("faces.jsonl", "embeddings.npy", "photographs.sha256"):
        (tmp_path / name).write_bytes(b"what a run wrote")
    write_run(tmp_path, {"root": "photographs"}, Written(2, 1, 0, 1))
    for name in ("run.json", "faces.jsonl", "embeddings.npy", "photographs.sha256"):
        every_bit(tmp_path / name, lambda: read_run(tmp_path), wholly=True)
