# SPDX-License-Identifier: Apache-2.0
"""What other decoders make of the pictures in `files/`:

python tests/datasets/pictures/expect.py

Needs ImageMagick 6 (`convert`), ffmpeg, and in this Python tifffile and imagecodecs; Pillow and facepipe are not used.
Writes `decoders.json`: the versions, and for each file and decoder [height, width, sha256 of the RGB bytes] or null
where it gives no picture; and `near/`: ImageMagick's pixels of each picture that is compared within bounds. What a
decoder gives in more bits is scaled to 255 and rounded here; its turns by EXIF are done here too, where the decoder
does none; opacity is left out.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

HERE = Path(__file__).resolve().parent
TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def eight(values: np.ndarray, most: int) -> np.ndarray:
    return np.floor(values.astype(np.float64) * 255 / most + 0.5).astype(np.uint8)


def rgb(values: np.ndarray) -> np.ndarray:
    """Grey, grey and opacity, RGB, RGBA as uint8 [H, W, 3]."""
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype == np.uint16:
        values = eight(values, 65535)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    assert values.dtype == np.uint8, values.dtype
    return np.repeat(values[..., :1], 3, axis=-1) if values.shape[-1] < 3 else values[..., :3]


def turned(path: Path, values: np.ndarray) -> np.ndarray:
    """PNG and WebP turned as their EXIF says, which is in their names; no decoder here looks at it."""
    if path.suffix in (".png", ".webp") and path.name.startswith("orientation-"):
        return TURNS[int(path.name[12])](values)
    return values


def by_imagemagick(path: Path) -> np.ndarray:
    def run(*options: str) -> bytes:
        done = subprocess.run(["convert", f"{path}[0]", *options], capture_output=True, check=True)
        if b"orrupt" in done.stderr or b"remature" in done.stderr or b"nsufficient" in done.stderr:
            raise ValueError(done.stderr)
        return done.stdout

    # In 16 bits: with -depth 8 it cuts off.
    ppm = run("+set", "comment", "-auto-orient", "-alpha", "off", "-type", "TrueColor", "-depth", "16", "ppm:-")
    _, size, _, pixels = ppm.split(b"\n", 3)
    width, height = map(int, size.split())
    values = rgb(np.frombuffer(pixels, ">u2").reshape(height, width, 3).astype(np.uint16))
    return turned(path, values)


def by_ffmpeg(path: Path) -> np.ndarray:
    command = [
        "ffmpeg",
        "-v",
        "warning",
        "-i",
        str(path),
        "-frames:v",
        "1",
        "-sws_flags",
        "accurate_rnd+full_chroma_int",
    ]
    command += ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    if b"rror" in done.stderr or b"overread" in done.stderr or b"EOI missing" in done.stderr:
        raise ValueError(done.stderr)
    _, size, _, pixels = done.stdout.split(b"\n", 3)
    width, height = map(int, size.split())
    return turned(path, np.frombuffer(pixels, np.uint8).reshape(height, width, 3))


def by_tifffile(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        values = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        if values.dtype.kind == "i" or (page.photometric in (6, 8) and page.compression != 7):
            raise ValueError("no agreed meaning")
        if values.dtype.kind == "f":
            most = float(values.max())
            if most > 255:
                raise ValueError("no agreed meaning")
            values = np.rint(values.astype(np.float64) * (255 if most <= 1 else 1)).astype(np.uint8)
        elif page.photometric == 3:
            values = (page.colormap >> 8).astype(np.uint8).T[values]
        elif values.dtype != np.bool_:
            values = eight(values, (1 << page.bitspersample) - 1)
        if values.dtype == np.bool_:
            values = values.astype(np.uint8) * 255
        if page.photometric == 0:
            if values.ndim == 2:
                values = 255 - values
            else:
                values[..., 0] = 255 - values[..., 0]
        if page.photometric == 5:
            share = values.astype(np.float64) / 255
            values = np.rint(255 * (1 - share[..., :3]) * (1 - share[..., 3:])).astype(np.uint8)
        turn = page.tags.valueof(274, 1)
    return TURNS.get(turn, lambda a: a)(rgb(values))


def by_imagecodecs(path: Path) -> np.ndarray:
    return turned(path, _by_imagecodecs(path))


def _by_imagecodecs(path: Path) -> np.ndarray:
    content = path.read_bytes()
    match path.suffix:
        case ".png":
            return rgb(imagecodecs.png_decode(content))
        case ".jpg":
            return rgb(imagecodecs.jpeg8_decode(content, outcolorspace="RGB"))
        case ".webp":
            return rgb(imagecodecs.webp_decode(content))
        case ".gif":
            return rgb(imagecodecs.gif_decode(content, index=0))
        case ".bmp":
            return rgb(imagecodecs.bmp_decode(content))
    raise ValueError("another format")


DECODERS = {"ImageMagick": by_imagemagick, "ffmpeg": by_ffmpeg, "tifffile": by_tifffile, "imagecodecs": by_imagecodecs}
# Bounds: 1 on average and 4 at most where colours are computed from YCbCr; 1 at most where halves are rounded to even,
# as a white of 100 makes them.
NEAR = (".jpg", "lossy.webp", "lossy-alpha.webp", "jpeg-inside.tif", "-100.pnm", "ycbcr-8-not-subsampled.tif")


def version(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]


def main() -> None:
    found: dict[str, dict[str, object]] = {}
    (HERE / "near").mkdir(exist_ok=True)
    for path in sorted((HERE / "files").iterdir()):
        found[path.name] = {}
        for name, decode in DECODERS.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    pixels = np.ascontiguousarray(decode(path))
            except Exception:
                found[path.name][name] = None
                continue
            found[path.name][name] = [*pixels.shape[:2], hashlib.sha256(pixels.tobytes()).hexdigest()]
            # ffmpeg doubles colour differences where libjpeg interpolates them: T.81 leaves that open.
            if path.name.endswith(NEAR) and name == "ImageMagick":
                (HERE / "near" / f"{path.name}.png").write_bytes(imagecodecs.png_encode(pixels, level=9))
    versions = {
        "ImageMagick": version("convert", "-version").split("  ")[0].removeprefix("Version: "),
        "ffmpeg": version("ffmpeg", "-version").split(" Copyright")[0],
        "tifffile": tifffile.__version__,
        "imagecodecs": imagecodecs.__version__,
    }
    text = json.dumps({"versions": versions, "files": found}, indent=1)
    (HERE / "decoders.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
