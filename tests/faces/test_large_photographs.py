# SPDX-License-Identifier: Apache-2.0
"""Photographs larger than what a detector looks at: decoded smaller, answered in their own pixels, within one limit."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from squares import Squares

from facepipe.datasets.images import Decoded
from facepipe.faces import photographs
from facepipe.faces.photographs import Limits, limits_for, notes_of, read_photograph, read_photographs
from facepipe.faces.pipeline import ENOUGH, FacePipeline, crop_of
from facepipe.geometry.align import align, crop_scale
from facepipe.results import Face, NoFace, Unread
from facepipe.specs import FivePoint, MarginCrop

TEMPLATE = ((38.0, 52.0), (74.0, 52.0), (56.0, 72.0), (42.0, 92.0), (71.0, 92.0))
FIVE = FivePoint(size=112, template=TEMPLATE)


def _photograph(path: Path, height: int, width: int, **options: object) -> None:
    """Smooth colours, so that scales of one photograph look alike, with one white square from (40, 24) to (104, 88)."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 90 // width, y * 90 // height, (x + y) * 90 // (width + height)], -1).astype(np.uint8)
    pixels[24:88, 40:104] = 255
    Image.fromarray(pixels).save(path, quality=95, **options)


def _decoded(path: Path, limits: Limits) -> Decoded:
    decoded = read_photograph(path, limits).decoded
    assert isinstance(decoded, Decoded), decoded
    return decoded


def test_faces_of_a_reduced_photograph_are_in_its_own_pixels(tmp_path: Path) -> None:
    _photograph(tmp_path / "a.jpg", 400, 640)
    pipeline = FacePipeline(Squares(), None, MarginCrop(size=32, margin=0))
    whole, small = (_decoded(tmp_path / "a.jpg", Limits(size=size)) for size in (0, 160))
    assert small.pixels.shape == (100, 160, 3) and small.scale == (0.25, 0.25)
    ((of_whole,), (of_small,)) = ([pipeline.detect([one])[0].boxes[0]] for one in (whole, small))
    assert np.abs(of_whole - [40, 24, 104, 88]).max() <= 1 and np.abs(of_small - of_whole).max() <= 4
    face = pipeline.choose(small, pipeline.detect([small])[0])
    assert isinstance(face, Face)
    crop = pipeline.crop(small, face)
    assert not isinstance(crop, NoFace) and crop.shape == (32, 32, 3)
    assert crop[8:24, 8:24].min() > 240


def test_a_photograph_no_larger_than_the_working_size_is_as_it_was(tmp_path: Path) -> None:
    _photograph(tmp_path / "a.jpg", 400, 640)
    one, other = (_decoded(tmp_path / "a.jpg", limits) for limits in (Limits(), limits_for(640)))
    assert other.by == 1 and other.content == b"" and np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("alignment", [FIVE, MarginCrop(size=160, margin=14)])
@pytest.mark.parametrize("side", [60, 110, 400])
def test_a_crop_is_cut_of_as_many_pixels_as_it_needs(
    tmp_path: Path, alignment: FivePoint | MarginCrop, side: int
) -> None:
    """Small faces of the very pixels of the whole photograph; large ones of a copy that looks the same."""
    _photograph(tmp_path / "a.jpg", 800, 1200)
    left, top = 300, 200
    points = np.array([[left, top]], np.float32) + np.array(TEMPLATE, np.float32) * side / 112
    face = Face(np.array([left, top, left + side, top + side], np.float32), 1.0, points)
    whole, small = (_decoded(tmp_path / "a.jpg", Limits(size=size)) for size in (0, 300))
    assert small.by == 4
    wanted = align(whole.pixels, face, alignment)
    recogniser = FacePipeline(None, None, alignment)
    found = recogniser.crop(small, face)
    assert not isinstance(found, NoFace)
    enough = small.at(small.enough(ENOUGH * crop_scale(face, alignment)))
    difference = np.abs(found.astype(int) - wanted)
    if side == 60:
        assert enough.by == 1 and difference.max() <= 1
    else:
        assert difference.mean() < 2
    if side == 400:
        assert enough is small


