# SPDX-License-Identifier: Apache-2.0
"""examples/cpp: built against the headers that OpenVINO's wheel carries, it finds the faces that Python finds."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facepipe
from facepipe.catalogue import model
from facepipe.convert.onnx.decoded import write_decoded
from facepipe.datasets.images import read
from facepipe.detect.single_shot import SingleShotDetector, single_shot_settings
from facepipe.results import PictureFaces

pytestmark = pytest.mark.process
SOURCE = Path(__file__).resolve().parents[1] / "examples" / "cpp"
DETECTOR, RECOGNISER = model("retinaface.mobilenet0.25"), model("mobilefacenet.ms1m")
PHOTOGRAPHS = {"multiface.jpg": 6, "4faces.png": 4, "kate_siegel.jpg": 1}
"""Shrunk in both directions, as it is, and a large face; with the faces that are seen in 640 pixels."""


def _never(images: np.ndarray) -> tuple[np.ndarray, ...]:
    """A network that is not run."""
    raise AssertionError("nothing is run")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built."""
    for tool, found in (
        ("cmake (pip install 'facepipe[dev]' brings one)", shutil.which("cmake")),
        ("a C++ compiler", shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")),
    ):
        if found is None:
            pytest.skip(f"there is no {tool}: the C++ example cannot be built")
    package = importlib.util.find_spec("openvino")
    if package is None or package.origin is None:
        pytest.skip("there is no openvino: the C++ example has no headers and libraries")
    folder = Path(package.origin).parent
    if not (folder / "include" / "openvino" / "openvino.hpp").is_file():
        pytest.skip("the installed openvino carries no headers")
    build = tmp_path_factory.mktemp("cpp")
    for command in (
        ["cmake", "-S", SOURCE, "-B", build, f"-DOpenVINO_DIR={folder / 'cmake'}", "-DCMAKE_CXX_FLAGS=-Werror"],
        ["cmake", "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "faces"


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def test_boxes_and_embeddings_are_pythons(assets: Path, weights_dir: Path, program: Path, tmp_path: Path) -> None:
    models = {"detector": DETECTOR.name, "embedder": RECOGNISER.name, "backend": "onnxruntime"}
    detector = SingleShotDetector(DETECTOR, _never, single_shot_settings(DETECTOR))
    with facepipe.load(**models, weights=weights_dir, size=640) as faces:
        for name, count in PHOTOGRAPHS.items():
            pixels = read(assets / "photos" / name)
            Image.fromarray(pixels).save(tmp_path / "photograph.ppm")
            # Of the size that Python's own input of this photograph has: 640 pixels at most, filled up to 32.
            canvas = detector.inputs_of(pixels).shape
            write_decoded(DETECTOR, weights_dir, tmp_path / "face.onnx", (canvas[2], canvas[3]), overwrite=True)
            done = _run(program, tmp_path / "face.onnx", RECOGNISER.final(weights_dir), tmp_path / "photograph.ppm")
            assert (done.returncode, done.stderr) == (0, "")
            found = [json.loads(line) for line in done.stdout.splitlines()]
            expected = faces.embed_all(pixels)
            assert isinstance(expected, PictureFaces)
            assert len(found) == len(expected.faces) == count
            for one, other in zip(found, expected.faces, strict=True):
                np.testing.assert_allclose(one["box"], other.face.box, atol=0.01)
                np.testing.assert_allclose(np.reshape(one["landmarks"], (5, 2)), other.face.landmarks, atol=0.01)
                assert abs(one["score"] - float(other.face.score)) < 1e-4
                assert float(np.dot(one["embedding"], other.embedding)) > 0.9999


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P6\n# by hand\n4 4\n255\n" + bytes(47), "ends in the middle of its pixels"),
        (b"P5\n4 4\n255\n" + bytes(16), "is no binary PPM, expected P6"),
        (b"P6\n4 4\n65535\n" + bytes(96), "has 65535 levels, expected 255"),
        (b"P6\n4 -4\n255\n" + bytes(48), "no header of a PPM"),
        (b"", "is no binary PPM"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line(content: bytes, expected: str, program: Path, tmp_path: Path) -> None:
    picture = tmp_path / "photograph.ppm"
    picture.write_bytes(content)
    done = _run(program, "face.onnx", "recogniser.onnx", picture)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"faces: {picture}: ") and expected in done.stderr
    assert done.stderr.count("\n") == 1
