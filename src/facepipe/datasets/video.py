# SPDX-License-Identifier: Apache-2.0
"""Films as streams of frames, in and out, by PyAV (FFmpeg's libraries). One frame is held at a time.

What is kept: size, frame times (also uneven ones), and recordings that are turned or mirrored, which come upright.
Pixels that are not square are made so. What is not kept: sound. A damaged frame ends the reading, and a film in HDR is
refused, since its colours would need a choice. A stream without a length, cut between two frames, is just shorter.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facepipe.errors import BackendError, DataError
from facepipe.store.files import atomic_path

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"})


# Transfer functions of ITU-T H.273, table 3.
_HDR = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True, slots=True)
class FilmInfo:
    """What a film's header says.

    Attributes:
        rate: frames in a second, on average.
        time_base: seconds in one tick of a frame's time.
        frames: how many there are; 0 where the header does not tell.
    """

    rate: Fraction
    time_base: Fraction
    frames: int


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a film: uint8 [H, W, 3] RGB, upright, and its time in ticks of `FilmInfo.time_base`."""

    image: np.ndarray
    ticks: int


def is_film(path: Path) -> bool:
    """Does the name end like a film's?"""
    return path.suffix.lower() in SUFFIXES


def read_info(path: Path) -> FilmInfo:
    """The film's header.

    Raises:
        BackendError: PyAV is not installed.
        DataError: it is no film, or has no pictures.
    """
    _require_av()
    import av

    try:
        with av.open(str(path)) as container:
            stream = _pictures(path, container)
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            return FilmInfo(Fraction(rate), Fraction(stream.time_base or 1 / rate), stream.frames)
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def read_frames(path: Path) -> Iterator[Frame]:
    """The frames of a film, one by one, in the order in which they are shown.

    Raises:
        BackendError: PyAV is not installed.
        DataError: it is no film, it breaks off or is damaged (the frames before that have been given), it is in HDR, or
            turned by no right angle.
    """
    _require_av()
    import av

    before = -1
    try:
        with av.open(str(path)) as container:
            stream = _pictures(path, container)
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream)):
                if frame.is_corrupt:
                    raise DataError(f"{path}: frame {number} is damaged, expected a whole film.")
                if frame.color_trc in _HDR:
                    raise DataError(f"{path}: it is in HDR ({_HDR[frame.color_trc]}), expected a film in SDR.")
                width = round(frame.width * (stream.sample_aspect_ratio or 1))
                image = _upright(frame.to_ndarray(format="rgb24", width=width), _display_matrix(frame), path)
                # A frame without a time, or with one that runs backwards, follows the one before.
                before = max(before + 1, frame.pts if frame.pts is not None else 0)
                yield Frame(np.ascontiguousarray(image), before)
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


@contextmanager
def open_writer(path: Path, info: FilmInfo) -> Iterator[Callable[[Frame], None]]:
    """Yield the function that adds a frame to a new film (H.264 in MP4); the film appears whole or not at all.

    All frames must have the size of the first. An odd last row or column is doubled: the format wants even sizes.

    Raises:
        BackendError: PyAV is not installed.
        DataError: the frames differ in size, or cannot be encoded.
    """
    _require_av()
    import av

    with atomic_path(path) as part:
        try:
            with av.open(str(part), "w", format="mp4") as container:
                stream = container.add_stream("libx264", rate=info.rate, options={"crf": "20"})
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = info.time_base
                size: list[tuple[int, int]] = []

                def write(frame: Frame) -> None:
                    height, width = frame.image.shape[:2]
                    if not size:
                        size.append((height, width))
                        stream.height, stream.width = height + height % 2, width + width % 2
                    if size[0] != (height, width):
                        raise DataError(f"{path}: a frame is {width}x{height}, the first is {size[0][1]}x{size[0][0]}.")
                    even = np.pad(frame.image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
                    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
                    picture.pts, picture.time_base = frame.ticks, info.time_base
                    container.mux(stream.encode(picture))

                yield write
                if not size:
                    raise DataError(f"{path}: no frame was written, expected a film.")
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            raise DataError(f"{path}: cannot be written as a film ({error}).") from error


def _require_av() -> None:
    if importlib.util.find_spec("av") is None:
        raise BackendError("films cannot be read here: no module named 'av'.", "pip install 'facepipe[video]'.")


def _pictures(path: Path, container: InputContainer) -> VideoStream:
    """The film's one stream of pictures."""
    if not container.streams.video:
        raise DataError(f"{path}: it has no pictures, expected a film.")
    return container.streams.video[0]


def _display_matrix(frame: VideoFrame) -> tuple[float, ...]:
    """a, b, c, d: a pixel at (x, y) is shown at (a x + c y, b x + d y). Source: FFmpeg, libavutil/display.h."""
    entries: Any = frame.side_data  # its type hints are those of another version
    for entry in entries:
        if entry.type.name == "DISPLAYMATRIX":
            numbers = np.frombuffer(bytes(entry), np.int32, 9) / 65536
            return tuple(numbers[[0, 1, 3, 4]].tolist())
    return 1.0, 0.0, 0.0, 1.0


def _upright(image: np.ndarray, matrix: tuple[float, ...], path: Path) -> np.ndarray:
    """uint8 [H, W, 3] turned by quarters and mirrored as the film wants to be shown."""
    a, b, c, d = (int(number) for number in matrix)
    if (a, b, c, d) != matrix or {abs(a), abs(d)} != {1 - abs(b)} or abs(b) != abs(c) or abs(b) > 1:
        raise DataError(f"{path}: it is to be shown turned by {list(matrix)}, expected quarters of a turn.")
    return image[::d, ::a] if a else image.swapaxes(0, 1)[::b, ::c]


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read as a film ({' '.join(str(error).split())}).")
