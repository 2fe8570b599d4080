# SPDX-License-Identifier: Apache-2.0
"""Hundreds of mutated pictures in one folder: each named with a reason or read, the good ones between them untouched.

`make fuzz` takes ten thousand.
"""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import Any

import bad_pictures
import numpy as np
import pytest
from measured import embed_folder
from PIL import Image

from facepipe.datasets.images import Decoded
from facepipe.faces import photographs as faces_of
from facepipe.faces.photographs import EVERYDAY, read_photograph, read_photographs
from facepipe.results import Unread

COUNT, SEED = 240, 11
MOST_BYTES = 10**9


@pytest.fixture(scope="module")
def face(work: Path) -> Path:
    return next(path for path in sorted((work / "sample/images").rglob("*.jpg")))


def test_bad_pictures_are_named_with_a_reason_and_good_ones_are_unaffected(
    work: Path, face: Path, tmp_path: Path
) -> None:
    good = bad_pictures.write_among(face.read_bytes(), Image.open(face), tmp_path / "pictures", COUNT, SEED)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "good.jpg").write_bytes(face.read_bytes())
    measured = embed_folder(tmp_path / "pictures", tmp_path / "run", work / "weights")
    assert measured.status == 0, measured.text
    assert "Traceback" not in measured.text
    assert measured.peak_bytes < MOST_BYTES
    lines = {line["key"]: line for line in map(json.loads, (tmp_path / "run/faces.jsonl").read_text().splitlines())}
    assert sorted(lines) == sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert all(line.get("reason") or line.get("unread") or "box" in line for line in lines.values())
    assert sum("unread" in line for line in lines.values()) > COUNT / 2
    assert embed_folder(alone, tmp_path / "run-alone", work / "weights").status == 0
    expected = json.loads((tmp_path / "run-alone/faces.jsonl").read_text())
    rows, own = np.load(tmp_path / "run/embeddings.npy"), np.load(tmp_path / "run-alone/embeddings.npy")
    for key in good:
        np.testing.assert_allclose(lines[key]["box"], expected["box"], atol=0.05)
        np.testing.assert_allclose(rows[lines[key]["row"]], own[0], atol=1e-3)


def test_the_same_seed_makes_the_same_pictures(face: Path) -> None:
    image = Image.open(face)
    first, again = (list(bad_pictures.bad_pictures(image, 60, 3)) for _ in range(2))
    assert first == again
    assert first != list(bad_pictures.bad_pictures(image, 60, 4))


def test_every_format_meets_every_mutation(face: Path) -> None:
    count = len(bad_pictures.FORMATS) * len(bad_pictures.MUTATIONS)
    names = {name.split("-")[1] for name, _ in bad_pictures.bad_pictures(Image.open(face), count, 1)}
    assert {name.partition(".")[0] for name in names} == {m.__name__.strip("_") for m in bad_pictures.MUTATIONS}
    assert {name.partition(".")[2] for name in names} == {"jpg", "png", "webp", "bmp", "tif"}


@pytest.mark.parametrize("side", [3536, 12000, 40000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    content = bad_pictures.png_of_nothing(8, 8)
    (tmp_path / "bomb.png").write_bytes(bad_pictures.with_size(content, "PNG", side, side))
    outcome = read_photograph(tmp_path / "bomb.png").pixels
    assert f"at most {EVERYDAY.max_pixels:,} are read" in outcome.reason


def test_sides_of_65_535_pixels_are_read_and_longer_ones_named(tmp_path: Path) -> None:
    for side, name in ((EVERYDAY.max_side, "long.png"), (EVERYDAY.max_side + 1, "longer.png")):
        (tmp_path / name).write_bytes(bad_pictures.png_of_nothing(side, 3))
    (batch,) = read_photographs(tmp_path, ["long.png", "longer.png"], 4)
    members = {member.key: member.pixels for member in batch}
    assert members["long.png"].shape == (3, EVERYDAY.max_side, 3)
    assert members["longer.png"].reason == "has a side of 65536 pixels, expected at most 65535"


def test_batches_are_in_order_and_bounded_and_a_large_one_is_let_go_before_the_next_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = (900, 10, 1500, 2200, 2600, 0, 3000, 20, 20, 20)
    keys = [f"{number:02d}.png" for number in range(len(sides))]
    for key, side in zip(keys, sides, strict=True):
        (tmp_path / key).write_bytes(bad_pictures.png_of_nothing(side, side) if side else b"no picture")
    batches = list(read_photographs(tmp_path, keys, 3))
    assert [[member.key[:2] for member in members] for members in batches] == [
        ["00", "01", "02"], ["03"], ["04", "05"], ["06"], ["07", "08", "09"],
    ]  # fmt: skip
    alive: list[weakref.ref[np.ndarray]] = []
    seen = []

    decode = faces_of.decode_or_reason

    def watched(*arguments: Any) -> Decoded | Unread:
        seen.append([reference().shape[0] for reference in alive if reference() is not None])
        outcome = decode(*arguments)
        if not isinstance(outcome, Unread):
            alive.append(weakref.ref(outcome.pixels))
        return outcome

    monkeypatch.setattr(faces_of, "decode_or_reason", watched)
    for members in read_photographs(tmp_path, keys, 3):
        del members
    assert seen == [[], [900], [900, 10], [], [], [2600], [], [], [20], [20, 20]]


def test_a_program_and_a_pipe_under_a_pictures_name_are_only_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n")
    os.mkfifo(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").symlink_to("/dev/zero")
    (tmp_path / "d.jpg").symlink_to("d.jpg")
    reasons = [read_photograph(tmp_path / name).pixels.reason for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")]
    assert reasons[0].startswith("is no picture in a format known here")
    assert reasons[1:3] == ["is no file", "is no file"]
    assert reasons[3].startswith("cannot be opened")
