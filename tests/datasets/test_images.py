# SPDX-License-Identifier: Apache-2.0
"""Photographs of every kind, right or broken."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.datasets.images import MAX_PIXELS, decode, list_keys, read, read_size
from facepipe.errors import DataError
from facepipe.faces.photographs import read_photograph
from facepipe.results import Unread

ORIENTATION = 0x0112


def corners(height: int = 6, width: int = 9) -> np.ndarray:
    """uint8 [H, W, 3] that no turn and no mirror leaves alike."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    return picture


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, picture: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(picture)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tif", "a.TIFF", "a.PNG"])
def test_a_lossless_picture_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    array = read(save(tmp_path / name, noise(7, 11)))
    assert array.dtype == np.uint8
    assert array.flags.writeable
    np.testing.assert_array_equal(array, noise(7, 11))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_a_lossy_picture_is_rgb_of_its_size(tmp_path: Path, name: str) -> None:
    picture = corners(64, 96)
    array = read(save(tmp_path / name, picture, quality=95))
    assert array.shape == picture.shape
    np.testing.assert_allclose(array[10, 10], (255, 0, 0), atol=12)


@pytest.mark.parametrize("size", [(1, 1), (15, 15), (1, 300)])
def test_a_tiny_picture_is_read(tmp_path: Path, size: tuple[int, int]) -> None:
    assert read(save(tmp_path / "a.png", noise(*size))).shape == (*size, 3)


def test_a_picture_20000_pixels_wide_is_read(tmp_path: Path) -> None:
    Image.new("L", (20000, 4000), 77).save(tmp_path / "wide.jpg")
    array = read(tmp_path / "wide.jpg")
    assert array.shape == (4000, 20000, 3)
    assert (array[::500, ::500] == 77).all()


def test_a_picture_beyond_pillows_warning_and_within_the_limit_is_read_without_a_warning(tmp_path: Path) -> None:
    Image.new("1", (20000, 4500)).save(tmp_path / "wide.png")
    assert read_size(tmp_path / "wide.png") == (4500, 20000)


def _png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header names a size and which holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(20000, 8948), (60000, 60000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "bomb.png").write_bytes(_png_that_claims(width, height))
    with pytest.raises(DataError, match=r"bomb\.png: has .*pixels, at most 178,956,970 are read"):
        read(tmp_path / "bomb.png")
    assert width * height > MAX_PIXELS


def test_the_limit_does_not_change_pillows_own_setting(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    read(save(tmp_path / "a.png", corners()))
    assert before == Image.MAX_IMAGE_PIXELS


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_exif_orientation_is_applied(tmp_path: Path, name: str, orientation: int) -> None:
    picture = corners(32, 48)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / name, picture, exif=exif, **({"quality": 100, "subsampling": 0} if name == "a.jpg" else {}))
    array = read(path)
    np.testing.assert_allclose(array.astype(int), TURNS[orientation](picture), atol=8)
    assert read_size(path) == array.shape[:2]


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path: Path, value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", corners(), exif=exif)), corners())


def test_a_damaged_exif_block_turns_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", corners(32, 48), exif=b"Exif\0\0no such thing", quality=100, subsampling=0)
    np.testing.assert_allclose(read(path).astype(int), corners(32, 48), atol=8)
    assert read_size(path) == (32, 48)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    array = read(save(tmp_path / "a.png", noise(5, 6), "L"))
    assert array.shape == (5, 6, 3)
    assert (array[..., :1] == array).all()
    assert np.ptp(array) > 0


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", bits, "1"))[..., 0], bits)


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", corners(), "P")), corners())


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255, 255])], ids=["one colour", "of each colour"])
def test_a_palette_with_transparency_gives_its_colours(tmp_path: Path, transparency: object) -> None:
    path = save(tmp_path / "a.png", corners(), "P", transparency=transparency)
    np.testing.assert_array_equal(read(path), corners())


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped_and_the_colour_under_it_counts(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(corners()).convert(mode)
    image.putalpha(0)
    image.save(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(corners()).convert("RGB" if mode == "RGBA" else "L").convert("RGB"))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), expected)
    assert expected.any()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    array = read(save(tmp_path / "a.jpg", corners(64, 64), "CMYK", quality=95))
    np.testing.assert_allclose(array[5, 5].astype(int), (255, 0, 0), atol=12)
    np.testing.assert_allclose(array[-5, 5].astype(int), (0, 0, 255), atol=12)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, name: str) -> None:
    samples = np.array([[0, 128, 129, 257], [300, 32768, 65278, 65535]], np.uint16)
    Image.fromarray(samples).save(tmp_path / name)
    expected = np.rint(samples / 257).astype(np.uint8)
    array = read(tmp_path / name)
    np.testing.assert_array_equal(array, np.stack([expected] * 3, axis=-1))
    assert array.max() == 255


