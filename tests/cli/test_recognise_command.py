# SPDX-License-Identifier: Apache-2.0
"""`facepipe recognise`: photographs, folders and films with names on them, the port's flags, and every refusal."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from album import THRESHOLD
from PIL import Image

from facepipe.cli import main
from facepipe.datasets.images import read
from facepipe.gallery.file import read_gallery
from facepipe.store.files import sha256_of_file
from facepipe.store.parts import host, part_name
from facepipe.store.run_faces import read_embeddings

EMBEDDER = "mobilefacenet.ms1m"
CAST = ("Person_01", "Person_02", "Person_03")


@pytest.fixture(scope="module")
def weights(seeded: Callable[..., Path]) -> Path:
    """MTCNN, and a recogniser of seeded weights: it knows the photographs of the album again."""
    return seeded(EMBEDDER)


@pytest.fixture(scope="module")
def gallery(album: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people who are on the group photograph and two who are not, two photographs each at most."""
    root = tmp_path_factory.mktemp("people")
    for name in (*CAST, "Person_04", "Person_05"):
        (root / name).mkdir()
        for path in sorted((album / "people" / name).iterdir())[:2]:
            shutil.copy(path, root / name)
    path = root / "people.gallery"
    command = ["gallery", "build", str(root), "--out", str(path), "--embedder", EMBEDDER, "--threshold", str(THRESHOLD)]
    assert main([*command, "--weights", str(weights)]) == 0
    return path


@pytest.fixture
def common(gallery: Path, weights: Path) -> list[str]:
    return ["--index", str(gallery), "--weights", str(weights)]


def _names(path: Path) -> dict[str | None, int]:
    found: dict[str | None, int] = {}
    for face in json.loads(path.read_text(encoding="utf-8"))["faces"]:
        found[face["label"]] = found.get(face["label"], 0) + 1
    return found


