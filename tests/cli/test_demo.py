# SPDX-License-Identifier: Apache-2.0
"""facepipe demo from end to end, and that its accuracy hangs on the keys."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.datasets.lfw import read_pairs
from facepipe.datasets.sample import SampleSettings, photograph, portrait
from facepipe.runs.score import Policies, Provenance, score_run
from facepipe.store.files import read_json
from facepipe.store.owned import claim
from facepipe.store.run_faces import read_embeddings, write_embeddings

for needed in ("skimage", "matplotlib", "onnxsim", "torch"):
    pytest.importorskip(needed, reason="the demo needs the extra [demo]")

pytestmark = [pytest.mark.weights, pytest.mark.slow]


@dataclass(frozen=True)
class Demo:
    """What a demo printed and left."""

    out: Path
    lines: list[str]
    accuracy: dict


@pytest.fixture(scope="module")
def demo(weights_dir, tmp_path_factory) -> Demo:
    """The demo with a network that every machine has, and photographs in place of those that only the index has."""
    out, mirror = tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("mirror")
    settings = SampleSettings()
    for person, number in ((0, 0), (0, 1), (5, 0)):
        path = mirror / "portraits" / f"Person_{person}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(portrait(), settings, person, number)).save(path)
    environ = {**os.environ, "FACEPIPE_ASSETS": str(mirror)}
    models = ["--weights", str(weights_dir), "--embedder", "facenet.seeded"]
    done = subprocess.run(
        [sys.executable, "-m", "facepipe", "demo", "--out", str(out), *models],
        cwd=out,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Demo(out, done.stdout.splitlines(), read_json(out / "staged" / "accuracy.json"))


def test_first_and_last_line_say_what_the_accuracy_means(demo):
    assert demo.lines[0] == demo.lines[-1]
    assert "shows the pipeline working and says nothing about FaceNet" in demo.lines[0]


def test_every_step_has_a_heading_and_leaves_its_files(demo):
    assert [line.split(" ")[1] for line in demo.lines if line.startswith("== ")][:-1] == [
        f"{i}/11" for i in range(1, 12)
    ]
    for name in ("pairs.png", "faces.png", "crops.png", "roc.png", "distances.png"):
        with Image.open(demo.out / name) as picture:
            assert min(picture.size) > 300
    run = demo.out / "staged"
    for path in (
        run / "faces.jsonl",
        run / "embeddings.npy",
        run / "pack" / "index.json",
        run / "crop" / "manifest.json",
    ):
        assert path.is_file()


def test_photographs_of_people_are_compared_every_one_with_every_other(demo):
    pairs = [line for line in demo.lines if re.match(r"\d\.\d{3}  Person_", line)]
    assert len(pairs) == 3 and pairs == sorted(pairs)
    assert any(line.startswith("one person's pairs are at most") for line in demo.lines)


def test_the_faces_that_cannot_be_found_are_just_those_that_are_not_there(demo):
    assert demo.accuracy["images"]["no_face"] == [f"Person_{p:02d}/Person_{p:02d}_0008.jpg" for p in (1, 5, 9)]
    assert demo.accuracy["pairs"]["missing"] > 0 and demo.accuracy["pairs"]["missing_policy"] == "different"


def test_people_are_told_apart_and_by_both_drivers_alike(demo):
    assert demo.accuracy["accuracy"]["mean"] > 0.68 and demo.accuracy["auc"] > 0.75
    assert demo.accuracy["accuracy"] == read_json(demo.out / "fused" / "accuracy.json")["accuracy"]


def test_accuracy_falls_to_chance_when_embeddings_change_keys(demo, tmp_path):
    pairs = read_pairs(demo.out / "sample" / "pairs.txt")
    rows = np.array(read_embeddings(demo.out / "staged" / "embeddings.npy"))
    claim(tmp_path)
    shutil.copy(demo.out / "staged" / "faces.jsonl", tmp_path)
    means = []
    for seed in range(5):
        shuffled = rows[np.random.default_rng(seed).permutation(len(rows))]
        write_embeddings(tmp_path / "embeddings.npy", *rows.shape, [shuffled])
        content = score_run(tmp_path, pairs, Policies("different"), Provenance("", "", "", 1, {}, {}))
        means.append(content["accuracy"]["mean"])
    assert abs(np.mean(means) - 0.5) < 0.03 and max(means) < 0.58


def test_a_trained_recogniser_knows_nearly_all_of_the_people(demo, weights_dir, tmp_path):
    if not model("mobilefacenet.ms1m").final(weights_dir).is_file():
        pytest.skip("mobilefacenet.ms1m is not converted here: its weights are not at hand")
    arguments = ["--data", str(demo.out / "sample"), "--run", str(tmp_path), "--weights", str(weights_dir)]
    assert main(["lfw", *arguments, "--embedder", "mobilefacenet.ms1m", "--missing", "skip"]) == 0
    assert read_json(tmp_path / "accuracy.json")["accuracy"]["mean"] > 0.96


def test_a_missing_package_is_named_before_anything_is_made(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "--out", str(tmp_path / "demo"), "--weights", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert (
        "the module 'matplotlib' is not installed, expected it for the ROC curve" in error and "facepipe[demo]" in error
    )
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_fails_ends_the_demo_with_its_status(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("FACEPIPE_ASSETS", raising=False)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "pnet.pt").write_bytes(b"another file")
    assert main(["demo", "--out", str(tmp_path / "demo"), "--weights", str(weights)]) == 1
    printed = capsys.readouterr()
    assert "facepipe fetch: " in printed.err and "sha256 is" in printed.err
    assert "Conversion" not in printed.out