def test_the_scale_of_a_crop() -> None:
    points = np.array(TEMPLATE, np.float32) * 3 + 7
    assert crop_scale(Face(np.zeros(4, np.float32), 1, points), FIVE) == pytest.approx(1 / 3)
    box = np.array([10, 10, 210, 310], np.float32)
    assert crop_scale(Face(box, 1, points), MarginCrop(size=160, margin=10)) == pytest.approx(150 / 200)
    assert crop_scale(Face(box[[0, 1, 0, 1]], 1, points), MarginCrop(size=160, margin=10)) == 0
    assert crop_scale(Face(box, 1, points * 0), FIVE) == 0


@pytest.mark.slow
def test_a_panorama_of_400_megapixels_is_read_small(tmp_path: Path) -> None:
    """Made of one row of blocks' data, written again and again: no such picture is ever held here."""
    path = tmp_path / "panorama.jpg"
    path.write_bytes(_flat_jpeg(40_000, 10_000))
    small = _decoded(path, limits_for(1600))
    assert (small.height, small.width, small.by) == (10_000, 40_000, 8) and small.pixels.shape == (1250, 5000, 3)
    refused = read_photograph(path, Limits()).decoded
    assert isinstance(refused, Unread)
    assert refused.reason == "has 40000x10000 pixels, at most 12,500,000 are read (more with --max-pixels)"


def _flat_jpeg(width: int, height: int) -> bytes:
    """A grey JPEG of one colour: a small one with the size in its header changed, and as much data as that needs."""
    content = io.BytesIO()
    Image.new("L", (64, 8), 128).save(content, "JPEG", restart_marker_blocks=8)
    small = content.getvalue()
    frame, scan = small.index(b"\xff\xc0"), small.index(b"\xff\xda")
    data = scan + 2 + int.from_bytes(small[scan + 2 : scan + 4], "big")
    row = small[data : small.index(b"\xff\xd9", data)]  # eight blocks
    head = bytearray(small[:data])
    head[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    intervals = -(-height // 8) * -(-width // 8) // 8
    parts = [row + b"\xff" + bytes([0xD0 + number % 8]) for number in range(8)]
    body = b"".join(parts) * (intervals // 8) + b"".join(parts[: intervals % 8])
    return bytes(head) + body[:-2] + b"\xff\xd9"


def test_a_line_of_one_by_4000(tmp_path: Path) -> None:
    for size, name in (((1, 4000), "a.jpg"), ((4000, 1), "b.jpg")):
        Image.new("RGB", size, (200, 10, 10)).save(tmp_path / name)
        line = _decoded(tmp_path / name, limits_for(640))
        assert (line.width, line.height) == size


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "bmp"])
def test_other_formats_are_whole_or_refused_by_name(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (900, 600), (1, 2, 3)).save(tmp_path / f"a.{suffix}")
    read = _decoded(tmp_path / f"a.{suffix}", Limits(max_pixels=540_100, size=30))
    assert read.pixels.shape == (600, 900, 3) and read.by == 1
    refused = read_photograph(tmp_path / f"a.{suffix}", Limits(max_pixels=539_999, size=30)).decoded
    assert refused == Unread("has 900x600 pixels, at most 539,999 are read (more with --max-pixels)")


def test_samples_of_16_bits_cost_more(tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 90), 40_000, np.uint16)).save(tmp_path / "a.png")
    assert isinstance(read_photograph(tmp_path / "a.png", Limits(max_pixels=12_000, size=30)).decoded, Decoded)
    refused = read_photograph(tmp_path / "a.png", Limits(max_pixels=5_400, size=30)).decoded
    assert isinstance(refused, Unread) and "would take" in refused.reason


