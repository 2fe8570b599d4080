# SPDX-License-Identifier: Apache-2.0
"""`facepipe lfw` on a table of pairs and on CFP's folders: the figures of LFW's form, and the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import facepipe
from facepipe.cli import main
from facepipe.datasets.lfw import read_pairs
from facepipe.datasets.sample import SampleSettings, make_sample

OPTIONS = ["--embedder", "facenet.seeded", "--backend", "onnxruntime", "--workers", "1", "--min-face", "40"]
SMALL = SampleSettings(people=6, photographs=3, faceless=1, folds=2, pairs_per_kind=4)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("skimage", reason="the sample is made from a portrait that scikit-image ships")
    folder = tmp_path_factory.mktemp("sets")
    make_sample(folder, SMALL)
    pairs = read_pairs(folder / "pairs.txt").pairs
    lines = [f"{pair.first},{pair.second},{int(pair.same)},{pair.fold}" for pair in pairs]
    (folder / "images/album.csv").write_text("\n".join(["first,second,same,fold", *lines]))
    return folder


@pytest.fixture(scope="module")
def by_lfw(small: Path, weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return scored(tmp_path_factory.mktemp("lfw") / "run", weights_dir, "--data", str(small))


def scored(run: Path, weights: Path, *words: str) -> dict[str, Any]:
    assert main(["lfw", "--run", str(run), "--weights", str(weights), *OPTIONS, *words]) == 0
    content: dict[str, Any] = json.loads((run / "accuracy.json").read_text())
    return content


def figures(accuracy: dict[str, Any]) -> object:
    return [accuracy[name] for name in ("accuracy", "tar_at_far", "auc", "eer", "pairs", "images")]


def test_a_table_gives_the_figures_of_lfws_form(
    small: Path, by_lfw: dict[str, Any], weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, table = tmp_path / "run", small / "images/album.csv"
    found = scored(run, weights_dir, "--pairs", str(table), "--report")  # the photographs lie beside it
    assert figures(found) == figures(by_lfw)
    assert found["protocol"].startswith("folds of the file's column, each judged by the threshold")
    assert by_lfw["protocol"].startswith("folds in the file's order, each judged by the threshold")
    assert "2 folds of album (folds of the file's column)" in capsys.readouterr().out
    assert (run / "roc.png").is_file() and "folds of the file" in (run / "report.html").read_text()
    source = json.loads((run / "run.json").read_text())["sources"]["pairs"]
    assert source["path"] == str(table) and source["sha256"] == found["sources"]["pairs"]
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0 and (run / "report.html").is_file()
    again = facepipe.run_lfw(
        tmp_path / "api", facepipe.Models(embedder="facenet.seeded", weights=weights_dir), pairs=table
    )
    assert again["pairs"]["total"] == found["pairs"]["total"] and again["protocol"] == found["protocol"]


def test_folds_that_are_dealt_are_told_beside_the_figures(small: Path, weights_dir: Path, tmp_path: Path) -> None:
    lines = (small / "images/album.csv").read_text().splitlines()
    table = tmp_path / "loose.csv"
    table.write_text("\n".join(line.rpartition(",")[0] for line in lines))
    found = scored(tmp_path / "run", weights_dir, "--data", str(small / "images"), "--pairs", str(table))
    assert found["protocol"].startswith("folds dealt with seed 0")


def cfp_like(small: Path, root: Path) -> None:
    """The pairs of the sample in CFP's form: ten folds, photographs a folder deeper than the lists say."""
    keys = sorted(read_pairs(small / "pairs.txt").keys())
    pairs = read_pairs(small / "pairs.txt").pairs
    place = {key: (f"{1 + number // 2:03d}", f"{1 + number % 2:02d}") for number, key in enumerate(keys)}
    for key, (person, number) in place.items():
        target = root / f"Data/Images/train/{person}/frontal/{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(small / "images" / key, target)
    (root / "Protocol").mkdir()
    listed = [f"{i} ../Data/Images/{place[key][0]}/frontal/{place[key][1]}.jpg" for i, key in enumerate(keys, 1)]
    for letter in "FP":
        (root / f"Protocol/Pair_list_{letter}.txt").write_text("\n".join(listed))
    number_of = {key: i for i, key in enumerate(keys, 1)}
    for fold in range(10):
        folder = root / f"Protocol/Split/FF/{fold + 1:02d}"
        folder.mkdir(parents=True)
        for name, same in (("same", True), ("diff", False)):
            chosen = [pair for pair in pairs if pair.same == same and pair.fold == fold % 2]
            text = "\n".join(f"{number_of[pair.first]},{number_of[pair.second]}" for pair in chosen)
            (folder / f"{name}.txt").write_text(text)


