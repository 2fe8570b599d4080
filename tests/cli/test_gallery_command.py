# SPDX-License-Identifier: Apache-2.0
"""`facepipe gallery` on people of LFW: build, search, add, remove, calibrate, and every refusal in one line."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from album import THRESHOLD, album_pairs

from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.gallery.file import read_gallery, write_gallery
from facepipe.store.made_from import weights_behind

PEOPLE = ("Person_06", "Person_07", "Person_04")
EMBEDDER = "mobilefacenet.ms1m"


@pytest.fixture(scope="module")
def weights(seeded: Callable[..., Path]) -> Path:
    """MTCNN, and a recogniser of seeded weights: it knows the photographs of the album again."""
    return seeded(EMBEDDER)


@pytest.fixture(scope="module")
def photographs(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs of each of three people, by name."""
    root = tmp_path_factory.mktemp("people")
    for name in PEOPLE:
        (root / name).mkdir()
        for path in sorted((album / "people" / name).iterdir())[:4]:
            shutil.copy(path, root / name)
    return root


@pytest.fixture(scope="module")
def built(photographs: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "people.gallery"
    enrolled = path.parent / "enrolled"
    for name in PEOPLE:
        (enrolled / name).mkdir(parents=True)
        for photograph in sorted((photographs / name).iterdir())[:3]:
            shutil.copy(photograph, enrolled / name)
    command = [
        "gallery",
        "build",
        str(enrolled),
        "--out",
        str(path),
        "--embedder",
        EMBEDDER,
        "--threshold",
        str(THRESHOLD),
    ]
    assert main([*command, "--weights", str(weights), "--batch", "4"]) == 0
    return path


@pytest.fixture
def gallery(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(built, tmp_path / "people.gallery"))


def _fourth(photographs: Path, name: str) -> Path:
    return sorted((photographs / name).iterdir())[3]


def test_the_gallery_is_bound_to_its_model(built: Path, weights: Path) -> None:
    found = read_gallery(built)
    assert found.people() == dict.fromkeys(sorted(PEOPLE), 3)
    assert found.model == EMBEDDER
    assert found.weights_sha256 == weights_behind(model(EMBEDDER).final(weights))["weights"]
    assert found.threshold is not None
    assert found.threshold.similarity == THRESHOLD


def test_other_photographs_of_the_people_are_named_and_a_stranger_is_unknown(
    gallery: Path, photographs: Path, album: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = [_fourth(photographs, name) for name in PEOPLE] + [album / "stranger.jpg"]
    command = ["gallery", "search", str(gallery), *map(str, probes), "--weights", str(weights), "--json"]
    assert main(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["label"] for line in lines] == [*PEOPLE, None]
    assert all(len(line["candidates"]) == 5 for line in lines)
    assert main(command[:-1]) == 0
    assert "stranger.jpg: unknown (above 0.970 a face has a name)" in capsys.readouterr().out
    assert main(["gallery", "search", str(gallery), __file__, *command[3:]]) == 1  # no picture: the others are told
    told = capsys.readouterr()
    assert [json.loads(line)["label"] for line in told.out.splitlines()] == [*PEOPLE, None]
    assert "is no picture in a format known here" in told.err


def test_a_person_is_added_and_removed(
    gallery: Path, album: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(album / "stranger.jpg", more / "p.jpg")
    command = ["gallery", "add", str(gallery), str(more), "--weights", str(weights)]
    assert main(command) == 1
    assert "1 photographs lie in no person's folder (first: p.jpg)" in capsys.readouterr().err
    assert main([*command, "--name", "保罗·路德"]) == 0
    before = gallery.read_bytes()
    assert main([*command, "--name", "保罗·路德"]) == 0
    assert gallery.read_bytes() == before, "adding twice adds once"
    assert "1 rows from 1 photographs, 1 of them in place of the same person's photograph of that name" in (
        capsys.readouterr().out
    )
    assert main(["gallery", "list", str(gallery)]) == 0
    assert "     1  保罗·路德" in capsys.readouterr().out
    assert main(["gallery", "list", str(gallery), "--sources"]) == 0
    assert "保罗·路德\tp.jpg" in capsys.readouterr().out.splitlines()
    assert main(["gallery", "list", str(gallery), "--sources", "--json"]) == 0
    *rows, told = map(json.loads, capsys.readouterr().out.splitlines())
    assert rows[-1] == {"label": "保罗·路德", "source": "p.jpg"}
    assert (told["rows"], told["threshold"]["source"]) == (len(rows), "given by hand")
    assert main(["gallery", "remove", str(gallery), "保罗·路德", "--source", "q.jpg"]) == 1
    assert "there is no '保罗·路德' from 'q.jpg' in it" in capsys.readouterr().err
    assert main(["gallery", "remove", str(gallery), "保罗·路德"]) == 0
    assert main(["gallery", "remove", str(gallery), "保罗·路德"]) == 1
    assert "there is no '保罗·路德' in it" in capsys.readouterr().err


def test_labels_come_from_the_ports_label_file(
    photographs: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"./{name}/{_fourth(photographs, name).name}\tPerson {i}" for i, name in enumerate(PEOPLE)]
    (tmp_path / "label.txt").write_text("\n".join(lines))
    out = tmp_path / "l.gallery"
    command = ["gallery", "build", str(photographs), "--labels", str(tmp_path / "label.txt"), "--out", str(out)]
    common = ["--embedder", EMBEDDER, "--weights", str(weights)]
    assert main([*command, *common]) == 0
    assert list(read_gallery(out).people()) == ["Person 0", "Person 1", "Person 2"]
    taken = read_gallery(out).threshold
    assert taken is not None and taken.far == 1e-3 and "CFP" in taken.source, "the catalogue's"
    assert "among 3 people about 0.3 of 100 strangers get a wrong name.\n" in capsys.readouterr().err
    write_gallery(out, replace(read_gallery(out), threshold=None), overwrite=True)
    assert main(["gallery", "search", str(out), str(photographs / PEOPLE[0]), *common[2:]]) == 1
    assert "it has no threshold, expected one" in capsys.readouterr().err
    (tmp_path / "label.txt").write_text("absent.jpg\tNobody\n")
    assert main([*command, *common, "--overwrite"]) == 1
    assert "'absent.jpg' is no file below" in capsys.readouterr().err


def test_a_gallery_of_other_weights_is_refused(
    gallery: Path, photographs: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = str(_fourth(photographs, PEOPLE[0]))
    search = ["gallery", "search", str(gallery), probe, "--weights", str(weights)]
    assert main([*search, "--embedder", "facenet.seeded"]) == 1
    assert f"its embeddings are of {EMBEDDER}, expected facenet.seeded" in capsys.readouterr().err
    digest = read_gallery(gallery).weights_sha256[:12]
    write_gallery(gallery, replace(read_gallery(gallery), weights_sha256="00" * 32), overwrite=True)
    assert main(search) == 1
    assert f"made with weights 000000000000... of {EMBEDDER}, the model here has {digest}" in capsys.readouterr().err


def test_the_threshold_is_calibrated_on_a_verification_set(
    gallery: Path, album: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.txt").write_text(album_pairs(1, 33))
    faces = str(album / "aligned")
    command = ["gallery", "calibrate", str(gallery), faces, "--pairs", str(tmp_path / "pairs.txt")]
    common = ["--weights", str(weights)]
    assert main([*command, *common]) == 1
    assert "33 comparisons of different people cannot show a rate of 0.001, expected at least 1,000" in (
        capsys.readouterr().err
    )
    assert main([*command, "--far", "0.1", *common]) == 0
    threshold = read_gallery(gallery).threshold
    assert threshold is not None
    assert threshold.far == 0.1
    assert threshold.source == "aligned: 33 pairs of different people"
    warned = capsys.readouterr().err
    assert "warning: that is a high rate; among 3 people about 27 of 100 strangers get a wrong name" in warned
    assert "Try: --far 1e-3." in warned
    assert 0 < threshold.similarity < 1


def test_the_ports_index_becomes_a_gallery(
    built: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_gallery(built).embeddings
    old = {"label": ["A", "B"], "feature": [np.array(rows[:1]) * 9, np.array(rows[4:5]) * 11]}
    (tmp_path / "index.bin").write_bytes(pickle.dumps(old, 3))
    out = tmp_path / "old.gallery"
    command = ["gallery", "import", str(tmp_path / "index.bin"), "--out", str(out), "--weights", str(weights)]
    assert main([*command, "--embedder", EMBEDDER, "--threshold", "0.45"]) == 0
    assert "the port's file does not tell its model" in capsys.readouterr().err
    np.testing.assert_allclose(read_gallery(out).embeddings, rows[[0, 4]], atol=1e-6)
    (tmp_path / "index.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main([*command, "--embedder", EMBEDDER, "--overwrite"]) == 1
    assert "index.bin: it names 'os.system'" in capsys.readouterr().err
