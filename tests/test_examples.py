# SPDX-License-Identifier: Apache-2.0
"""The examples of examples/ run as they are, with the weights that are at hand."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facepipe
from facepipe.catalogue import model as facepipe_model
from facepipe.datasets.images import list_keys

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

WRONG = """from pathlib import Path
import numpy as np
from PIL import Image
import facepipe
from facepipe import Detections, Unread

faces = facepipe.load()
pixels = np.zeros((4, 4, 3), np.uint8)
one: Detections | Unread = faces.detect("a.jpg")
one = faces.detect(Path("a.jpg"))
one = faces.detect(b"")
one = faces.detect(pixels)
one = faces.detect(Image.new("RGB", (4, 4)))
one = faces.detect(["a.jpg"])  # wrong
many: list[Detections | Unread] = faces.detect(["a.jpg", b"", pixels, Path("a.jpg")])
many = faces.detect(name for name in ("a.jpg", "b.jpg"))
many = faces.detect([Path("a.jpg")])
many = faces.detect("a.jpg")  # wrong
faces.detect(7)  # wrong
faces.detect([7])  # wrong
faces.verify("a.jpg", ["b.jpg"])  # wrong
facepipe.load(borders="black")  # wrong
facepipe.load(min_faces=20)  # wrong
"""


def typed(programs: list[Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """What mypy says of programs elsewhere, with no settings of this repository."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(folder / "cache")]
    return subprocess.run([*command, *programs], cwd=folder, capture_output=True, text=True, check=False)


def example(name: str) -> types.ModuleType:
    """The example as a module, with a recogniser of seeded weights in place of the published one."""
    path = EXAMPLES / name
    made = types.ModuleType(path.stem)
    text = path.read_text(encoding="utf-8").replace("mobilefacenet.ms1m", "facenet.seeded")
    exec(compile(text, str(path), "exec"), made.__dict__)
    return made


@pytest.fixture
def client(weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("fastapi", reason="the service needs fastapi and httpx")
    from fastapi.testclient import TestClient

    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(weights_dir)
    with TestClient(example("service.py").app) as opened:
        yield opened


@pytest.mark.weights
def test_forty_requests_at_a_time_get_what_they_would_get_one_after_the_other(client: Any, sample: Path) -> None:
    contents = [(sample / key).read_bytes() for key in list_keys(sample)[:10] if key.endswith(".jpg")]
    headers = {"content-type": "application/x-www-form-urlencoded"}  # what curl says of --data-binary

    def ask(content: bytes) -> tuple[int, bytes]:
        answer = client.post("/faces", content=content, headers=headers)
        return answer.status_code, answer.content

    expected = [ask(content) for content in contents]
    assert {status for status, _ in expected} == {200} and len({answer for _, answer in expected}) > 5
    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(ask, contents * 4)) == expected * 4


@pytest.mark.weights
def test_what_is_no_photograph_is_the_callers_mistake(client: Any) -> None:
    answer = client.post("/faces", content=b"GIF89a", headers={"content-type": "image/gif"})
    assert (answer.status_code, answer.json()["detail"][:15]) == (422, "the photograph ")
    assert client.post("/faces").status_code == 422


@pytest.mark.process
@pytest.mark.slow
def test_the_examples_are_strictly_typed_and_the_tour_names_every_export(tmp_path: Path) -> None:
    """Against the installed package, as somebody else's program is checked."""
    pytest.importorskip("fastapi", reason="the service is checked against its types")
    done = typed([shutil.copy(EXAMPLES / name, tmp_path) for name in ("tour.py", "service.py")], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    tree = ast.parse((EXAMPLES / "tour.py").read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(facepipe.__all__) - used == set()


@pytest.mark.process
def test_wrong_use_of_one_and_many_is_a_type_error(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WRONG, encoding="utf-8")
    done = typed([program], tmp_path)
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    wrong = {number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    assert lines == wrong, done.stdout


@pytest.mark.weights
def test_the_tour_runs_but_for_the_data_that_is_not_here(
    weights_dir: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FACEPIPE_ASSETS", raising=False)
    (tmp_path / "weights").symlink_to(weights_dir)
    with pytest.raises(facepipe.AssetError, match="widerface"):
        example("tour.py").main(sample, tmp_path / "out")
    told = capsys.readouterr().out
    assert "facenet.seeded a face at" not in told and "facenet.seeded faces, perhaps none a face at" in told


@pytest.mark.process
@pytest.mark.parametrize(("moved", "status"), [(0.0, 0), (0.01, 1), (float("nan"), 1)])
def test_other_engines_are_held_against_onnxruntime(
    moved: float,
    status: int,
    seeded: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """OpenVINO, which the tests have; OpenCV and TVM are in the acceptance (`make accept ONLY=other_engines`)."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    from facepipe.convert.onnx.decoded import write_decoded

    spec = facepipe_model("retinaface.mobilenet0.25")
    write_decoded(spec, seeded(spec.name), tmp_path / "face.onnx", (64, 96))
    engines = example("other_engines.py")
    right = engines.by_openvino
    given: list[np.ndarray] = []

    def by_openvino(path: str, image: np.ndarray, names: list[str]) -> list[np.ndarray]:
        given.append(image)
        *others, last = right(path, image, names)
        return [*others, last + np.float32(moved)]

    monkeypatch.setitem(engines.ENGINES, "openvino", by_openvino)
    monkeypatch.delitem(engines.ENGINES, "tvm")
    monkeypatch.setitem(engines.ENGINES, "opencv", _missing)
    assert engines.main([str(tmp_path / "face.onnx")]) == status
    told = capsys.readouterr().out
    assert "\topencv\tnot installed (no module cv2)\n" in told and "\topenvino\t" in told
    lows, highs = given[0].min(axis=(0, 2, 3)), given[0].max(axis=(0, 2, 3))
    assert lows.tolist() == [-104, -117, -123] and highs.tolist() == [151, 138, 132]


def _missing(path: str, image: np.ndarray, names: list[str]) -> list[np.ndarray]:
    raise ModuleNotFoundError("No module named 'cv2'", name="cv2")
