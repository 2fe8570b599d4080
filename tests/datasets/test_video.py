# SPDX-License-Identifier: Apache-2.0
"""Films in and out: frames stream, times stay, odd sizes pass, broken files are named."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="films need the extra [video]")

import av

from facepipe.datasets.video import FilmInfo, Frame, is_film, open_writer, read_frames, read_info
from facepipe.errors import DataError

INFO = FilmInfo(rate=Fraction(24), time_base=Fraction(1, 600), frames=0)


def _frames(count: int, height: int = 48, width: int = 64, step: int = 25) -> Iterator[Frame]:
    """A bright bar that moves; times are even unless `step` is 0."""
    for i in range(count):
        image = np.full((height, width, 3), 30, np.uint8)
        image[:, (3 * i) % width : (3 * i) % width + 6] = (250, 220, 40)
        yield Frame(image, i * step if step else i * i * 7)


def _film(path: Path, count: int = 12, **size: int) -> Path:
    with open_writer(path, INFO) as write:
        for frame in _frames(count, **size):
            write(frame)
    return path


@pytest.mark.parametrize("step", [25, 0])
def test_frames_and_their_times_come_back(tmp_path: Path, step: int) -> None:
    path = tmp_path / "film.mp4"
    with open_writer(path, INFO) as write:
        for frame in _frames(12, step=step):
            write(frame)
    info, back = read_info(path), list(read_frames(path))
    assert len(back) == 12
    seconds = [float(frame.ticks * info.time_base) for frame in back]
    assert seconds == pytest.approx([float(frame.ticks * INFO.time_base) for frame in _frames(12, step=step)], abs=2e-3)
    for found, written in zip(back, _frames(12), strict=True):
        assert np.abs(found.image.astype(int) - written.image).mean() < 12


def test_odd_sizes_are_doubled_at_the_edge(tmp_path: Path) -> None:
    (first, *_) = read_frames(_film(tmp_path / "odd.mp4", height=47, width=63))
    assert first.image.shape == (48, 64, 3)


def test_no_frame_is_held(tmp_path: Path) -> None:
    path = _film(tmp_path / "long.mp4", 150, height=240, width=320)
    tracemalloc.start()
    count = sum(1 for _ in read_frames(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 150
    assert peak < 10 * 240 * 320 * 3, "150 frames are 35 MB"


def test_what_is_no_film_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no film " * 100)
    with pytest.raises(DataError, match=r"text\.mp4: cannot be read as a film \(.*Invalid data"):
        list(read_frames(tmp_path / "text.mp4"))
    with pytest.raises(DataError, match=r"absent\.mp4: cannot be read as a film"):
        read_info(tmp_path / "absent.mp4")
    whole = _film(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.mp4: cannot be read as a film"):
        list(read_frames(tmp_path / "cut.mp4"))


def _shown(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """The film with another display matrix in its track header. Source: ISO/IEC 14496-12, 8.3.2."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def _corners() -> np.ndarray:
    picture = np.full((48, 64, 3), 60, np.uint8)
    picture[:24, :32], picture[:24, 32:] = (230, 20, 20), (20, 230, 20)
    return picture


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((0, -1, 1, 0), lambda p: np.rot90(p)),
        ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].swapaxes(0, 1)),
    ],
)
def test_a_film_that_is_turned_or_mirrored_comes_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    with open_writer(tmp_path / "film.mp4", INFO) as write:
        write(Frame(_corners(), 0))
    (frame,) = read_frames(_shown(tmp_path / "film.mp4", *matrix))
    assert frame.image.shape == turn(_corners()).shape
    assert np.abs(frame.image.astype(int) - turn(_corners())).mean() < 6


def test_a_film_turned_by_no_quarter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"film\.mp4: it is to be shown turned by .*, expected quarters of a turn"):
        list(read_frames(_shown(_film(tmp_path / "film.mp4"), 1, 1, -1, 1)))


def _encoded(path: Path, **options: object) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for name, value in options.items():
            setattr(stream.codec_context, name, value)
        for frame in _frames(30):
            noise = np.random.default_rng(frame.ticks).integers(0, 60, frame.image.shape, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image // 2 + noise, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    path = _encoded(tmp_path / "wide.mp4", sample_aspect_ratio=Fraction(3, 2))
    assert next(read_frames(path)).image.shape == (48, 96, 3)


@pytest.mark.parametrize(("code", "name"), [(16, "PQ"), (18, "HLG")])
def test_a_film_in_hdr_is_refused(tmp_path: Path, code: int, name: str) -> None:
    with pytest.raises(DataError, match=rf"hdr\.mkv: it is in HDR \({name}\)"):
        list(read_frames(_encoded(tmp_path / "hdr.mkv", color_trc=code)))


def test_a_damaged_frame_ends_the_reading_and_is_named(tmp_path: Path) -> None:
    # One thread, or the encoder writes another film each time; and so much damage that every decoder tells.
    content = bytearray(_encoded(tmp_path / "film.mp4", thread_count=1).read_bytes())
    at = len(content) // 2
    content[at : at + 3000] = np.random.default_rng(0).bytes(3000)
    (tmp_path / "film.mp4").write_bytes(content)
    read = []
    with pytest.raises(DataError, match=r"film\.mp4: (frame \d+ is damaged|cannot be read as a film)"):
        read.extend(frame.ticks for frame in read_frames(tmp_path / "film.mp4"))


def test_a_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="a frame is 64x50, the first is 64x48"),
        open_writer(tmp_path / "f.mp4", INFO) as write,
    ):
        write(next(_frames(1)))
        write(next(_frames(1, height=50)))
    with pytest.raises(DataError, match="no frame was written"), open_writer(tmp_path / "f.mp4", INFO):
        pass
    assert list(tmp_path.iterdir()) == []


def test_films_are_told_by_their_names() -> None:
    assert is_film(Path("a.MP4"))
    assert not is_film(Path("a.jpg"))
