# SPDX-License-Identifier: Apache-2.0
"""The bytes of a photograph are read once, and what is decoded is what is hashed; one limit for everybody."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.datasets.images import Decoded
from facepipe.errors import DataError
from facepipe.faces import photographs
from facepipe.faces.photographs import Limits, checked, decoded_or_error, read_photograph, read_photographs
from facepipe.results import Unread
from facepipe.store.files import sha256_of_file


def _save(path: Path, colour: int, side: int = 8) -> bytes:
    Image.new("RGB", (side, side), (colour, 0, 0)).save(path)
    return path.read_bytes()


def test_a_file_that_is_exchanged_after_it_was_read_is_recorded_as_it_was_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "a.png", _save(tmp_path / "a.png", 10)
    decode = photographs.decode_or_reason

    def exchanged(*arguments: object) -> Decoded | Unread:
        _save(path, 200)
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(photographs, "decode_or_reason", exchanged)
    photograph = read_photograph(path)
    assert photograph.sha256 == hashlib.sha256(before).hexdigest()
    assert isinstance(photograph.pixels, np.ndarray) and photograph.pixels[0, 0, 0] == 10


def test_a_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path / "a.png", 1, side=2000)
    opened: list[str] = []
    real = Path.open

    def counted(self: Path, *arguments: object, **named: object) -> object:
        opened.append(self.name)
        return real(self, *arguments, **named)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(Path, "open", counted)
    (batch,) = read_photographs(tmp_path, ["a.png", "b.png"], 4)
    assert opened == ["a.png"]
    assert batch[0].pixels.shape == (2000, 2000, 3)


def test_what_cannot_be_read_keeps_its_place_its_key_and_its_digest(tmp_path: Path) -> None:
    _save(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"no picture")
    (batch,) = read_photographs(tmp_path, ["a.png", "b.png", "gone.png"], 4)
    assert [member.key for member in batch] == ["a.png", "b.png", "gone.png"]
    assert isinstance(batch[1].pixels, Unread) and "is no picture" in batch[1].pixels.reason
    assert batch[1].sha256 == hashlib.sha256(b"no picture").hexdigest()
    assert batch[2].pixels == Unread("cannot be opened (No such file or directory)") and batch[2].sha256 == ""
    with pytest.raises(DataError, match=r"b\.png: is no picture"):
        decoded_or_error(tmp_path / "b.png")


def test_one_limit_on_the_disk_and_in_memory(tmp_path: Path) -> None:
    _save(tmp_path / "a.png", 1, side=60)
    limits = Limits(max_pixels=3000)
    reason = "has 60x60 pixels, at most 3,000 are read (more with --max-pixels)"
    assert read_photograph(tmp_path / "a.png", limits).pixels == Unread(reason)
    assert checked(np.zeros((60, 60, 3), np.uint8), limits) == Unread(reason)
    assert checked(np.zeros((1, 70_000, 3), np.uint8)) == Unread("has a side of 70000 pixels, expected at most 65535")
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        assert "expected uint8 [H, W, 3]" in checked(image).reason  # type: ignore[union-attr]


def test_a_file_that_is_too_large_to_be_held_is_hashed_and_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _save(tmp_path / "a.png", 1)
    monkeypatch.setattr(photographs, "MAX_FILE_BYTES", len(content) - 1)
    found = read_photograph(tmp_path / "a.png")
    assert isinstance(found.pixels, Unread) and f"at most {len(content) - 1:,} are read" in found.pixels.reason
    assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_what_is_not_to_be_decoded_is_hashed_and_keeps_its_place(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (20, 30), (1, 2, 3)).save(tmp_path / name)
    (members,) = read_photographs(tmp_path, ["a.png", "b.png", "c.png"], 3, undecoded={"b.png"})
    assert [isinstance(one.pixels, np.ndarray) for one in members] == [True, False, True]
    assert {one.sha256 for one in members} == {sha256_of_file(tmp_path / "b.png")}


def test_results_of_an_earlier_call_are_no_photographs(tmp_path: Path) -> None:
    for name in ("a.png", "out/b.png", "outer/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    assert photographs.photographs_of(tmp_path, tmp_path / "out") == ["a.png", "outer/c.png"]
    assert photographs.photographs_of(tmp_path, tmp_path.parent) == ["a.png", "out/b.png", "outer/c.png"]
    for name in ("a.png", "outer/c.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match="no photograph in it beside"):
        photographs.photographs_of(tmp_path, tmp_path / "out")
