# SPDX-License-Identifier: Apache-2.0
"""detect, embed, verify and lfw with detectors other than the cascade."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.cli import main

pytestmark = pytest.mark.weights


@pytest.fixture
def lfw(assets: Path, tmp_path: Path) -> Path:
    """Two folds of three same and three different pairs of LFW."""
    lines = (assets / "lfw" / "pairs.txt").read_text().splitlines()
    same, different = lines[1:301], lines[301:601]
    chosen = [*same[:3], *different[:3], *same[3:6], *different[3:6]]
    root = tmp_path / "lfw"
    for line in chosen:
        name, *rest = line.split("\t")
        pairs = [(name, rest[0]), (name, rest[1])] if len(rest) == 2 else [(name, rest[0]), (rest[1], rest[2])]
        for person, number in pairs:
            path = Path(person) / f"{person}_{int(number):04d}.jpg"
            (root / "images" / person).mkdir(parents=True, exist_ok=True)
            shutil.copy(assets / "lfw" / "images" / path, root / "images" / path)
    (root / "pairs.txt").write_text("\n".join(["2\t3", *chosen]) + "\n")
    return root


@pytest.mark.parametrize(
    ("detector", "note"),
    [
        ("retinaface.mobilenet0.25", None),
        ("blazeface.back", None),
        ("ultraface.rfb-320+onet", None),
        ("ultraface.rfb-320", "gives no landmarks"),
    ],
)
def test_lfw_runs_with_every_kind_of_detector_and_says_when_it_falls_back(
    detector: str, note: str | None, lfw: Path, weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    common = ["--weights", str(weights_dir), "--embedder", "mobilefacenet.ms1m", "--batch", "4", "--workers", "1"]
    common += ["--allow-margin-crop"] if note else []
    assert main(["lfw", "--data", str(lfw), "--run", str(run), "--detector", detector, *common]) == 0
    accuracy = json.loads((run / "accuracy.json").read_text())
    assert accuracy["detector"] == detector
    assert accuracy["images"]["no_face"] == []
    assert accuracy["accuracy"]["mean"] >= (0.5 if note else 0.8)
    printed = capsys.readouterr().err
    if note is None:
        assert accuracy["alignment_note"] is None
        assert "note:" not in printed
    else:
        assert note in accuracy["alignment_note"]
        assert (
            f"note: {detector} {note}: mobilefacenet.ms1m, which wants five-point alignment, gets the margin crop"
            in printed
        )


def test_stages_are_refused_for_a_detector_of_one_network(
    sample: Path, seeded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lfw, weights = sample, seeded("blazeface.back", "mobilefacenet.ms1m")
    common = ["--weights", str(weights), "--embedder", "mobilefacenet.ms1m", "--workers", "1", "--staged"]
    status = main(["lfw", "--data", str(lfw), "--run", str(tmp_path / "run"), "--detector", "blazeface.back", *common])
    assert status == 1
    assert "is MTCNN's, and the detector is blazeface.back" in capsys.readouterr().err


@pytest.mark.parametrize("detector", ["mtcnn", "ultraface.rfb-320", "retinaface.mobilenet0.25", "blazeface.back"])
def test_every_command_that_looks_for_faces_takes_the_same_two_filters(
    detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--detector", detector, "--min-face", "40", "--least-score", "0.9", "--weights", "nowhere"]
    picture, some = str(tmp_path / "a.png"), ["--embedder", "facenet.seeded"]
    Image.new("RGB", (60, 60)).save(picture)
    for command in (
        ["detect", picture, *told],
        ["embed", str(tmp_path), "--out", str(tmp_path / "run"), *told, *some],
        ["verify", picture, picture, *told, *some],
        ["cluster", str(tmp_path), "--out", str(tmp_path / "groups"), "--similarity", "0.5", *told, *some],
        ["gallery", "build", str(tmp_path), "--name", "Ann", "--out", str(tmp_path / "x.gallery"), *told, *some],
        ["recognise", "--det", "--input", picture, "--output", str(tmp_path / "out"), *told],
    ):
        assert main(command) == 1, command
        assert "no such model file" in capsys.readouterr().err, "nothing else was wrong"


@pytest.mark.parametrize("score", ["1", "-0.1", "nan"])
def test_a_least_score_is_a_probability(score: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["detect", "a.jpg", "--least-score", score])
    assert "expected 0 up to, but not including, 1" in capsys.readouterr().err


def test_a_detector_without_landmarks_is_refused_to_a_recogniser_that_wants_them(
    lfw: Path, weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people, one = lfw / "images", str(next((lfw / "images").rglob("*.jpg")))
    pair = ["--detector", "ultraface.rfb-320", "--embedder", "mobilefacenet.ms1m", "--weights", str(weights_dir)]
    for words in (
        ["embed", str(people), "--out", str(tmp_path / "out")],
        ["verify", one, one],
        ["lfw", "--data", str(lfw), "--run", str(tmp_path / "out")],
        ["gallery", "build", str(people), "--out", str(tmp_path / "out")],
        ["cluster", str(people), "--out", str(tmp_path / "out")],
    ):
        assert main([*words, *pair]) == 1
        assert (
            "ultraface.rfb-320: it gives no landmarks, and mobilefacenet.ms1m wants five; with a margin crop in their "
            "place it is much less accurate. Try: detector ultraface.rfb-320+onet, or --allow-margin-crop."
        ) in capsys.readouterr().err, words
    assert not [path for path in tmp_path.rglob("*") if path.name in ("embeddings.npy", "clusters.json")]


def test_borders_are_the_cascades_alone(
    album: Path, seeded: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    photograph, weights = str(album / "group.jpg"), seeded("ultraface.rfb-320")
    options = ["--weights", str(weights), "--detector", "ultraface.rfb-320", "--borders", "stretch"]
    assert main(["detect", photograph, *options]) == 1
    assert "borders: stretch was asked for, and a detector of one network looks at no box" in capsys.readouterr().err


def test_detect_draws_the_faces_of_a_detector_of_one_network(
    assets: Path, weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph, drawing = assets / "photos" / "multiface.jpg", tmp_path / "drawn.png"
    arguments = [
        "--weights",
        str(weights_dir),
        "--detector",
        "retinaface.mobilenet0.25",
        "--draw",
        str(drawing),
        "--json",
    ]
    assert main(["detect", str(photograph), *arguments]) == 0
    faces = json.loads(capsys.readouterr().out)["faces"]
    assert len(faces) == 6
    assert all(len(face["landmarks"]) == 5 for face in faces)
    before, after = np.asarray(Image.open(photograph).convert("RGB")), np.asarray(Image.open(drawing).convert("RGB"))
    changed = (before != after).any(axis=2)
    for face in faces:
        x1, y1, x2, _ = (round(value) for value in face["box"])
        assert changed[y1 - 1 : y1 + 3, x1 + 4 : x2 - 4].any(axis=0).all()  # the upper edge of the box


def test_verify_falls_back_and_says_so(assets: Path, weights_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(assets / "photos" / "kate_siegel.jpg")
    arguments = ["--weights", str(weights_dir), "--detector", "ultraface.rfb-320", "--embedder", "mobilefacenet.ms1m"]
    assert main(["verify", one, one, *arguments, "--allow-margin-crop"]) == 0
    printed = capsys.readouterr()
    assert "note: ultraface.rfb-320 gives no landmarks: mobilefacenet.ms1m, which wants five-point" in printed.err
    assert "distance 0.0000" in printed.out