def test_big_endian_16_bit_grey_is_scaled_too(tmp_path: Path) -> None:
    samples = np.array([[0, 257 * 100, 65535]], ">u2")
    tags = struct.pack(
        ">H" + "HHII" * 8,
        8,
        *(256, 3, 1, 3 << 16, 257, 3, 1, 1 << 16, 258, 3, 1, 16 << 16, 259, 3, 1, 1 << 16),
        *(262, 3, 1, 1 << 16, 273, 4, 1, 200, 278, 3, 1, 1 << 16, 279, 4, 1, 6),
    )
    content = (b"MM\0*" + struct.pack(">I", 8) + tags + b"\0\0\0\0").ljust(200, b"\0") + samples.tobytes()
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0, :, 0], (0, 100, 255))


@pytest.mark.parametrize(("samples", "expected"), [([[0, 0.5, 1]], (0, 128, 255)), ([[0, 100.4, 255]], (0, 100, 255))])
def test_floating_point_grey_is_of_1_or_of_255(tmp_path: Path, samples: object, expected: tuple[int, ...]) -> None:
    Image.fromarray(np.array(samples, np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0, :, 0], expected)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.array([[0, 1e6]], np.float32), "floating-point samples outside 0..255"),
        (np.array([[0, np.nan]], np.float32), "floating-point samples outside 0..255"),
        (np.array([[-1, 7]], np.float32), "floating-point samples outside 0..255"),
        (np.array([[0, 1 << 20]], np.int32), "32-bit or signed integer samples"),
    ],
)
def test_samples_without_a_known_white_are_refused(tmp_path: Path, samples: np.ndarray, reason: str) -> None:
    Image.fromarray(samples).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif: has {reason}"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if name == "a.webp" else {})
    )
    array = read(tmp_path / name)
    assert array.shape == (10, 20, 3)
    np.testing.assert_array_equal(array[0, 0], (255, 0, 0))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif", "a.gif", "a.ppm"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_a_truncated_picture_is_refused_with_a_reason(tmp_path: Path, name: str, kept: float) -> None:
    content = save(tmp_path / name, noise(40, 40)).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(
        DataError, match=rf"{name}: is (broken \(\S|no picture in a format known here|a GIF file of a kind)"
    ):
        read(tmp_path / name)


def test_a_corrupt_picture_is_a_reason_or_a_picture_and_never_a_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    outcomes = set()
    for name in ("a.jpg", "a.png", "a.tif", "a.gif", "a.webp", "a.bmp"):
        content = bytearray(save(tmp_path / name, noise(24, 24)).read_bytes())
        for _ in range(60):
            damaged = bytearray(content)
            for place in rng.integers(0, len(damaged), 4):
                damaged[place] = rng.integers(0, 256)
            (tmp_path / name).write_bytes(damaged)
            outcomes.add(type(read_photograph(tmp_path / name).pixels))
    assert outcomes == {np.ndarray, Unread}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"not a picture at all", "is no picture in a format known here"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "is no picture in a format known here"),
    ],
    ids=["empty", "text", "PostScript"],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.jpg: {reason}"):
        read(tmp_path / "a.jpg")


def test_what_is_no_file_is_refused_with_a_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match=r"pipe\.jpg: is no file"):
        read(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match=r"absent\.jpg: cannot be opened \(No such file or directory\)"):
        read(tmp_path / "absent.jpg")
    with pytest.raises(DataError, match=r"absent\.jpg: cannot be opened"):
        read_size(tmp_path / "absent.jpg")


