# SPDX-License-Identifier: Apache-2.0
"""The whole way of photographs that are not square, hold two faces and are larger than a mebibyte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facepipe
from facepipe.cli import main

OPTIONS = ["--detector", "mtcnn", "--embedder", "facenet.seeded", "--workers", "1"]
LONG, SHORT = 1200, 400  # of a picture whose long side lies across or upright; 1.4 MB without compression


@pytest.fixture(scope="module")
def folder(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait in the middle, and at one end the same half as large again: it wins by size, loses by its place."""
    portrait = Image.open(sorted((sample / "images").rglob("*_0001.*"))[0]).convert("RGB")
    small, large = (np.asarray(portrait.resize((side, side), Image.Resampling.BICUBIC)) for side in (260, 390))
    root = tmp_path_factory.mktemp("two faces")
    for name, shape in (("across", (SHORT, LONG, 3)), ("upright", (LONG, SHORT, 3))):
        canvas = np.full(shape, 127, np.uint8)
        top, left = (shape[0] - 260) // 2, (shape[1] - 260) // 2
        canvas[:390, :390] = large
        canvas[top : top + 260, left : left + 260] = small
        Image.fromarray(canvas).save(root / f"{name}.bmp")
    return root


def is_in_the_middle(box: object, height: int, width: int) -> bool:
    x1, y1, x2, y2 = np.asarray(box, float).tolist()
    return abs((x1 + x2) / 2 - width / 2) < 130 and abs((y1 + y2) / 2 - height / 2) < 130


def test_the_face_in_the_middle_goes_on_through_a_run(folder: Path, weights_dir: Path, tmp_path: Path) -> None:
    words = ["embed", str(folder), "--weights", str(weights_dir), *OPTIONS]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    lines = {line["key"]: line for line in map(json.loads, (tmp_path / "run/faces.jsonl").read_text().splitlines())}
    assert is_in_the_middle(lines["across.bmp"]["box"], SHORT, LONG)
    assert is_in_the_middle(lines["upright.bmp"]["box"], LONG, SHORT)
    assert main([*words, "--select", "largest", "--out", str(tmp_path / "largest")]) == 0
    for line in map(json.loads, (tmp_path / "largest/faces.jsonl").read_text().splitlines()):
        assert max(line["box"]) < 390


def test_the_face_in_the_middle_goes_on_in_the_api(folder: Path, weights_dir: Path) -> None:
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir) as faces:
        across, upright = faces.embed([folder / "across.bmp", folder / "upright.bmp"])
    assert is_in_the_middle(across.face.box, SHORT, LONG)
    assert is_in_the_middle(upright.face.box, LONG, SHORT)


def test_the_digest_is_of_the_whole_file(folder: Path, weights_dir: Path, tmp_path: Path) -> None:
    """Its last byte counts, more than a mebibyte from the first one."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        content = bytearray((folder / "across.bmp").read_bytes())
        content[-1] ^= name == "other"
        assert len(content) > 1 << 20
        (tmp_path / name / "a.bmp").write_bytes(content)
        words = ["embed", str(tmp_path / name), "--out", str(tmp_path / f"{name}.run"), "--weights", str(weights_dir)]
        assert main([*words, *OPTIONS]) == 0
        expected = f"{hashlib.sha256(content).hexdigest()}  a.bmp\n"
        assert (tmp_path / f"{name}.run" / "photographs.sha256").read_text() == expected
