# SPDX-License-Identifier: Apache-2.0
"""Faces grouped into people: who links and who does not, `facepipe cluster` from photographs to sheets, and names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from album import THRESHOLD

from facepipe.cli import main
from facepipe.datasets.images import read
from facepipe.errors import DataError
from facepipe.gallery.clusters import Linking, group_faces
from facepipe.gallery.file import read_gallery
from facepipe.metrics.clustering import b_cubed
from facepipe.reports.contact_sheets import label_of
from facepipe.results import Face
from facepipe.store.run_faces import read_embeddings, read_faces

LINKING = Linking(similarity=0.425)


def face(side: float = 100, sharpness: float = 500, score: float = 1, number: int = 0) -> Face:
    box = np.array([10, 20, 10 + side, 20 + 2 * side], np.float32)
    return Face(box, score, np.zeros((5, 2), np.float32), number, sharpness)


def _people(sizes: list[int], spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around one for each person, shuffled, and who they are."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = rng.normal(size=(len(sizes), 128))
    rows = centres[truth] + spread * rng.normal(size=(len(truth), 128))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def groups_of(rows: np.ndarray, faces: list[Face] | None = None, keys: list[str] | None = None) -> np.ndarray:
    names = keys or [f"{number:03d}.jpg" for number in range(len(rows))]
    return group_faces(list(zip(names, faces or [face()] * len(rows), strict=True)), rows, LINKING).groups


def test_people_are_told_apart_largest_first_and_single_faces_stay_alone() -> None:
    rows, truth = _people([5, 1, 9, 3, 1])
    groups = groups_of(rows)
    for person, group in ((2, 0), (0, 1), (3, 2), (1, -1), (4, -1)):
        assert set(groups[truth == person].tolist()) == {group}
    agreement = b_cubed(groups, truth)
    assert (agreement.precision, agreement.recall, agreement.f) == (1, 1, 1)


def test_faces_of_one_photograph_are_never_one_person() -> None:
    rows, _ = _people([27])
    one_photograph = [face(number=number) for number in range(27)]
    assert set(groups_of(rows, one_photograph, ["group.jpg"] * 27).tolist()) == {-1}
    both = groups_of(rows[:4], [face(), face(number=1), face(), face(number=1)], ["a.jpg", "a.jpg", "b.jpg", "b.jpg"])
    assert sorted(both[:2].tolist()) == sorted(both[2:].tolist()) == [0, 1]


@pytest.mark.parametrize(
    "poor", [face(side=12), face(sharpness=3), face(score=0.5)], ids=["small", "blurred", "unsure"]
)
def test_a_poor_face_links_nobody_and_is_put_to_the_person_it_is_like(poor: Face) -> None:
    rows, truth = _people([6, 6])
    bridge = rows[truth == 0].sum(axis=0) + rows[truth == 1].sum(axis=0)
    rows = np.concatenate([rows, (bridge / np.linalg.norm(bridge)).astype(np.float32)[None], rows[:1]])
    good, kind = [face()] * 12, group_faces([("x", poor)], rows[:1], LINKING).weak[0]
    assert kind is not None
    groups = groups_of(rows, [*good, poor, poor])
    assert groups[truth.argmin()] != groups[truth.argmax()]
    assert groups[13] == groups[0], "the same embedding: put to that person"
    alone = groups_of(rows[12:], [poor, poor])
    assert alone.tolist() == [-1, -1], "poor faces are no person by themselves"
    beside = groups_of(
        rows[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]], [*good, poor], [f"{n}" for n in range(12)] + ["0"]
    )
    assert beside[12] == -1, "nor a second face of a photograph"


def test_nobody_and_nobody_alike() -> None:
    assert groups_of(np.zeros((0, 128), np.float32)).tolist() == []
    assert groups_of(_people([1, 1, 1])[0]).tolist() == [-1, -1, -1]
    with pytest.raises(DataError, match=r"the similarity is 1\.5, expected a cosine"):
        group_faces([], np.zeros((0, 128), np.float32), Linking(similarity=1.5))


def test_a_recogniser_without_a_measured_similarity_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    words = ["cluster", str(tmp_path), "--out", str(tmp_path / "out"), "--embedder", "arcface.iresnet18"]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "how similar one person's faces are for arcface.iresnet18 was not measured, expected a similarity." in told
    assert "Try: --similarity COSINE" in told
    assert main([*words, "--similarity", "0.5", "--weights", str(tmp_path)]) == 1
    assert "no such model file" in capsys.readouterr().err, "a similarity that is given is taken"


def test_a_label_tells_where_the_face_is() -> None:
    assert label_of("beach/IMG_1.jpg", face(number=3, score=0.987), "small: 12 pixels").split("\n") == [
        "beach/IMG_1.jpg#3",
        "10,20 100x200  0.99",
        "small: 12 pixels",
    ]


@pytest.fixture(scope="module")
def common(seeded: Callable[..., Path]) -> list[str]:
    return ["--weights", str(seeded("mobilefacenet.ms1m")), "--embedder", "mobilefacenet.ms1m", "--batch", "3"]


@pytest.fixture(scope="module")
def pile(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for name, count in (("Person_07", 4), ("Person_06", 3), ("Person_03", 1)):
        (folder / name).mkdir(parents=True)
        for path in sorted((album / "people" / name).iterdir())[:count]:
            shutil.copy(path, folder / name)
    (folder / "broken.jpg").write_bytes(b"none")
    return folder


def test_a_folder_becomes_sheets_of_people_who_get_names(
    pile: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, gallery = tmp_path / "out", tmp_path / "g.gallery"
    words = ["cluster", str(pile), "--out", str(out), "--truth", *common, "--similarity", str(THRESHOLD)]
    assert main([*words, "--link-sharpness", "0"]) == 0
    captured = capsys.readouterr()
    assert "2 people with two or more" in captured.out
    assert "b_cubed: precision 1.0000" in captured.out and "pairs: precision 1.0000" in captured.out
    assert "broken.jpg: left out, is no picture" in captured.err
    content = json.loads((out / "clusters.json").read_text())
    lines = list(read_faces(out / "faces.jsonl"))
    rows = read_embeddings(out / "embeddings.npy", len(lines))
    first = [line for line in lines if line.group == "person-0001"]
    assert {line.key.split("/")[0] for line in first} == {"Person_07"} and len(first) == 4
    assert content["truth"]["b_cubed"]["precision"] == 1 and content["faces"] == len(lines) == len(rows)
    sheet = read(out / "person-0001.png")
    assert sheet.shape[1] > 4 * 112
    assert sheet.std() > 20, "faces, not paper"
    assert (out / "alone.png").is_file()

    build = ["gallery", "build", str(out), "--out", str(gallery)]
    assert main(build) == 1
    assert "none of its 2 people has a name" in capsys.readouterr().err
    assert main([*build, "--names", "person-0009=Ann"]) == 1
    assert "'person-0009' is none of its people, expected one name for one of 2" in capsys.readouterr().err
    assert main([*build, "--names", "person-0001=Ann", "person-0001=Bob"]) == 1
    assert "'person-0001' is called 'Ann' and 'Bob'" in capsys.readouterr().err
    assert main([*build, "--names", "person-0001=unknown"]) == 1
    assert not gallery.exists()
    assert main([*build, "--names", "person-0001=Ann", "--threshold", "0.9"]) == 0
    made = read_gallery(gallery)
    assert made.people() == {"Ann": 4} and made.threshold is not None and made.threshold.similarity == 0.9
    assert made.sources == tuple(f"{line.key}#0" for line in first)
    np.testing.assert_array_equal(made.embeddings, rows[[line.row for line in first]])
    labels = tmp_path / "labels.txt"
    labels.write_text("person-0002\tBob\n")
    assert main(["gallery", "add", str(gallery), str(out), "--labels", str(labels)]) == 0
    assert read_gallery(gallery).people() == {"Ann": 4, "Bob": 3}
    common_search = [*common, "--detector", "mtcnn"]
    who = str(pile / "Person_06" / "Person_06_0001.jpg")
    capsys.readouterr()
    assert main(["gallery", "search", str(gallery), who, *common_search]) == 0
    assert "Bob" in capsys.readouterr().out.splitlines()[0]

    (out / "embeddings.npy").write_bytes((out / "embeddings.npy").read_bytes()[:-1] + b"x")
    assert main([*build, "--names", "person-0001=Ann", "--overwrite"]) == 1
    assert "embeddings.npy: is not as `facepipe cluster` wrote it" in capsys.readouterr().err


def test_sheets_of_an_earlier_call_go(pile: Path, common: list[str], tmp_path: Path) -> None:
    words = ["cluster", str(pile), "--out", str(tmp_path / "out"), *common, "--link-sharpness", "0"]
    assert main([*words, "--similarity", str(THRESHOLD)]) == 0
    (tmp_path / "out/person-0099.png").write_bytes(b"the user's")
    assert main([*words, "--similarity", "0.99999", "--no-sheets"]) == 0
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"person-0099.png"}


def test_a_run_is_clustered_with_its_own_embeddings_and_becomes_a_gallery(
    album: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "in", tmp_path / "run"
    shutil.copytree(album / "people" / "Person_07", folder / "Person_07")
    shutil.copy(album / "group.jpg", folder / "Person_07" / "group.jpg")
    assert main(["embed", str(folder), "--out", str(run), "--faces", "all", "--workers", "1", *common]) == 0
    words = ["cluster", str(run), "--out", str(tmp_path / "out"), "--no-sheets", "--link-sharpness", "0"]
    capsys.readouterr()
    assert main([*words, "--similarity", str(THRESHOLD)]) == 0
    assert "1 people with two or more" in capsys.readouterr().out
    assert not (tmp_path / "out" / "person-0001.png").exists()
    rows = [line for line in read_faces(tmp_path / "out/faces.jsonl") if line.key.endswith("group.jpg")]
    assert len(rows) >= 6 and len({line.group for line in rows}) <= 2

    build = ["gallery", "build", str(run), "--out", str(tmp_path / "g.gallery"), *common]
    assert main(build) == 1
    assert "group.jpg has" in (told := capsys.readouterr().err) and "faces, expected to be told whose" in told
    labels = tmp_path / "labels.txt"
    labels.write_text("Person_07/Person_07_0001.jpg\tAnn\nPerson_07/group.jpg#1\tBob\n")
    assert main([*build, "--labels", str(labels)]) == 0
    made = read_gallery(tmp_path / "g.gallery")
    assert dict(zip(made.sources, made.labels, strict=True)) == {
        "Person_07/Person_07_0001.jpg": "Ann",
        "Person_07/group.jpg#1": "Bob",
    }
    labels.write_text("Person_07/group.jpg#99\tBob\n")
    assert main([*build, "--labels", str(labels), "--overwrite"]) == 1
    assert "'Person_07/group.jpg#99' is no photograph of" in capsys.readouterr().err
