# SPDX-License-Identifier: Apache-2.0
"""Detectors of one network compiled for a chip: one static shape, filled up, through the stand-ins of a board."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stand_ins import environment

from facepipe.geometry.boxes import iou_matrix

pytestmark = pytest.mark.weights


@pytest.mark.parametrize(
    ("detector", "shape"), [("ultraface.slim-320", "4x3x240x320"), ("retinaface.mobilenet0.25", "4x3x640x640")]
)
def test_a_board_finds_the_faces_of_onnxruntime(
    detector: str, shape: str, assets: Path, weights_dir: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for suffix in (".simplified.onnx", ".simplified.onnx.json"):
        (weights / f"{detector}{suffix}").symlink_to(weights_dir / f"{detector}{suffix}")

    def facepipe(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "facepipe", *arguments]
        env = environment(OMP_NUM_THREADS="1")
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    compiled = facepipe("om", detector, "--soc", "Ascend310", "--batch", "4", "--cann", "8.0")
    assert compiled.returncode == 0, compiled.stderr
    assert shape in compiled.stdout + compiled.stderr

    photographs = [str(assets / "photos" / name) for name in ("3faces.png", "multiface.jpg")]
    found = {}
    options = ("--detector", detector, "--batch", "4", "--json", "--backend")
    for backend in ("onnxruntime", "pyacl"):
        done = facepipe("detect", *photographs, *options, backend, "--size", shape.rpartition("x")[2])
        assert done.returncode == 0, done.stderr
        if backend == "pyacl":  # there that is also what is taken where no size is named
            assert facepipe("detect", *photographs, *options, backend).stdout == done.stdout
        found[backend] = [json.loads(line)["faces"] for line in done.stdout.splitlines()]
    assert [len(faces) for faces in found["onnxruntime"]] == [3, 6]
    for faces, others in zip(found["onnxruntime"], found["pyacl"], strict=True):
        assert len(faces) == len(others)
        boxes, other_boxes = (np.array([face["box"] for face in some], np.float32) for some in (faces, others))
        # RetinaFace sees other numbers where its input is filled up further; UltraFace's input is never filled up.
        least = 0.999 if detector.startswith("ultraface") else 0.9
        assert (iou_matrix(boxes, other_boxes).max(axis=1) > least).all()
