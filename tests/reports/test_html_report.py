# SPDX-License-Identifier: Apache-2.0
"""The report of a run: one page, nothing from outside, the right pairs in it; seen in a browser where there is one."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from PIL import Image

pytest.importorskip("matplotlib", reason="plots need the extra [report]")

from facepipe.cli import main
from facepipe.datasets.lfw import VerificationSet, read_pairs
from facepipe.errors import DataError
from facepipe.reports.html_report import write_html_report, wrong_pairs
from facepipe.results import Face, FaceLine, NoFace
from facepipe.runs.lfw import named_sources
from facepipe.runs.score import Policies, Provenance, join, score_run
from facepipe.store.files import read_json, sha256_of_file
from facepipe.store.owned import claim
from facepipe.store.photograph_digests import PHOTOGRAPHS_FILE, write_digests
from facepipe.store.run_faces import write_embeddings, write_faces
from facepipe.store.run_record import ACCURACY_FILE, adding, write_run

NAMES = [f"P{i:02d}" for i in range(20)]
FACELESS = "P07/P07_0002.jpg"
HOSTILE = '<script>alert(1)</script> & "no face"\u202e'


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, VerificationSet, Path]:
    """A run over 40 photographs of 20 people, two folds; two pairs come out wrong in each way, one lacks a face."""
    root, run = tmp_path / "photographs", tmp_path / "run"
    rng = np.random.default_rng(0)
    base = rng.normal(size=(20, 128))
    base[1] = base[0] + 0.3 * rng.normal(size=128)  # P00 and P01 look alike
    records, rows = [], []
    for i, name in enumerate(NAMES):
        for number in (1, 2):
            key = f"{name}/{name}_{number:04d}.jpg"
            (root / name).mkdir(parents=True, exist_ok=True)
            colour = tuple(int(value) for value in rng.integers(40, 255, 3))
            Image.new("RGB", (90, 80), colour).save(root / key)
            if key == FACELESS:
                records.append(FaceLine(key, NoFace(HOSTILE)))
                continue
            points = np.array([[30, 30], [50, 30], [40, 42], [32, 52], [48, 52]], np.float32)
            records.append(FaceLine(key, Face(np.array([20, 15, 62, 66], np.float32), 0.99, points)))
            spread = 4.0 if (i, number) == (2, 2) else 0.5  # one photograph of P02 looks like nobody
            rows.append(base[i] + spread * rng.normal(size=128))
    claim(run)
    written = write_faces(run / "faces.jsonl", records)
    unit = np.array([row / np.linalg.norm(row) for row in rows], np.float32)
    write_embeddings(run / "embeddings.npy", written.faces, 128, [unit])
    lines = ["2\t10"]
    for fold in (0, 10):
        lines += [f"{NAMES[fold + i]}\t1\t2" for i in range(10)]
        lines += [f"{NAMES[fold + i]}\t1\t{NAMES[(fold + i + 1) % 20]}\t1" for i in range(10)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    pairs = read_pairs(tmp_path / "pairs.txt")
    told = Provenance("mtcnn", "mobilefacenet.ms1m", "onnxruntime", 16, {"pnet": "ab" * 32}, {"numpy": "9.9"})
    record = {
        "root": str(root),
        "models": [{"model": "pnet", "file": "pnet.onnx", "sha256": "cd" * 32, "weights_sha256": None}],
        "timing": {
            "photographs": 40,
            "wall_seconds": 2.0,
            "workers": 2,
            "threads": 1,
            "worker_seconds": {"detect": 3.0, "read": 1.0},
        },
    }
    write_digests(run / PHOTOGRAPHS_FILE, [(line.key, "") for line in records])
    write_run(run, record, written)
    with adding(run, [ACCURACY_FILE], named_sources(pairs)):
        score_run(run, pairs, Policies("different"), told)
    return run, pairs, root


def test_the_wrong_answers_are_those_of_the_folds_thresholds(scored: tuple[Path, VerificationSet, Path]) -> None:
    run, pairs, _ = scored
    joined, accuracy = join(run, pairs), read_json(run / "accuracy.json")
    wrong = wrong_pairs(joined, pairs, accuracy)
    expected_accepts, expected_rejects = set(), set()
    for pair, distance, missing in zip(pairs.pairs, joined.distances, joined.missing, strict=True):
        threshold = accuracy["accuracy"]["thresholds"][pair.fold]
        if not pair.same and distance < threshold:
            expected_accepts.add((pair.first, pair.second))
        if pair.same and not missing and not distance < threshold:
            expected_rejects.add((pair.first, pair.second))
    assert {(pair.first, pair.second) for pair in wrong.false_accepts} == expected_accepts
    assert {(pair.first, pair.second) for pair in wrong.false_rejects} == expected_rejects
    assert ("P00/P00_0001.jpg", "P01/P01_0001.jpg") in expected_accepts
    assert ("P02/P02_0001.jpg", "P02/P02_0002.jpg") in expected_rejects
    assert FACELESS not in {pair.second for pair in wrong.false_rejects}


def test_everything_is_in_the_page_and_nothing_comes_from_outside(scored: tuple[Path, VerificationSet, Path]) -> None:
    run, pairs, root = scored
    content = write_html_report(run, pairs, root).read_text(encoding="utf-8")
    page = Page(content)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert "url(" not in content
    assert re.search(r"\bon\w+=", content.split("</style>")[1]) is None
    images = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    sizes = [Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))).size for image in images]
    assert len(images) >= 2 + 2 * 4 + 1, "two plots, four pictures for each pair, one photograph without a face"
    assert min(min(size) for size in sizes) > 50
    accuracy = read_json(run / "accuracy.json")
    for text in (
        f"{accuracy['accuracy']['mean']:.4f}",
        "P00/P00_0001.jpg",
        HOSTILE.replace("\u202e", r"\u202e"),
        "1 of 40 photographs",
        "40 photographs in 2.0 s",
        sha256_of_file(run / "embeddings.npy"),
        "cd" * 32,
        sha256_of_file(Path(run.parent / "pairs.txt")),
    ):
        assert text in page.text, text


def test_the_page_says_what_was_scored_in_plain_words(scored: tuple[Path, VerificationSet, Path]) -> None:
    run, pairs, root = scored
    content = write_html_report(run, pairs, root).read_text(encoding="utf-8")
    assert "<title>mtcnn + mobilefacenet.ms1m on photographs</title>" in content, "the folder's name"
    (root.parent / "lfw").mkdir()
    root.rename(root.parent / "lfw/images")
    renamed = write_html_report(run, pairs, root.parent / "lfw/images").read_text(encoding="utf-8")
    assert "<title>mtcnn + mobilefacenet.ms1m on lfw</title>" in renamed
    text = Page(content).text
    assert "40 pairs in 2 folds, as the list 'pairs' has them; 1 of them without a face" in text
    assert not re.search(r"\b1 (pairs|folds|workers|threads|files|photographs)\b(?! of)", text)
    assert "2 workers of 1 thread;" in text
    assert "prefers-color-scheme: dark" in content


@pytest.mark.parametrize(("accuracy", "shown"), [("everywhere", True), ("at the top", False)])
def test_the_line_of_chance_is_named_where_it_is_drawn(
    accuracy: str, shown: bool, scored: tuple[Path, VerificationSet, Path]
) -> None:
    from facepipe.reports.report_plots import _roc_figure
    from facepipe.runs.score import figures, policies_of

    run, pairs, _ = scored
    told = read_json(run / "accuracy.json")
    measured = figures(join(run, pairs), policies_of(told))
    if accuracy == "at the top":
        ones = np.ones_like(measured.curve.tar)
        measured = replace(measured, curve=replace(measured.curve, tar=ones))
        told["tar_at_far"]["mean"] = 1.0
    else:
        told["tar_at_far"]["mean"] = 0.5
    legend = _roc_figure(measured, "", told).axes[0].get_legend()
    assert ("chance" in [text.get_text() for text in legend.get_texts()]) is shown


def test_photographs_that_are_gone_leave_a_blank(scored: tuple[Path, VerificationSet, Path]) -> None:
    run, pairs, root = scored
    shutil.rmtree(root)
    page = Page(write_html_report(run, pairs, root).read_text())
    assert "cannot be opened" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 2


def test_the_command_takes_photographs_and_pairs_from_the_runs_record(
    scored: tuple[Path, VerificationSet, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, pairs, root = scored
    assert main(["report", str(run)]) == 0
    assert "report.html: 0." in capsys.readouterr().out
    first = (run / "report.html").read_bytes()
    assert main(["report", str(run), "--data", str(root)]) == 0
    assert (run / "report.html").read_bytes() == first, "the same run gives the same page"
    told = (run / "run.json").read_bytes()
    (run / "run.json").unlink()
    assert main(["report", str(run)]) == 1
    assert "has no run.json, expected a finished run" in capsys.readouterr().err
    (run / "run.json").write_bytes(told)
    (run / "accuracy.json").unlink()
    with pytest.raises(DataError, match=r"accuracy\.json: no such file, expected a scored run"):
        write_html_report(run, pairs, root)


@pytest.mark.process
def test_a_browser_shows_the_page(scored: tuple[Path, VerificationSet, Path], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here to look at the page with")
    run, pairs, root = scored
    page = write_html_report(run, pairs, root)
    shot = tmp_path / "shot.png"
    command = [browser, "--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--no-sandbox"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--window-size=1240,2600", f"--screenshot={shot}", page.as_uri()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape[1] == 1240
    # The curve's and the bars' blue stands in the left and right plot; the marks of faces in the pictures below.
    blue = (np.abs(pixels - (31, 111, 180)) < 40).all(axis=2)
    assert blue[200:800, :620].sum() > 200, "the ROC curve"
    assert (np.abs(pixels - (0, 230, 120)) < 60).all(axis=2).sum() > 100, "boxes around faces"
    ink = (pixels.max(axis=2) < 90).sum(axis=1)
    assert (ink[:120] > 20).any(), "the title"
