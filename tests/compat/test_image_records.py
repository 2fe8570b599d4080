# SPDX-License-Identifier: Apache-2.0
"""Pictures to the port's records and back without loss; records that lie, or would act, are refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facepipe.cli import main
from facepipe.compat.write_image_records import images_from_records, records_from_images
from facepipe.datasets.image_records import ImageRecord, bytes_from_record, read_labels, record_from_bytes
from facepipe.errors import DataError
from facepipe.store.owned import RECORD

REPOSITORY = Path(__file__).resolve().parents[2]


def _picture(form: str, seed: int = 0) -> bytes:
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)).save(target, form)
    return target.getvalue()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two people, one with a space and letters beyond ASCII in the name, in five formats."""
    root = tmp_path / "photographs"
    for name, form in (
        ("Ana/1.jpg", "JPEG"),
        ("Ana/2.PNG", "PNG"),
        ("瑞秋 格林/a.jpeg", "JPEG"),
        ("瑞秋 格林/b.webp", "WEBP"),
        ("瑞秋 格林/c.bmp", "BMP"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(_picture(form, len(name)))
    return root


def _contents(root: Path) -> dict[str, bytes]:
    """All but the record of what was written."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_a_round_trip_gives_the_same_files_with_the_same_names(photographs: Path, tmp_path: Path) -> None:
    records_from_images(photographs, tmp_path / "bins")
    images_from_records(tmp_path / "bins", tmp_path / "back")
    assert _contents(tmp_path / "back") == _contents(photographs)


def test_a_record_is_what_the_port_reads(photographs: Path, tmp_path: Path) -> None:
    records_from_images(photographs, tmp_path / "bins")
    content = (tmp_path / "bins" / "Ana" / "2.bin").read_bytes()
    (key_length,) = struct.unpack_from("<I", content)
    (value_length,) = struct.unpack_from("<I", content, 4 + key_length)
    value = content[8 + key_length : 8 + key_length + value_length]
    assert content[4 : 4 + key_length] == b"2.PNG"
    assert pickle.loads(value) == (photographs / "Ana/2.PNG").read_bytes()


@pytest.mark.parametrize("protocol", range(6))
def test_records_of_every_pickle_protocol_are_read(protocol: int) -> None:
    value = pickle.dumps(_picture("JPEG"), protocol)
    content = struct.pack("<I", 5) + b"x.jpg" + struct.pack("<I", len(value)) + value
    assert record_from_bytes(content, "x.bin") == ImageRecord("x.jpg", _picture("JPEG"))


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_record_is_an_error_of_ours_or_a_record(data: st.DataObject) -> None:
    whole = bytearray(bytes_from_record(ImageRecord("x.jpg", b"\xff\xd8\xff" + bytes(40))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        record_from_bytes(bytes(whole[:cut]), "damaged.bin")
    except DataError as error:
        assert "damaged.bin" in str(error)


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_record_that_would_run_code_runs_nothing(tmp_path: Path) -> None:
    value = pickle.dumps(_Touch(tmp_path / "made"))
    (tmp_path / "bins").mkdir()
    (tmp_path / "bins" / "x.bin").write_bytes(struct.pack("<I", 1) + b"x" + struct.pack("<I", len(value)) + value)
    with pytest.raises(DataError, match=r"x\.bin: it names '\w+\.mkdir'"):
        images_from_records(tmp_path / "bins", tmp_path / "out")
    assert not (tmp_path / "made").exists()


def test_a_key_that_is_a_path_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "bins").mkdir()
    for stem, name in (("a", "../../a.jpg"), ("b", "/etc/b.jpg"), ("c", "c.exe"), ("d", "")):
        record = ImageRecord(name, _picture("JPEG"))
        (tmp_path / "bins" / f"{stem}.bin").write_bytes(bytes_from_record(record))
    images_from_records(tmp_path / "bins", tmp_path / "out")
    assert sorted(_contents(tmp_path)) == [f"bins/{s}.bin" for s in "abcd"] + [f"out/{s}.jpg" for s in "abcd"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"x\.bin: 0 bytes, expected a record"),
        (struct.pack("<I", 6000), "its key has 6,000 bytes, expected at most 5,000"),
        (struct.pack("<I", 50) + b"x.jpg", "within the file"),
        (struct.pack("<I", 1) + b"x" + struct.pack("<I", 99) + b"short", "5 bytes follow the key, expected 99"),
        (bytes_from_record(ImageRecord("x.jpg", b"")) + b"more", "it is cut or joined"),
        (bytes_from_record(ImageRecord("x.jpg", b"GARBAGE!!")), "begins with b'GARBAGE!', expected a picture"),
    ],
)
def test_a_record_that_is_none_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "bins").mkdir()
    (tmp_path / "bins" / "x.bin").write_bytes(content)
    with pytest.raises(DataError, match=said):
        images_from_records(tmp_path / "bins", tmp_path / "out")


def test_two_pictures_that_would_have_one_record_are_refused(photographs: Path, tmp_path: Path) -> None:
    (photographs / "Ana" / "1.png").write_bytes(_picture("PNG"))
    with pytest.raises(DataError, match=r"Ana/1\.jpg and Ana/1\.png would both become Ana/1\.bin"):
        records_from_images(photographs, tmp_path / "bins")
    assert not (tmp_path / "bins").exists()


def test_the_label_file_numbers_people_and_follows_the_way_back(photographs: Path, tmp_path: Path) -> None:
    data = tmp_path / "ms1m"
    assert main(["image2bin", str(photographs), str(data / "images"), "--label", str(data / "label.txt")]) == 0
    lines = (data / "label.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "images/Ana/1.bin\t0"
    assert lines[-1] == "images/瑞秋 格林/c.bin\t1"
    back = tmp_path / "back"
    known = ["--label", str(back / "label.txt"), "--known", str(data / "label.txt")]
    assert main(["bin2image", str(data / "images"), str(back / "pictures"), *known]) == 0
    assert dict(read_labels(back / "label.txt"))["pictures/Ana/2.PNG"] == "0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere.jpg\t0\n", "'nowhere.jpg' is none of the files that were converted"),
        ("photographs/Ana/1.jpg\tAna\n", "has the label 'Ana', expected a person's number"),
        ("photographs/Ana/1.jpg\t0\n", "4 files have no line"),
        ("justaname\n", "line 1: 'justaname', expected 'path<TAB>label'"),
        ("", "no line in it"),
    ],
)
def test_a_label_file_that_does_not_fit_is_one_line(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "known.txt").write_text(text)
    out = ["--label", str(tmp_path / "label.txt"), "--known", str(tmp_path / "known.txt")]
    assert main(["image2bin", str(photographs), str(tmp_path / "bins"), *out]) == 1
    assert said in capsys.readouterr().err


def test_loose_pictures_have_no_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "1.jpg").write_bytes(_picture("JPEG"))
    assert main(["image2bin", str(tmp_path / "p"), str(tmp_path / "b"), "--label", str(tmp_path / "l.txt")]) == 1
    assert "1 pictures lie in no person's folder (first: 1.jpg)" in capsys.readouterr().err


def _door(*options: str) -> str:
    door = REPOSITORY / "train" / "arcface" / "tools" / "convert_image_bin.py"
    return subprocess.run([sys.executable, str(door), *options], check=True, capture_output=True, text=True).stderr


def test_the_ports_command_line_goes_both_ways(photographs: Path, tmp_path: Path) -> None:
    bins, back, also = (str(tmp_path / name) for name in ("bins", "back", "also"))
    _door(f"--image_path={photographs}", f"--bin_path={bins}", "--mode=image2bin")
    said = _door(f"--image_path={bins}", f"--bin_path={back}", "--mode=bin2image")
    assert f"reads records from {bins}, writes pictures to {back}" in said, "the order of the port's text"
    said = _door(f"--image_path={also}", f"--bin_path={bins}", "--mode=bin2image")
    assert f"reads records from {bins}, writes pictures to {also}" in said, "the order of the port's code"
    assert _contents(Path(back)) == _contents(Path(also)) == _contents(photographs)