def test_a_photograph_in_memory_is_read_like_one_on_disk(tmp_path: Path) -> None:
    content = save(tmp_path / "a.png", corners()).read_bytes()
    np.testing.assert_array_equal(decode(content, "a.png"), corners())
    with pytest.raises(DataError, match=r"set\.bin, picture 3: is broken"):
        decode(content[:60], "set.bin, picture 3")


def test_the_reason_for_a_record_holds_no_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    reason = read_photograph(tmp_path / "a.jpg").pixels
    assert isinstance(reason, Unread)
    assert reason.reason == "is empty (0 bytes)"


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    save(tmp_path / "a.png", corners())
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg"), corners())


def test_keys_are_sorted_posix_paths_of_photographs_alone(tmp_path: Path) -> None:
    names = ["b/x.JPG", "a/x.jpg", "a/deep/er/y.webp", "z.tiff", "a b/é ü 顔.png", "B.PGM", "folder.jpg/inside.gif"]
    others = ["notes.txt", ".hidden.jpg", ".cache/x.jpg", "a/.x.jpg", "jpg", "a.jpg.part"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list_keys(tmp_path) == sorted(names)


def _deep(root: Path, depth: int) -> Iterator[None]:
    """`depth` folders, each in the one before, with a photograph in the last; taken away again."""
    before = Path.cwd()
    os.chdir(root)
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("x.jpg").write_bytes(b"")
        os.chdir(root)
        yield
    finally:
        os.chdir(root)
        subprocess.run(["rm", "-rf", "d"], check=True)  # shutil.rmtree is recursive on older Pythons
        os.chdir(before)


def test_folders_1500_deep_are_listed(tmp_path: Path) -> None:
    with contextmanager(_deep)(tmp_path, 1500):
        assert list_keys(tmp_path) == ["d/" * 1500 + "x.jpg"]


def test_folders_deeper_than_a_path_may_be_are_a_clear_error(tmp_path: Path) -> None:
    with (
        contextmanager(_deep)(tmp_path, 2500),
        pytest.raises(DataError, match=r"the folder 'd/d/.*\.\.\..*d/' in it cannot be listed \(File name too long\)"),
    ):
        list_keys(tmp_path)


def test_two_ways_of_writing_one_accent_are_two_keys_in_a_fixed_order(tmp_path: Path) -> None:
    names = ["Jos\u00e9.jpg", "Jose\u0301.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system writes accents in one way")
    assert list_keys(tmp_path) == ["Jose\u0301.jpg", "Jos\u00e9.jpg"]


def test_a_loop_of_links_ends_and_a_linked_folder_is_listed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "a").mkdir(parents=True)
    elsewhere.mkdir()
    save(root / "a" / "x.png", corners())
    save(elsewhere / "y.png", corners())
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "self").symlink_to(root / "self")
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert list_keys(root) == ["a/x.png", "linked/y.png"]


def test_a_broken_link_is_listed_and_read_gives_the_reason(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert list_keys(tmp_path) == ["gone.jpg"]
    assert read_photograph(tmp_path / "gone.jpg").pixels == Unread("cannot be opened (No such file or directory)")


def test_an_empty_folder_and_an_absent_one_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no photograph in it, expected files that end in one of: avif bmp gif heic heif hif jpeg jpg"
    ):
        list_keys(tmp_path)
    with pytest.raises(DataError, match=r"absent: no such folder, expected a folder of photographs"):
        list_keys(tmp_path / "absent")


def test_a_name_that_is_no_text_is_a_clear_error(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    with pytest.raises(DataError, match=r"\\udcff\.jpg' is no valid UTF-8"):
        list_keys(tmp_path)


def test_the_mirrors_photographs_are_upright_already(assets: Path) -> None:
    for path in sorted((assets / "photos").iterdir()):
        with Image.open(path) as image:
            assert image.getexif().get(ORIENTATION, 1) == 1
            plain = np.asarray(image.convert("RGB"))
            if image.info.get("icc_profile"):  # three are in Display P3, and come as sRGB: no pixel changes its place
                assert read(path).shape == plain.shape
            else:
                np.testing.assert_array_equal(read(path), plain)
