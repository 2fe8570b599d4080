# SPDX-License-Identifier: Apache-2.0
"""docs/your-own-model.md, run as it stands, on files of the same interfaces with seeded numbers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the files of the page are made with onnx")
pytest.importorskip("faiss", reason="a gallery needs the extra [gallery]")

from own_onnx import arcface_onnx, scrfd_onnx

from facepipe.catalogue import embedder
from facepipe.cli import main
from facepipe.gallery.file import read_gallery

PAGE = (Path(__file__).resolve().parents[1] / "docs/your-own-model.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.process
def test_the_page_runs(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arcface_onnx(tmp_path / "w600k_r50.onnx")
    scrfd_onnx(tmp_path / "det_10g.onnx")
    shutil.copytree(album / "people", tmp_path / "people")
    shutil.copy(album / "group.jpg", tmp_path)
    said = {}
    for line in BLOCKS[0].splitlines():
        program, *words = shlex.split(line)
        assert program == "facepipe"
        assert main(words) == 0, f"{line}: {capsys.readouterr().err}"
        said[" ".join(words[:2])] = capsys.readouterr().out
    assert "mine: 512 numbers of 112x112 RGB" in said["import w600k_r50.onnx"]
    assert "finder: RGB of 640x640, or any (height x width), 5 landmarks" in said["import det_10g.onnx"]
    assert "44 photographs" in said["embed people"]
    assert (tmp_path / "boxes.jpg").is_file()
    gallery = read_gallery(tmp_path / "people.gallery")
    assert (gallery.model, len(set(gallery.labels))) == ("mine", 11)
    (told,) = (tmp_path / "recognised").glob("*.json")
    assert json.loads(told.read_text())["faces"]
    assert "mine.onnx: passes for Ascend310P3" in said["check mine"]
    assert "finder.onnx: passes for Ascend310P3" in said["check mine"]
    assert '--input_shape="input.1:16,3,112,112"' in said["om mine"]
    assert '--input_shape="input.1:1,3,640,640"' in said["om finder"]
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(program, "docs/your-own-model.md", "exec"), {})
    assert -1 <= float(capsys.readouterr().out) <= 1


def test_the_pages_network_in_pytorch_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="the conversion needs torch")
    from own_networks import small

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").write_text("from own_networks import small as build\n")
    torch.save(small().state_dict(), tmp_path / "backbone.pth")
    (line,) = BLOCKS[1].splitlines()
    assert main(shlex.split(line)[1:]) == 0
    assert embedder("trained", Path("weights")).network == "mynet:build"