def test_those_in_the_gallery_are_named_and_the_others_are_unknown(
    album: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph = album / "group.jpg"
    command = ["recognise", "--det", "--rec", "--input", str(photograph), "--output", str(tmp_path), *common]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "1 photograph, 6 faces, 3 with a name" in out
    assert out.count("unknown") == 3
    assert _names(tmp_path / "group.jpg.json") == dict.fromkeys(CAST, 1) | {None: 3}
    told = json.loads((tmp_path / "group.jpg.json").read_text())
    rows = read_embeddings(tmp_path / "group.jpg.npy", 6)
    assert told["embeddings_sha256"] == sha256_of_file(tmp_path / "group.jpg.npy")
    assert [face["row"] for face in told["faces"]] == [face["face"] for face in told["faces"]] == list(range(6))
    known = read_gallery(Path(common[1]))
    for face in told["faces"]:
        near = face["candidates"][0]
        own = known.embeddings[next(i for i, source in enumerate(known.sources) if source == near["source"])]
        assert float(rows[face["row"]] @ own) == pytest.approx(near["similarity"], abs=1e-6)
    drawn = read(tmp_path / "group.jpg")
    assert drawn.shape == read(photograph).shape
    assert (np.abs(drawn.astype(int) - read(photograph)) > 60).any(axis=2).mean() > 0.005


def test_a_folder_keeps_its_sub_folders_and_what_cannot_be_read_is_told(
    album: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    (folder / "a b").mkdir(parents=True)
    shutil.copy(sorted((album / "people" / "Person_04").iterdir())[3], folder / "a b" / "é.jpg")
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "black.gif")
    (folder / "broken.png").write_bytes(b"no picture")
    killed = tmp_path / "out" / part_name("film.mp4", host(), 999999999, 1)
    killed.parent.mkdir()
    killed.write_bytes(b"of a call that was killed")
    assert main(["recognise", "--input", str(folder), "--output", str(tmp_path / "out"), "--batch", "2", *common]) == 0
    captured = capsys.readouterr()
    assert not killed.exists()
    assert "broken.png: left out, is no picture" in captured.err
    assert "2 photographs, 1 left out, 1 face, 1 with a name" in captured.out
    assert _names(tmp_path / "out" / "a b" / "é.jpg.json") == {"Person_04": 1}
    assert _names(tmp_path / "out" / "black.gif.png.json") == {}


def test_a_film_streams_into_a_film_and_a_line_for_each_frame(
    album: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av", reason="films need the extra [video]")
    from facepipe.datasets.video import FilmInfo, Frame, open_writer, read_frames

    photograph = read(album / "people" / "Person_03" / "Person_03_0001.jpg")
    with open_writer(tmp_path / "in.mp4", FilmInfo(Fraction(10), Fraction(1, 1000), 0)) as write:
        for i in range(5):
            write(Frame(photograph if i != 3 else np.zeros_like(photograph), i * 100))
    command = ["recognise", "--input", str(tmp_path / "in.mp4"), "--output", str(tmp_path / "out"), "--batch", "2"]
    assert main([*command, *common]) == 0
    assert "5 frames, 4 faces" in capsys.readouterr().out
    head, *lines = map(json.loads, (tmp_path / "out" / "in.mp4.jsonl").read_text().splitlines())
    assert head["film"] == "in.mp4"
    assert [face["row"] for line in lines for face in line["faces"]] == [0, 1, 2, 3]
    assert read_embeddings(tmp_path / "out/in.mp4.npy", 4).shape == (4, 128)
    assert [line["seconds"] for line in lines] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [[face["label"] for face in line["faces"]] for line in lines] == [["Person_03"]] * 3 + [
        [],
        ["Person_03"],
    ]
    assert len(list(read_frames(tmp_path / "out" / "in.mp4"))) == 5
    before = (tmp_path / "in.mp4").read_bytes()
    assert main([*command[:3], "--output", str(tmp_path), *common]) == 1
    assert "that facepipe did not make (first: in.mp4)" in capsys.readouterr().err
    assert (tmp_path / "in.mp4").read_bytes() == before


def test_the_ports_command_line_with_the_ports_index(
    gallery: Path, album: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = read_gallery(gallery)
    old = {"label": list(ours.labels), "feature": [np.array(row)[None] * 11 for row in ours.embeddings]}
    (tmp_path / "index.bin").write_bytes(pickle.dumps(old, 3))
    options = f"--det --rec --index={tmp_path}/index.bin --input={album}/group.jpg --output={tmp_path}/out"
    more = f"--rec_model {EMBEDDER} --rec_thresh {THRESHOLD} --det_thresh 0.8 --cdd_num 50 --max_batch_size 4"
    command = [
        "recognise",
        *options.split(),
        *more.split(),
        "--cpu_threads=1",
        "--use_gpu=False",
        "--enable_mkldnn=True",
    ]
    assert main([*command, "--weights", str(weights)]) == 0
    assert _names(tmp_path / "out" / "group.jpg.json") == dict.fromkeys(CAST, 1) | {None: 3}
    captured = capsys.readouterr()
    assert f"the port's index, taken as made by mobilefacenet.ms1m; names above {THRESHOLD}" in captured.err
    assert main([*command, "--weights", str(weights), "--use_gpu=True"]) == 1
    assert "--use_gpu: it is True, expected False or nothing" in capsys.readouterr().err
    (tmp_path / "index.bin").write_bytes(b"cos\nmkdir\n(S'made'\ntR.")
    assert main([*command, "--weights", str(weights)]) == 1
    assert "it names 'os.mkdir'" in capsys.readouterr().err


def test_the_ports_way_to_build_an_index_takes_photographs_as_faces(album: Path, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    aligned = album / "aligned" / "Person_04"
    shutil.copy(sorted(aligned.iterdir())[0], folder / "t.jpg")
    (tmp_path / "label.txt").write_text("./t.jpg\tTony\n")
    out = tmp_path / "t.gallery"
    command = ["recognise", "--rec", "--build_index", str(out), "--img_dir", str(folder)]
    common = ["--rec_model", EMBEDDER, "--weights", str(weights)]
    assert main([*command, "--label", str(tmp_path / "label.txt"), *common]) == 0
    assert read_gallery(out).people() == {"Tony": 1}
    threshold = read_gallery(out).threshold
    assert threshold is not None
    assert threshold.similarity == 0.45, "the port's, so that its next command needs none either"
    probe = sorted(aligned.iterdir())[1]
    named = ["recognise", "--rec", "--index", str(out), "--input", str(probe), "--output", str(tmp_path / "named")]
    assert main([*named, "--rec_thresh", str(THRESHOLD), *common]) == 0
    assert _names(tmp_path / "named" / f"{probe.name}.json") == {"Tony": 1}


def test_faces_alone_are_marked_without_a_gallery(album: Path, weights: Path, tmp_path: Path) -> None:
    photograph = album / "group.jpg"
    command = ["recognise", "--det", "--input", str(photograph), "--output", str(tmp_path)]
    assert main([*command, "--weights", str(weights)]) == 0
    content = json.loads((tmp_path / "group.jpg.json").read_text())
    assert len(content["faces"]) == 6
    assert "label" not in content["faces"][0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--det --rec --input here", "--index: nothing was given, expected a gallery"),
        ("--det", "--input: nothing was given"),
        ("--det --input absent.jpg", "absent.jpg: no such file or folder, expected a photograph, a folder or a film"),
        ("--det --det_model BlazeFace --input here", "detector 'BlazeFace' is not known, expected one of mtcnn"),
        ("--build_index x.gallery --img_dir here", "it needs --img_dir and --label, expected both"),
    ],
)
def test_what_is_missing_is_said_in_one_line(options: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recognise", *options.split()]) == 1
    assert said in capsys.readouterr().err


def test_a_photograph_is_never_written_over(
    album: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph = Path(shutil.copy(album / "stranger.jpg", tmp_path))
    before = photograph.read_bytes()
    assert main(["recognise", "--input", str(photograph), "--output", str(tmp_path), *common]) == 1
    assert "that facepipe did not make (first: stranger.jpg)" in capsys.readouterr().err
    assert photograph.read_bytes() == before