def test_cfps_folders_are_scored_by_its_protocol(
    small: Path, by_lfw: dict[str, Any], weights_dir: Path, tmp_path: Path
) -> None:
    cfp_like(small, tmp_path / "cfp")
    run = tmp_path / "run"
    found = scored(run, weights_dir, "--data", str(tmp_path / "cfp"), "--cfp", "FF", "--report")
    # Each of the two folds is there five times.
    assert found["pairs"]["total"] == 5 * by_lfw["pairs"]["total"]
    assert found["pairs"]["missing"] == 5 * by_lfw["pairs"]["missing"]
    assert found["auc"] == pytest.approx(by_lfw["auc"], abs=1e-12)
    assert found["images"]["total"] == by_lfw["images"]["total"]
    sources = json.loads((run / "run.json").read_text())["sources"]
    assert len(sources) == 21 and "pairs/Split/FF/01/same.txt" in sources
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0 and "cfp_ff" in (run / "report.html").read_text()


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["lfw", *words]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_photograph_that_is_not_there_is_told_with_its_line_before_anything_is_done(
    small: Path, weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "album.csv"
    lines = (small / "images/album.csv").read_text().splitlines()
    table.write_text("\n".join([*lines, "gone/1.jpg,gone/2.jpg,1,0"]))
    words = ["--data", str(small / "images"), "--pairs", str(table), "--run", str(tmp_path / "run"), *OPTIONS]
    said = refused([*words, "--weights", str(tmp_path)], capsys)
    assert (
        f"{table}: 2 of " in said and f"(first: gone/1.jpg, line {len(lines) + 1})" in said and "--unread=skip" in said
    )
    assert not (tmp_path / "run").exists()
    found = scored(tmp_path / "run", weights_dir, *words[:4], "--unread", "skip")
    assert found["pairs"]["unread"] == 1 and found["images"]["unread"] == ["gone/1.jpg", "gone/2.jpg"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cfp", "FF"], "cfp: expected CFP's root as --data"),
        (
            ["--cfp", "FF", "--data", "{cfp}", "--pairs", "{table}"],
            "cfp: expected CFP's root as --data, and no --pairs",
        ),
        (["--cfp", "FP", "--data", "{album}"], "Protocol/Split/FP: no such folder, expected CFP's root"),
        (["--data", "{cfp}"], "it looks like CFP's root, expected its protocol. Try: --cfp FF, or --cfp FP"),
        (["--pairs", "{album}/none.csv"], "none.csv: no such file, expected a pairs file"),
        (["--pairs", "{table}", "--data", "{album}/none"], "none: no such folder"),
        (["--pairs", "{album}"], "album: is a folder, expected a pairs file, or CFP's Protocol/Split/FF"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cfp/Protocol").mkdir(parents=True)
    (tmp_path / "album").mkdir()
    table = tmp_path / "album/pairs.csv"
    table.write_text("a/1.jpg,a/2.jpg,1,1\n")
    places = {"cfp": tmp_path / "cfp", "album": tmp_path / "album", "table": table}
    assert said in refused([word.format(**places) for word in words], capsys)
