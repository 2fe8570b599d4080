# SPDX-License-Identifier: Apache-2.0
"""With --json every line of standard output is an object, and with --quiet standard error is empty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_networks import write_onnx

from facepipe.catalogue import MODELS
from facepipe.cli import main

# In this order: some read what others wrote. {s} is the made sample, {w} the folder of models.
LINES = """
models facenet.seeded
models
backends
fetch facenet.seeded --weights {w}
plan --sizes 250x250 --soc Ascend310
om pnet --soc Ascend310 --dry-run --weights {w}
check pnet --soc Ascend310 --weights {w}
onnx pnet --weights {w} --table table.json
bench pnet --shape 1x3x12x12 --seconds 0.01 --weights {w}
parity pnet --layers --weights {w}
fix fold_identity small.onnx fixed.onnx
export pnet --output exported.onnx --weights {w}
detect {s}/images --weights {w}
verify {one} {two} --embedder facenet.seeded --weights {w}
embed {s}/images --out run --embedder facenet.seeded --weights {w} --workers 1
cluster run --out people --no-sheets --truth --similarity 0.425
gallery build run --out people.gallery --threshold 0.3 --embedder facenet.seeded --weights {w}
gallery list people.gallery
gallery list people.gallery --sources
gallery search people.gallery {one} --weights {w}
recognise --index people.gallery --input {one} --output named --weights {w}
lfw --data {s}/images --pairs {s}/pairs.txt --run lfw --embedder facenet.seeded --weights {w} --workers 1 --report
report lfw
check lfw
verification {s}/images --pairs {s}/pairs.txt --pack lfw.bin
image2bin {s}/images records --label label.txt
bin2image records images
""".strip().splitlines()


@pytest.mark.slow
@pytest.mark.weights
def test_every_result_is_a_line_and_nothing_else_is_said(
    sample: Path,
    weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_onnx(MODELS["pnet"], tmp_path / "small.onnx")
    one, two, *_ = sorted((sample / "images").rglob("*.jpg"))
    for line in LINES:
        words = line.format(s=sample, w=weights_dir, one=one, two=two).split()
        assert main([*words, "--json", "--quiet"]) == 0, capfd.readouterr().err
        shown = capfd.readouterr()
        assert shown.out and all(isinstance(json.loads(told), dict) for told in shown.out.splitlines()), line
        assert shown.err == "", line