def test_a_photograph_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _photograph(tmp_path / "a.jpg", 400, 640)
    whole = (tmp_path / "a.jpg").stat().st_size
    open_file = photographs.file_or_reason

    def shrinking(path: Path) -> object:
        file = open_file(path)
        told = path.stat()
        monkeypatch.setattr(photographs.os, "fstat", lambda _: told)
        with path.open("r+b") as other:
            other.truncate(whole // 2)
        return file

    monkeypatch.setattr(photographs, "file_or_reason", shrinking)
    found = read_photograph(tmp_path / "a.jpg", limits_for(160))
    assert isinstance(found.decoded, Unread) and "is broken" in found.decoded.reason
    assert found.sha256 != ""


def test_files_that_are_kept_count_in_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        _photograph(tmp_path / f"{number}.jpg", 400, 640)
    keys = [f"{number}.jpg" for number in range(6)]
    size = (tmp_path / "0.jpg").stat().st_size
    monkeypatch.setattr(photographs, "MAX_BATCH_PIXELS", 2 * (50 * 80 + size // 3) + 10)
    monkeypatch.setattr(photographs, "PEEK_PIXELS", 1)
    assert [len(batch) for batch in read_photographs(tmp_path, keys, 16, Limits(size=80))] == [2, 2, 2]
    assert [len(batch) for batch in read_photographs(tmp_path, keys, 16, Limits(size=640))] == [1] * 6


def test_what_was_not_looked_at_is_said(tmp_path: Path) -> None:
    for name in ("a.jpg", "out/run.json", "one.mp4", "two.MP4", "x/three.mp4", "README", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"something")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.gif")
    unread = ["has 70x60 pixels, at most 5 are read", "is empty (0 bytes)", "has 80x60 pixels, at most 5 are read"]
    keys = ["a.jpg", "moving.gif", "still.gif"]
    assert notes_of(tmp_path, keys, unread, tmp_path / "out") == [
        "2 unread, of which the first: has 70x60 pixels, at most 5 are read",
        "1 unread: is empty (0 bytes)",
        "1 with several frames or pages, of which the first was looked at: moving.gif",
        "4 files of other kinds were not looked at (.mp4 2, .MP4 1, README 1)",
    ]
    assert notes_of(tmp_path, ["still.gif"]) == []
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "film.mov").write_bytes(b"x")
    assert notes_of(tmp_path / "y", [], (), tmp_path) == ["1 file of another kind was not looked at (.mov 1)"]


def test_a_line_of_what_was_not_looked_at_stays_short(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    keys = [f"{number}.gif" for number in range(4)]
    for key in keys:
        frames[0].save(tmp_path / key, save_all=True, append_images=frames[1:])
    said = "with several frames or pages, of which the first was looked at: 0.gif, 1.gif, 2.gif"
    assert notes_of(tmp_path, keys[:3]) == [f"3 {said}"]
    assert notes_of(tmp_path, keys) == [f"4 {said}, ..."]
    for kind in "abcdefgh":
        (tmp_path / f"x.{kind}").touch()
    eight = ", ".join(f".{kind} 1" for kind in "abcdefgh")
    assert notes_of(tmp_path, (), (), tmp_path / "out") == [f"8 files of other kinds were not looked at ({eight})"]
    for name in ("x.i", "x.j"):
        (tmp_path / name).touch()
    assert notes_of(tmp_path, (), (), tmp_path / "out") == [
        f"10 files of other kinds were not looked at ({eight}, others 2)"
    ]


def test_a_large_png_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    refused = read_photograph(tmp_path / "a.png", limits_for(640)).decoded
    assert isinstance(refused, Unread) and "at most 25,000,000 are read" in refused.reason


def test_the_crop_of_a_recorded_face_is_cut_of_a_reduced_photograph_too(tmp_path: Path) -> None:
    from facepipe.catalogue import embedder

    _photograph(tmp_path / "a.jpg", 800, 1200)
    spec = embedder("facenet.seeded")
    face = Face(np.array([300, 200, 420, 330], np.float32), 1.0, np.zeros((0, 2), np.float32))
    whole, small = (_decoded(tmp_path / "a.jpg", Limits(size=size)) for size in (0, 300))
    assert np.array_equal(crop_of(whole, face, spec), crop_of(small, face, spec))
