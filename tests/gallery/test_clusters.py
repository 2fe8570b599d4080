# SPDX-License-Identifier: Apache-2.0
"""Faces grouped into people, the agreement with the truth, and `facepipe cluster` from photographs to sheets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="clustering needs the extra [cluster]")

from album import THRESHOLD

from facepipe.cli import main
from facepipe.datasets.images import read
from facepipe.errors import DataError
from facepipe.gallery.clusters import cluster_faces
from facepipe.metrics.clustering import b_cubed


def _people(sizes: list[int], spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around one for each person, shuffled, and who they are."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = rng.normal(size=(len(sizes), 128))
    rows = centres[truth] + spread * rng.normal(size=(len(truth), 128))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def test_people_are_told_apart_largest_first_and_single_faces_stay_alone() -> None:
    rows, truth = _people([5, 1, 9, 3, 1])
    groups = cluster_faces(rows, 0.5)
    for person, group in ((2, 0), (0, 1), (3, 2), (1, -1), (4, -1)):
        assert set(groups[truth == person].tolist()) == {group}
    agreement = b_cubed(groups, truth)
    assert (agreement.precision, agreement.recall, agreement.f) == (1, 1, 1)


def test_the_order_of_the_faces_does_not_matter() -> None:
    rows, _ = _people([4, 6, 2])
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_array_equal(cluster_faces(rows, 0.5)[order], cluster_faces(rows[order], 0.5))


def test_nobody_and_nobody_alike() -> None:
    assert cluster_faces(np.zeros((0, 128), np.float32), 0.5).tolist() == []
    assert cluster_faces(_people([1, 1, 1])[0], 0.5).tolist() == [-1, -1, -1]
    with pytest.raises(DataError, match=r"the similarity is 1\.5, expected a cosine"):
        cluster_faces(np.zeros((0, 128), np.float32), 1.5)


def test_b_cubed_is_its_definition() -> None:
    rng = np.random.default_rng(2)
    groups, people = rng.integers(-1, 6, 60), rng.integers(0, 8, 60)
    own = [g if g >= 0 else 100 + i for i, g in enumerate(groups.tolist())]
    precision, recall = [], []
    for i in range(60):
        mates = [j for j in range(60) if own[j] == own[i]]
        others = [j for j in range(60) if people[j] == people[i]]
        right = len(set(mates) & set(others))
        precision.append(right / len(mates))
        recall.append(right / len(others))
    found = b_cubed(groups, people)
    assert found.precision == pytest.approx(np.mean(precision))
    assert found.recall == pytest.approx(np.mean(recall))
    with pytest.raises(DataError, match="3 groups for 2 people"):
        b_cubed(np.zeros(3, int), np.zeros(2, int))


def test_a_folder_becomes_sheets_of_people(
    album: Path, seeded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss", reason="the command shares its options with galleries")
    folder, out = tmp_path / "in", tmp_path / "out"
    for name, count in (("Person_07", 4), ("Person_06", 3), ("Person_03", 1)):
        (folder / name).mkdir(parents=True)
        for path in sorted((album / "people" / name).iterdir())[:count]:
            shutil.copy(path, folder / name)
    (folder / "broken.jpg").write_bytes(b"none")
    common = ["--weights", str(seeded("mobilefacenet.ms1m")), "--embedder", "mobilefacenet.ms1m", "--batch", "3"]
    common += ["--similarity", str(THRESHOLD)]
    assert main(["cluster", str(folder), "--out", str(out), "--truth", *common]) == 0
    captured = capsys.readouterr()
    assert "2 people with two or more" in captured.out
    assert "B-cubed against" in captured.out
    assert "broken.jpg: left out, is no picture" in captured.err
    content = json.loads((out / "clusters.json").read_text())
    first = {face["key"].split("/")[0] for face in content["faces"] if face["group"] == "person-0001"}
    assert first == {"Person_07"}
    assert content["b_cubed"]["precision"] == 1
    sheet = read(out / "person-0001.png")
    assert sheet.shape[1] > 4 * 112
    assert sheet.std() > 20, "faces, not paper"
    assert (out / "alone.png").is_file()


def test_a_run_is_clustered_with_its_own_embeddings(
    album: Path, seeded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "in", tmp_path / "run"
    shutil.copytree(album / "people" / "Person_07", folder / "Person_07")
    common = ["--weights", str(seeded("mobilefacenet.ms1m")), "--embedder", "mobilefacenet.ms1m"]
    assert main(["embed", str(folder), "--out", str(run), "--workers", "1", *common]) == 0
    assert main(["cluster", str(run), "--out", str(tmp_path / "out"), "--no-sheets"]) == 0
    assert "1 people with two or more, 0 faces alone" in capsys.readouterr().out
    assert not (tmp_path / "out" / "person-0001.png").exists()
